//! The running cluster, asked from the machine with the credentials of its first administrator.

use std::collections::BTreeMap;
use std::time::Duration;

use pvc_client::{CallError, Client, Connection, ConnectionError, request_id};
use pvc_proto::v1::{
    ClusterStatus, GetClusterStatusRequest, ListNodesRequest, Node, Reachability, UpdateClusterRequest,
};

use super::plan::{AddressPlan, HostName, Net};
use super::state::{ClusterDir, ClusterState};
use crate::daemon_config;

/// For one question; a cluster with a quorum answers in milliseconds, and elects within two seconds.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Why the cluster did not say who leads it.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("the cluster does not tell who leads it")]
    Call(#[from] CallError),
    #[error("the cluster has no leader now; `pvc cluster status` shows its members")]
    None,
    #[error("the cluster's leader is {0:?}, which is no host of this machine")]
    Stranger(String),
}

/// How the administrator reaches the cluster: through any of its voters.
pub fn connection(dir: &ClusterDir, state: &ClusterState) -> Connection {
    let voters = state.hosts.iter().take(usize::from(state.voters));
    Connection {
        coordinators: voters
            .map(|host| format!("{}:{}", state.addresses().host(host.name), daemon_config::PORT))
            .collect(),
        credentials: Some(dir.host(state.hosts[0].name).of("/etc/pvc").join("admin")),
        ..Connection::default()
    }
}

/// The client over [`connection`]; connects with its first call.
pub fn client(dir: &ClusterDir, state: &ClusterState) -> Result<Client, ConnectionError> {
    Client::new(&connection(dir, state))
}

/// The cluster's own status.
pub async fn status(client: &Client) -> Result<ClusterStatus, CallError> {
    let mut request = tonic::Request::new(GetClusterStatusRequest {});
    request.set_timeout(ASK_LIMIT);
    Ok(client.cluster().get_cluster_status(request).await?.into_inner())
}

/// Gives the cluster its floating address, unless it has one.
pub async fn float(dir: &ClusterDir, state: &ClusterState) -> anyhow::Result<()> {
    let client = client(dir, state)?;
    let known = status(&client).await?.settings.unwrap_or_default();
    if known.floating_address.is_empty() {
        let address = format!("{}/{}", state.addresses().floating(), AddressPlan::PREFIX_LEN);
        let mut request = tonic::Request::new(UpdateClusterRequest {
            floating_address: Some(address),
            floating_device: Some(Net::Cluster.card().to_owned()),
            request_id: request_id(),
            ..UpdateClusterRequest::default()
        });
        request.set_timeout(ASK_LIMIT);
        client.cluster().update_cluster(request).await.map_err(CallError::from)?;
    }
    Ok(())
}

/// The host whose `pvcd` leads now.
pub async fn leader(client: &Client) -> Result<HostName, LeaderError> {
    let leader = status(client).await?.leader;
    if leader.is_empty() {
        return Err(LeaderError::None);
    }
    leader.parse().map_err(|_| LeaderError::Stranger(leader))
}

/// What the cluster says of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// `reachable`, `unreachable` or `never-seen`.
    pub reachability: &'static str,
    /// `leader`, `voter`, `learner`, or `-` for one that is not in Raft.
    pub raft: &'static str,
}

/// What the cluster says of its hosts, by their names.
pub async fn standings(client: &Client) -> Result<BTreeMap<String, Standing>, CallError> {
    let status = status(client).await?;
    let mut request = tonic::Request::new(ListNodesRequest::default());
    request.set_timeout(ASK_LIMIT);
    let nodes = client.nodes().list_nodes(request).await?.into_inner().nodes;
    Ok(nodes.iter().map(|node| standing(node, &status)).collect())
}

fn standing(node: &Node, status: &ClusterStatus) -> (String, Standing) {
    let name = node.meta.as_ref().map(|meta| meta.name.clone()).unwrap_or_default();
    let reachability = match node.status.as_ref().map(|status| status.reachability()) {
        Some(Reachability::Reachable) => "reachable",
        Some(Reachability::Unreachable) => "unreachable",
        Some(Reachability::NeverSeen | Reachability::Unspecified) | None => "never-seen",
    };
    let raft = match status.members.iter().find(|member| member.node == name) {
        Some(_) if status.leader == name => "leader",
        Some(member) if member.voter => "voter",
        Some(_) => "learner",
        None => "-",
    };
    (name, Standing { reachability, raft })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvc_proto::v1::{Meta, NodeStatus, RaftMember};

    #[test]
    fn a_hosts_standing_is_what_raft_and_the_leader_say() {
        let member = |node: &str, voter| RaftMember { node: node.to_owned(), voter, ..RaftMember::default() };
        let status = ClusterStatus {
            leader: "hv1".to_owned(),
            members: vec![member("hv1", true), member("hv2", true), member("hv3", false)],
            ..ClusterStatus::default()
        };
        let raft = |name: &str, reachability: Reachability| {
            let node = Node {
                meta: Some(Meta { name: name.to_owned(), ..Meta::default() }),
                status: Some(NodeStatus { reachability: reachability.into(), ..NodeStatus::default() }),
                ..Node::default()
            };
            let standing = standing(&node, &status).1;
            (standing.raft, standing.reachability)
        };
        assert_eq!(raft("hv1", Reachability::Reachable), ("leader", "reachable"));
        assert_eq!(raft("hv2", Reachability::Unreachable), ("voter", "unreachable"));
        assert_eq!(raft("hv3", Reachability::NeverSeen), ("learner", "never-seen"));
        assert_eq!(raft("hv4", Reachability::Reachable).0, "-");
    }
}
