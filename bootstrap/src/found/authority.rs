//! The cluster's CA, made once on the founding host. Its key is never made a second time: what it has signed would be orphaned.

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use jiff::Timestamp;
use pvc_identity::Ca;

use super::{HostSetup, load_authority};
use crate::durable_file;
use crate::step::{Finding, Step};

pub(super) struct Authority;

#[async_trait]
impl Step<HostSetup> for Authority {
    fn name(&self) -> &'static str {
        "cluster CA"
    }

    async fn check(&self, setup: &mut HostSetup) -> anyhow::Result<Finding> {
        let folder = &setup.authority;
        // the key is written first: without the certificate nothing was signed yet, unless a node's certificate says so
        if !folder.join("root.pem").exists() {
            if setup.places.etc.join("node.pem").exists() {
                bail!(
                    "the CA is gone from {}, and certificates of it are in use: restore it from a backup or another coordinator",
                    folder.display()
                );
            }
            return Ok(Finding::Missing("a new root for ten years".to_owned()));
        }
        let ca =
            load_authority(folder).with_context(|| format!("the CA in {} is unusable", folder.display()))?;
        if ca.cluster_id() != setup.cluster_id()? {
            bail!("the CA in {} is already that of cluster {}", folder.display(), ca.cluster_id());
        }
        Ok(Finding::InPlace)
    }

    async fn act(&self, setup: &mut HostSetup) -> anyhow::Result<()> {
        durable_file::make_directory(&setup.authority, 0o700)?;
        let ca = Ca::create(setup.cluster_id()?, Timestamp::now())?;
        ca.save(&setup.authority.join("root.pem"), &setup.authority.join("root.key"))?;
        Ok(())
    }
}
