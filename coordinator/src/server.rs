//! Everything that a coordinator serves, as routes: put together here, guarded by the [`Door`], served by
//! the daemon on its one port.
//!
//! [`Door`]: crate::door::Door

use std::path::PathBuf;

use pvc_proto::internal::v1::agent_service_server::AgentServiceServer;
use pvc_proto::internal::v1::join_service_server::JoinServiceServer;
use pvc_proto::internal::v1::raft_service_server::RaftServiceServer;
use pvc_proto::v1::cluster_service_server::ClusterServiceServer;
use pvc_proto::v1::event_service_server::EventServiceServer;
use pvc_proto::v1::network_service_server::NetworkServiceServer;
use pvc_proto::v1::node_service_server::NodeServiceServer;
use pvc_proto::v1::rule_service_server::RuleServiceServer;
use pvc_proto::v1::task_service_server::TaskServiceServer;
use pvc_proto::v1::token_service_server::TokenServiceServer;
use pvc_proto::v1::vm_service_server::VmServiceServer;
use pvc_proto::v1::volume_service_server::VolumeServiceServer;
use raft_store::MAX_CALL_BYTES;
use tonic::service::Routes;

use crate::raft_transport::ENVELOPE_BYTES_MAX;
use crate::services::{
    Agents, ClusterInfo, Events, Joins, Networks, Nodes, Raft, Rules, Shared, Tasks, Tokens, Vms, Volumes,
};

/// Largest answer: a page of a thousand VMs, each with an XML of its own.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Adds the coordinator's services to `routes`. `ca_dir` holds the cluster's CA.
pub fn routes(routes: Routes, shared: &Shared, ca_dir: PathBuf) -> Routes {
    let most = MAX_CALL_BYTES + ENVELOPE_BYTES_MAX;
    let raft = RaftServiceServer::new(Raft(shared.clone()))
        .max_decoding_message_size(most)
        .max_encoding_message_size(most);
    let vms = VmServiceServer::new(Vms(shared.clone())).max_encoding_message_size(ANSWER_BYTES_MAX);
    routes
        .add_service(raft)
        .add_service(AgentServiceServer::new(Agents(shared.clone())))
        .add_service(JoinServiceServer::new(Joins { shared: shared.clone(), ca_dir }))
        .add_service(vms)
        .add_service(
            NetworkServiceServer::new(Networks(shared.clone())).max_encoding_message_size(ANSWER_BYTES_MAX),
        )
        .add_service(NodeServiceServer::new(Nodes(shared.clone())))
        .add_service(VolumeServiceServer::new(Volumes(shared.clone())))
        .add_service(RuleServiceServer::new(Rules(shared.clone())))
        .add_service(TaskServiceServer::new(Tasks(shared.clone())))
        .add_service(TokenServiceServer::new(Tokens(shared.clone())))
        .add_service(EventServiceServer::new(Events(shared.clone())))
        .add_service(ClusterServiceServer::new(ClusterInfo::new(shared.clone())))
}
