//! Whether the cluster has taken the node in: it is heard, and a coordinator votes.

use std::time::Duration;

use pvc_client::{CallError, Client, Connection, ConnectionError};
use pvc_proto::v1::{GetClusterStatusRequest, GetNodeRequest, Reachability};
use tokio::time::{Instant, sleep};

use super::HostSetup;

const CALL_LIMIT: Duration = Duration::from_secs(3);
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A node's place among Raft's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    None,
    Voter,
    Standby,
}

/// Why a node is not known to be taken in.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    #[error("node {node} is not taken in after {} s: {missing}", waited.as_secs())]
    NotYet { node: String, waited: Duration, missing: String },
    #[error("the cluster cannot be asked for node {node}")]
    Connection {
        node: String,
        #[source]
        source: ConnectionError,
    },
}

impl HostSetup {
    /// The cluster, as this host's own certificate reaches it.
    pub fn client(&self) -> Result<Client, MemberError> {
        let coordinators = match self.coordinators.as_slice() {
            [] => vec![self.listen().to_string()],
            known => known.iter().map(|known| known.address.to_string()).collect(),
        };
        let connection = Connection {
            coordinators,
            cluster_id: self.cluster_id.clone().unwrap_or_default(),
            credentials: Some(self.places.etc.clone()),
            ..Connection::default()
        };
        Client::new(&connection).map_err(|source| MemberError::Connection { node: self.node.clone(), source })
    }
}

/// Waits until the cluster hears the node and, if it is a coordinator, counts its vote or has it standing by. Tells `progress` what is missing
/// whenever that changes.
pub async fn wait_until_member(
    client: &Client,
    node: &str,
    seat: Seat,
    limit: Duration,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(), MemberError> {
    let deadline = Instant::now() + limit;
    let mut told = String::new();
    loop {
        let missing = match missing(client, node, seat).await {
            Ok(None) => return Ok(()),
            Ok(Some(missing)) => missing.to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(MemberError::NotYet { node: node.to_owned(), waited: limit, missing });
        }
        if missing != told {
            progress(&format!("node {node}: {missing}"));
            told = missing;
        }
        sleep(AGAIN_AFTER).await;
    }
}

async fn missing(client: &Client, node: &str, seat: Seat) -> Result<Option<&'static str>, CallError> {
    let mut request =
        tonic::Request::new(GetNodeRequest { name: node.to_owned(), ..GetNodeRequest::default() });
    request.set_timeout(CALL_LIMIT);
    let found = client.nodes().get_node(request).await?.into_inner();
    let reachability = found.status.map(|status| status.reachability()).unwrap_or_default();
    if reachability != Reachability::Reachable {
        return Ok(Some("the cluster does not hear it yet"));
    }
    if seat == Seat::None {
        return Ok(None);
    }
    let mut request = tonic::Request::new(GetClusterStatusRequest {});
    request.set_timeout(CALL_LIMIT);
    let status = client.cluster().get_cluster_status(request).await?.into_inner();
    Ok(match status.members.iter().find(|member| member.node == node) {
        None => Some("it is not a member of Raft yet"),
        Some(member) if !member.voter && seat == Seat::Voter => {
            Some("it follows Raft's log and does not vote yet")
        }
        Some(_) => None,
    })
}
