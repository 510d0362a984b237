//! What the daemon and libvirt read at their start.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use async_trait::async_trait;
use pvc_host::store_config::StoreConfig;
use pvc_identity::Credentials;

use super::{HostSetup, Places};
use crate::daemon_config::{DaemonConfig, Hypervisor, Role, STARTS_AT_ONCE};
use crate::step::{Finding, Step};
use crate::{durable_file, libvirt_pki};

pub(super) struct Configuration;

fn rendered(setup: &HostSetup) -> anyhow::Result<String> {
    // as the daemon sees them, wherever this process sees the host's disk
    let own = Places::default();
    let config = DaemonConfig {
        node: setup.node.clone(),
        cluster_id: setup.cluster_id()?.to_owned(),
        role: setup.role,
        member_id: setup.member_id,
        recoveries: setup.recoveries,
        data_dir: own.data.clone(),
        ca_dir: match setup.role {
            Role::Coordinator => Some(own.authority()),
            Role::Hypervisor => None,
        },
        identity_dir: own.etc.clone(),
        listen: setup.listen(),
        coordinators: setup.coordinators.clone(),
        hypervisor: Hypervisor {
            uri: "qemu:///system".to_owned(),
            virt_type: setup.virt_type,
            starts_at_once: STARTS_AT_ONCE,
        },
        console_dir: PathBuf::from("/var/log/pvc/guests"),
        pki_dir: own.pki.clone(),
        guard_dir: pvc_host::daemon_config::guard_dir(),
        system_uuid: setup.system_uuid.clone(),
        networks: BTreeMap::new(),
        store: StoreConfig::default(),
        network: setup.network.clone(),
        storage: setup.storage.clone(),
    };
    toml::to_string(&config).context("the configuration has only texts and tables")
}

#[async_trait]
impl Step<HostSetup> for Configuration {
    fn name(&self) -> &'static str {
        "pvcd's configuration"
    }

    async fn check(&self, setup: &mut HostSetup) -> anyhow::Result<Finding> {
        let path = setup.places.configuration();
        // what an administrator has changed since is the administrator's
        Ok(match durable_file::read_text_if_there(&path)? {
            Some(text) => {
                let _: DaemonConfig = toml::from_str(&text)
                    .with_context(|| format!("{} is not a configuration of pvcd", path.display()))?;
                Finding::InPlace
            }
            None => Finding::Missing(path.display().to_string()),
        })
    }

    async fn act(&self, setup: &mut HostSetup) -> anyhow::Result<()> {
        let text = rendered(setup)?;
        Ok(durable_file::write(&setup.places.configuration(), text.as_bytes(), 0o644)?)
    }
}

pub(super) struct LibvirtCertificates;

#[async_trait]
impl Step<HostSetup> for LibvirtCertificates {
    fn name(&self) -> &'static str {
        "libvirt's certificates"
    }

    async fn check(&self, setup: &mut HostSetup) -> anyhow::Result<Finding> {
        let credentials = Credentials::load(&setup.places.etc)?;
        Ok(match libvirt_pki::first_difference(&setup.places.pki, &credentials)? {
            Some(path) => Finding::Missing(format!("{} and the like", path.display())),
            None => Finding::InPlace,
        })
    }

    async fn act(&self, setup: &mut HostSetup) -> anyhow::Result<()> {
        let credentials = Credentials::load(&setup.places.etc)?;
        libvirt_pki::lay_out(&setup.places.pki, &credentials)?;
        Ok(())
    }
}
