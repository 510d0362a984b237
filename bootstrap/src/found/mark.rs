//! The permission to found, good for once: a mark that `pvcd` takes away when it has founded its store.
//!
//! ```text
//! init writes the mark ─▶ CA, certificates, configuration ─▶ pvcd founds the store ─▶ pvcd removes the mark
//! ```
//! A `pvcd` without data and without the mark refuses to start. A disk that was lost must never found (a second cluster
//! under the first one's name) and never vote (its memory of its votes is gone): so the mark is written before there is a
//! CA, and never once there is one.

use std::path::{Path, PathBuf};

use anyhow::bail;
use async_trait::async_trait;

use super::HostSetup;
use crate::daemon_config::DaemonConfig;
use crate::durable_file::{self, FileError};
use crate::step::{Finding, Step};

pub(super) struct FoundOnce;

/// What the host shows of its past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Past {
    has_store: bool,
    has_authority: bool,
    has_certificate: bool,
    has_joined: bool,
}

#[async_trait]
impl Step<HostSetup> for FoundOnce {
    fn name(&self) -> &'static str {
        "permission to found"
    }

    async fn check(&self, setup: &mut HostSetup) -> anyhow::Result<Finding> {
        let path = setup.places.found_once();
        let cluster_id = setup.cluster_id()?;
        if let Some(text) = durable_file::read_text_if_there(&path)? {
            if text.trim() == cluster_id {
                return Ok(Finding::InPlace);
            }
            bail!(
                "{} lets cluster {} be founded, and this host's place is in cluster {cluster_id}; if nothing was founded here yet, remove {} and run this again",
                path.display(),
                text.trim(),
                setup.places.etc.display()
            );
        }
        let store = store_dir(setup)?;
        let past = Past {
            has_store: holds_something(&store)?,
            has_authority: ["root.pem", "root.key"].iter().any(|name| setup.authority.join(name).exists()),
            has_certificate: setup.places.etc.join("node.pem").exists(),
            has_joined: setup.places.joined().exists(),
        };
        judge(past, setup, &store)
    }

    async fn act(&self, setup: &mut HostSetup) -> anyhow::Result<()> {
        let cluster_id = setup.cluster_id()?;
        Ok(durable_file::write(&setup.places.found_once(), cluster_id.as_bytes(), 0o600)?)
    }
}

/// Without a mark: whether the host is new, has founded, or has lost what it knew.
fn judge(past: Past, setup: &HostSetup, store: &Path) -> anyhow::Result<Finding> {
    let (etc, store) = (setup.places.etc.display(), store.display());
    match past {
        Past { has_joined: true, .. } => {
            bail!(
                "this host has joined its cluster, it cannot found it; `pvc-bootstrap join` goes on with joining"
            )
        }
        // founded, and pvcd has taken the mark; if the CA alone is gone, its own step says so
        Past { has_store: true, has_authority, has_certificate, .. } if has_authority || has_certificate => {
            Ok(Finding::InPlace)
        }
        Past { has_store: true, .. } => {
            bail!(
                "{store} holds the data of an earlier cluster, whose identity is not in {etc} any more: restore {etc} from a backup, or empty {store} if that cluster is gone for good"
            )
        }
        Past { has_authority: false, has_certificate: false, .. } => {
            Ok(Finding::Missing(format!("cluster {}, once", setup.cluster_id()?)))
        }
        Past { .. } => {
            bail!(
                "this host has founded cluster {} before, and its data is gone from {store}. It is never founded a second time. \
                 While other coordinators live, this host joins them anew: there run `pvc cluster voter remove {node}`, \
                 `pvc node remove {node}` and `pvc token join`; here empty {etc} and run `pvc-bootstrap join`. \
                 When there are none, restore {store} from a backup",
                setup.cluster_id()?,
                node = setup.node
            )
        }
    }
}

/// Where this host's `pvcd` keeps its store: an administrator may have moved it.
pub(super) fn store_dir(setup: &HostSetup) -> anyhow::Result<PathBuf> {
    let text = durable_file::read_text_if_there(&setup.places.configuration())?;
    let configured = text.and_then(|text| toml::from_str::<DaemonConfig>(&text).ok());
    let data = match configured {
        Some(config) if config.data_dir != Path::new(super::DATA_DIR) => config.data_dir,
        _ => setup.places.data.clone(),
    };
    Ok(data.join("store"))
}

pub(super) fn holds_something(dir: &Path) -> Result<bool, FileError> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(FileError::new("look into", dir, source)),
    }
}
