//! The last step: the node's `pvcd` runs and answers under the node's own name.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use pvc_identity::{Alpn, Credentials, ExpectedPeer, Identity, TlsStore};
use tokio::time::{Instant, sleep};

use super::HostSetup;
use crate::step::{Finding, Step};
use crate::tool;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);
const START_LIMIT: Duration = Duration::from_secs(60);
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(90);

/// Whether whoever listens at `address` proves to be node `node` to the holder of these credentials.
pub async fn answers_as(address: SocketAddr, node: &str, credentials: &Credentials) -> anyhow::Result<bool> {
    let store = TlsStore::new(credentials.clone(), Timestamp::now())?;
    let peer = ExpectedPeer::Exactly(Identity::node(node)?);
    Ok(store.connect(&address.to_string(), &peer, Alpn::H2, HANDSHAKE_LIMIT).await.is_ok())
}

/// Starts `pvcd` by systemd where there is one (a local host's first process starts it by itself), and waits for it.
#[derive(Debug, Clone, Copy)]
pub struct DaemonRuns;

#[async_trait]
impl Step<HostSetup> for DaemonRuns {
    fn name(&self) -> &'static str {
        "pvcd"
    }

    async fn check(&self, setup: &mut HostSetup) -> anyhow::Result<Finding> {
        let credentials = Credentials::load(&setup.places.etc)?;
        Ok(if answers_as(setup.listen(), &setup.node, &credentials).await? {
            Finding::InPlace
        } else {
            Finding::Missing(format!("nobody answers as node {} at {}", setup.node, setup.listen()))
        })
    }

    async fn act(&self, setup: &mut HostSetup) -> anyhow::Result<()> {
        if Path::new("/run/systemd/system").exists() {
            tool::run("systemctl", &["enable", "--now", "pvcd.service"], SYSTEMCTL_LIMIT).await?;
        }
        let credentials = Credentials::load(&setup.places.etc)?;
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline && !answers_as(setup.listen(), &setup.node, &credentials).await? {
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}
