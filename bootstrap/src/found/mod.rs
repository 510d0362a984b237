//! Founding a cluster on its first coordinator, and giving a host its identity and configuration.
//!
//! All of it is [`crate::step`]s over a [`HostSetup`]: what the host shall be, and where its files are. The places are given
//! by the caller, so that a local host's disk is set up by the very steps that set up a real host.

mod admin;
mod authority;
mod configuration;
mod daemon;
mod join;
mod node_certificate;
mod plan;
mod service_certificate;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use pvc_identity::{Ca, CaError};

use crate::daemon_config::{self, Coordinator, Role, Storage, VirtType};
use crate::libvirt_pki::PKI_DIR;
use crate::step::Step;

pub use daemon::{DaemonRuns, answers_as};
pub use join::{JoinError, JoinRequest, redeem};
pub use plan::ClusterPlan;
pub use service_certificate::{Issued, ServiceCertificate};

/// Where a host's files are, as seen by this process.
#[derive(Debug, Clone)]
pub struct Places {
    /// The host's `/etc/pvc`.
    pub etc: PathBuf,
    /// The host's `/etc/pki`.
    pub pki: PathBuf,
}

impl Default for Places {
    /// This host's own.
    fn default() -> Self {
        Self { etc: PathBuf::from("/etc/pvc"), pki: PathBuf::from(PKI_DIR) }
    }
}

impl Places {
    /// Folder of the CA, on coordinators.
    pub fn authority(&self) -> PathBuf {
        self.etc.join("ca")
    }

    /// Folder of the first administrator's credentials.
    pub fn admin(&self) -> PathBuf {
        self.etc.join("admin")
    }

    /// Named connections for every user of the host's `pvc`.
    pub fn connections(&self) -> PathBuf {
        self.etc.join("connections.toml")
    }

    fn plan(&self) -> PathBuf {
        self.etc.join("cluster.toml")
    }

    fn configuration(&self) -> PathBuf {
        self.etc.join("pvcd.toml")
    }
}

/// What a host shall be.
#[derive(Debug, Clone)]
pub struct HostSetup {
    pub places: Places,
    /// The cluster's name for people.
    pub cluster: String,
    pub node: String,
    /// Where its `pvcd` and its libvirtd listen; goes into the certificate.
    pub address: IpAddr,
    pub role: Role,
    /// Its id among Raft's members; 0 on a hypervisor.
    pub member_id: u64,
    pub virt_type: VirtType,
    /// Coordinators that the node is told of.
    pub coordinators: Vec<Coordinator>,
    pub storage: Vec<Storage>,
    /// Where the CA is at hand, for signing without asking a coordinator. The founder's own, below `places`.
    pub authority: PathBuf,
    /// The cluster's id, once the first step has found or made it.
    pub cluster_id: Option<String>,
}

impl HostSetup {
    fn cluster_id(&self) -> anyhow::Result<&str> {
        self.cluster_id.as_deref().ok_or_else(|| anyhow::anyhow!("the cluster's id is not known yet"))
    }

    /// Address and port of its `pvcd`.
    pub fn listen(&self) -> std::net::SocketAddr {
        (self.address, daemon_config::PORT).into()
    }
}

/// The steps that found a cluster on this host, short of starting its daemon.
pub fn founding_steps() -> Vec<Box<dyn Step<HostSetup>>> {
    vec![
        Box::new(plan::Plan),
        Box::new(authority::Authority),
        Box::new(node_certificate::NodeCertificate),
        Box::new(admin::AdminCredentials),
        Box::new(admin::AdminConnection),
        Box::new(configuration::Configuration),
        Box::new(configuration::LibvirtCertificates),
    ]
}

/// The steps that give a further host its place where the CA is at hand (hosts of one machine), short of starting its daemon.
pub fn enrolling_steps() -> Vec<Box<dyn Step<HostSetup>>> {
    vec![
        Box::new(plan::Plan),
        Box::new(node_certificate::NodeCertificate),
        Box::new(configuration::Configuration),
        Box::new(configuration::LibvirtCertificates),
    ]
}

