//! The first step: which cluster this host belongs to, and as whom. Fixed once, before anything is made for it.

use std::path::Path;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::HostSetup;
use crate::durable_file;
use crate::step::{Finding, Step};

const FILE: &str = "cluster.toml";

/// What is fixed for the life of the host in its cluster: `/etc/pvc/cluster.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterPlan {
    pub cluster: String,
    pub cluster_id: String,
    pub node: String,
}

impl ClusterPlan {
    /// Reads what is fixed in this `/etc/pvc`; `None` when nothing is.
    pub fn read(etc: &Path) -> anyhow::Result<Option<Self>> {
        let path = etc.join(FILE);
        let text = durable_file::read_text_if_there(&path)?;
        text.map(|text| toml::from_str(&text))
            .transpose()
            .with_context(|| format!("{} is damaged; restore it from a backup", path.display()))
    }
}

/// Looks what is fixed and takes the cluster's id from it; false when nothing is. Refuses a host that is another node or
/// of another cluster.
pub(super) fn take_fixed(setup: &mut HostSetup) -> anyhow::Result<bool> {
    let Some(fixed) = ClusterPlan::read(&setup.places.etc)? else {
        return Ok(false);
    };
    let same_id = setup.cluster_id.as_ref().is_none_or(|id| *id == fixed.cluster_id);
    if fixed.cluster != setup.cluster || fixed.node != setup.node || !same_id {
        bail!(
            "this host is node {} of cluster {} ({}) already; a host that shall be another starts from empty {} and /var/lib/pvc",
            fixed.node,
            fixed.cluster,
            fixed.cluster_id,
            setup.places.etc.display()
        );
    }
    setup.cluster_id = Some(fixed.cluster_id);
    Ok(true)
}

pub(super) struct Plan;

#[async_trait]
impl Step<HostSetup> for Plan {
    fn name(&self) -> &'static str {
        "place in the cluster"
    }

    async fn check(&self, setup: &mut HostSetup) -> anyhow::Result<Finding> {
        Ok(match take_fixed(setup)? {
            true => Finding::InPlace,
            false => Finding::Missing(format!("node {} of cluster {}", setup.node, setup.cluster)),
        })
    }

    async fn act(&self, setup: &mut HostSetup) -> anyhow::Result<()> {
        durable_file::make_directory(&setup.places.etc, 0o755)?;
        let plan = ClusterPlan {
            cluster: setup.cluster.clone(),
            cluster_id: setup.cluster_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            node: setup.node.clone(),
        };
        let text = toml::to_string(&plan).context("the plan has only texts")?;
        Ok(durable_file::write(&setup.places.etc.join(FILE), text.as_bytes(), 0o644)?)
    }
}
