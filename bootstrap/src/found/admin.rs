//! Credentials of the first administrator, with which `pvc` is used on the founding host or copied elsewhere.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use pvc_client::{Connection, Connections};
use pvc_identity::{Credentials, CredentialsError, Identity, LeafSpec};

use super::node_certificate::issue;
use super::{HostSetup, load_authority};
use crate::durable_file;
use crate::step::{Finding, Step};

/// A person renews by hand, so it lasts longer than a node's.
const LIFETIME: Duration = Duration::from_secs(365 * 86_400);
const USER: &str = "root";

pub(super) struct AdminCredentials;

#[async_trait]
impl Step<HostSetup> for AdminCredentials {
    fn name(&self) -> &'static str {
        "administrator's credentials"
    }

    async fn check(&self, setup: &mut HostSetup) -> anyhow::Result<Finding> {
        let folder = setup.places.admin();
        if !folder.join("node.pem").exists() {
            return Ok(Finding::Missing(format!("for admin/{USER} in {}", folder.display())));
        }
        match Credentials::load(&folder)?.check_valid(Timestamp::now()) {
            Ok(()) => Ok(Finding::InPlace),
            Err(CredentialsError::Expired { not_after, .. }) => {
                Ok(Finding::Missing(format!("the old ones expired at {not_after}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn act(&self, setup: &mut HostSetup) -> anyhow::Result<()> {
        let folder = setup.places.admin();
        durable_file::make_directory(&folder, 0o700)?;
        let leaf = LeafSpec { lifetime: LIFETIME, ..LeafSpec::new(Identity::admin(USER)?) };
        issue(&load_authority(&setup.authority)?, &leaf)?.save(&folder)?;
        Ok(())
    }
}

pub(super) struct AdminConnection;

#[async_trait]
impl Step<HostSetup> for AdminConnection {
    fn name(&self) -> &'static str {
        "administrator's connection"
    }

    async fn check(&self, setup: &mut HostSetup) -> anyhow::Result<Finding> {
        let path = setup.places.connections();
        Ok(match Connections::read(&path)?.connections.get(&setup.cluster) {
            Some(known) if known.cluster_id == setup.cluster_id()? => Finding::InPlace,
            Some(_) => Finding::Missing(format!("{} knows another cluster of that name", path.display())),
            None => Finding::Missing(format!("\"{}\" in {}", setup.cluster, path.display())),
        })
    }

    async fn act(&self, setup: &mut HostSetup) -> anyhow::Result<()> {
        let path = setup.places.connections();
        let mut all = Connections::read(&path)?;
        let coordinators = match setup.coordinators.as_slice() {
            [] => vec![setup.listen().to_string()],
            known => known.iter().map(|coordinator| coordinator.address.to_string()).collect(),
        };
        let connection = Connection {
            coordinators,
            cluster_id: setup.cluster_id()?.to_owned(),
            // as the host's users see it, wherever this process sees the host's disk
            credentials: Some(super::Places::default().admin()),
            ..Connection::default()
        };
        all.connections.insert(setup.cluster.clone(), connection);
        all.default.get_or_insert_with(|| setup.cluster.clone());
        Ok(all.save(&path)?)
    }
}