/// Reads the CA that is in `folder`.
pub fn load_authority(folder: &Path) -> Result<Ca, CaError> {
    Ca::load(&folder.join("root.pem"), &folder.join("root.key"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step;
    use std::fs;

    fn setup(dir: &Path, node: &str) -> HostSetup {
        let places = Places { etc: dir.join(node).join("etc"), pki: dir.join(node).join("pki") };
        fs::create_dir_all(&places.etc).unwrap();
        HostSetup {
            cluster: "test".to_owned(),
            node: node.to_owned(),
            address: "10.1.2.3".parse().unwrap(),
            role: Role::Coordinator,
            member_id: 1,
            virt_type: VirtType::Qemu,
            coordinators: vec![],
            storage: vec![],
            authority: places.authority(),
            cluster_id: None,
            places,
        }
    }

    async fn run(
        steps: &[Box<dyn Step<HostSetup>>],
        setup: &HostSetup,
    ) -> Result<(usize, String), step::StepError> {
        let mut setup = setup.clone();
        let acted = step::run(steps, &mut setup, &mut |_| ()).await?;
        Ok((acted, setup.cluster_id.unwrap()))
    }

    /// Every file below `dir` with its content.
    fn files(dir: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
        let mut found = std::collections::BTreeMap::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        found
    }

    #[tokio::test]
    async fn founding_twice_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), "hv1");
        let (acted, id) = run(&founding_steps(), &setup).await.unwrap();
        assert_eq!(acted, founding_steps().len());
        let before = files(dir.path());
        assert_eq!(run(&founding_steps(), &setup).await.unwrap(), (0, id));
        assert_eq!(files(dir.path()), before);
    }

    #[tokio::test]
    async fn founding_that_was_cut_off_anywhere_goes_on_with_the_same_identity() {
        for done in 1..founding_steps().len() {
            let dir = tempfile::tempdir().unwrap();
            let setup = setup(dir.path(), "hv1");
            let (_, id) = run(&founding_steps()[..done], &setup).await.unwrap();
            let before = files(dir.path());
            let (acted, again) = run(&founding_steps(), &setup).await.unwrap();
            assert_eq!((acted, again), (founding_steps().len() - done, id));
            let after = files(dir.path());
            assert!(before.iter().all(|(path, content)| after.get(path) == Some(content)));
        }
    }

    #[tokio::test]
    async fn a_lost_file_is_made_again_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), "hv1");
        run(&founding_steps(), &setup).await.unwrap();
        let before = files(dir.path());
        for lost in ["etc/pvcd.toml", "pki/libvirt/servercert.pem", "pki/qemu/client-key.pem"] {
            fs::remove_file(dir.path().join("hv1").join(lost)).unwrap();
            assert_eq!(run(&founding_steps(), &setup).await.unwrap().0, 1, "{lost}");
        }
        assert_eq!(files(dir.path()), before);
    }

    #[tokio::test]
    async fn a_second_host_gets_the_cluster_id_and_a_certificate_of_the_same_ca() {
        let dir = tempfile::tempdir().unwrap();
        let first = setup(dir.path(), "hv1");
        let (_, id) = run(&founding_steps(), &first).await.unwrap();
        let mut second = setup(dir.path(), "hv2");
        second.authority = first.authority.clone();
        second.role = Role::Hypervisor;
        second.cluster_id = Some(id.clone());
        assert_eq!(run(&enrolling_steps(), &second).await.unwrap().1, id);
        let credentials = pvc_identity::Credentials::load(&second.places.etc).unwrap();
        assert_eq!(credentials.leaf().identity.to_string(), "node/hv2");
        assert_eq!(credentials.ca_bundle_pem(), load_authority(&first.authority).unwrap().cert_pem());
        assert!(!second.places.authority().exists(), "the CA's key stays with the coordinator");
    }

    #[tokio::test]
    async fn another_name_or_cluster_on_a_founded_host_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), "hv1");
        run(&founding_steps(), &setup).await.unwrap();
        let before = files(dir.path());
        let renamed = HostSetup { node: "hv9".to_owned(), ..setup.clone() };
        let other = HostSetup { cluster_id: Some(uuid::Uuid::new_v4().to_string()), ..setup.clone() };
        for wrong in [renamed, other] {
            let error = run(&founding_steps(), &wrong).await.unwrap_err();
            let why = std::error::Error::source(&error).unwrap().to_string();
            assert!(why.contains("already"), "{why}");
        }
        assert_eq!(files(dir.path()), before);
    }

    #[tokio::test]
    async fn a_lost_ca_is_not_replaced_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), "hv1");
        run(&founding_steps(), &setup).await.unwrap();
        fs::remove_file(setup.authority.join("root.pem")).unwrap();
        let error = run(&founding_steps(), &setup).await.unwrap_err();
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains("restore"), "{why}");
    }
}
