//! `/etc/pvc/pvcd.toml` and the node's certificate, read and checked against each other before anything
//! else happens.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use pvc_host::daemon_config::{self, DaemonConfig};
use pvc_identity::{Credentials, Identity, TlsStore};
use pvc_model::Name;

use crate::agent::volumes::Pools;
use crate::hypervisor::VirtType;
use crate::storage::StorageDriver;
use crate::storage::directory::DirectoryStorage;

/// Reads the configuration; unknown keys are refused.
pub fn read(path: &Path) -> anyhow::Result<DaemonConfig> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("could not read {}; `pvc-bootstrap` writes it", path.display()))?;
    let config: DaemonConfig = toml::from_str(&text)
        .with_context(|| format!("{} is not a configuration of pvcd", path.display()))?;
    let says = |what: &str| format!("{}: {what}", path.display());
    config.node.parse::<Name>().with_context(|| says("node"))?;
    match (config.role, config.member_id, &config.ca_dir) {
        (daemon_config::Role::Coordinator, 0, _) => bail!(says("a coordinator needs a member_id of its own")),
        (daemon_config::Role::Coordinator, _, None) => bail!(says("a coordinator needs ca_dir")),
        (daemon_config::Role::Hypervisor, 1.., _) => bail!(says("a hypervisor has no member_id")),
        _ => {}
    }
    config.store.validate().with_context(|| says("store"))?;
    config.network.validate().with_context(|| says("network"))?;
    Ok(config)
}

/// Takes the node's certificate into use, if it is this node's in this cluster.
pub fn identity(config: &DaemonConfig) -> anyhow::Result<Arc<TlsStore>> {
    let folder = config.identity_dir.display();
    let credentials = Credentials::load(&config.identity_dir)
        .with_context(|| format!("the node's certificate in {folder} can't be used"))?;
    let leaf = credentials.leaf();
    if leaf.identity != Identity::node(&config.node)? || leaf.cluster_id != config.cluster_id {
        bail!(
            "the certificate in {folder} is for {}, and the configuration says node {} of cluster {}: \
             one of them is another host's",
            leaf.identity.uri(&leaf.cluster_id),
            config.node,
            config.cluster_id
        );
    }
    Ok(TlsStore::new(credentials, jiff::Timestamp::now())?)
}

/// The storage pools of this node.
pub fn pools(config: &DaemonConfig) -> anyhow::Result<Pools> {
    let mut pools: BTreeMap<Name, Arc<dyn StorageDriver>> = BTreeMap::new();
    for storage in &config.storage {
        let pool: Name = storage.pool.parse().with_context(|| format!("storage pool {:?}", storage.pool))?;
        let driver = DirectoryStorage::new(pool.clone(), storage.directory.clone());
        if pools.insert(pool, Arc::new(driver)).is_some() {
            bail!("storage pool {:?} is configured twice", storage.pool);
        }
    }
    Ok(pools)
}

pub fn virt_type(config: &DaemonConfig) -> VirtType {
    match config.hypervisor.virt_type {
        daemon_config::VirtType::Kvm => VirtType::Kvm,
        daemon_config::VirtType::Qemu => VirtType::Qemu,
    }
}
