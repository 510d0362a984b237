//! A coordinator's nodes for the tests of the command line: one node, whose BMC takes one password.

use futures::stream::{self, BoxStream};
use pvc_proto::v1::node_service_server::NodeService;
use pvc_proto::v1::{
    Bmc, CheckNodeBmcRequest, CheckNodeBmcResponse, ClearNodeBmcRequest, DeleteNodeRequest,
    DeleteNodeResponse, ExplainNodeRequest, Explanation, FenceNodeRequest, Finding, FlushMove,
    FlushNodeRequest, FlushPlan, FlushStuck, GetNodeRequest, ListNodesRequest, ListNodesResponse, LogChunk,
    Meta, Node, NodeChange, NodeSpec, PlanFlushRequest, PowerAction, PowerState, ReadyNodeRequest,
    SetNodeBmcRequest, SetNodePowerRequest, SetNodePowerResponse, TailNodeLogRequest, Task, TaskState,
    UpdateNodeRequest, WatchNodesRequest, Wiring,
};
use tonic::{Request, Response, Status};

pub const PASSWORD: &str = "lab-secret";

/// Knows one node, whose BMC takes one password.
pub struct OneNode;

fn node(bmc: Option<Bmc>) -> Response<Node> {
    let meta = Some(Meta { name: "hv1".to_owned(), ..Meta::default() });
    Response::new(Node { meta, spec: Some(NodeSpec { bmc, ..NodeSpec::default() }), ..Node::default() })
}

fn bmc(request: SetNodeBmcRequest) -> Bmc {
    Bmc {
        address: format!("{}:623", request.address),
        user: request.user,
        adapter: request.adapter,
        identity: "00112233-4455-6677-8899-aabbccddeeff".to_owned(),
        trusted: request.trust_wiring,
        has_password: true,
        wiring: if request.trust_wiring { Wiring::NotVerified } else { Wiring::Verified }.into(),
        ..Bmc::default()
    }
}

fn task(kind: &str, message: String) -> Response<Task> {
    Response::new(Task {
        meta: Some(Meta { name: "t1".to_owned(), ..Meta::default() }),
        kind: kind.to_owned(),
        subject: "node/hv1".to_owned(),
        state: TaskState::Running as i32,
        message,
        ..Task::default()
    })
}

fn not_played<T>() -> Result<T, Status> {
    Err(Status::unimplemented("this test has no such call"))
}

#[tonic::async_trait]
impl NodeService for OneNode {
    async fn set_node_bmc(&self, request: Request<SetNodeBmcRequest>) -> Result<Response<Node>, Status> {
        let request = request.into_inner();
        if request.password != PASSWORD {
            return Err(Status::failed_precondition(
                "node/hv1: the BMC does not take this user and password",
            ));
        }
        Ok(node(Some(bmc(request))))
    }

    async fn clear_node_bmc(&self, _: Request<ClearNodeBmcRequest>) -> Result<Response<Node>, Status> {
        Ok(node(None))
    }

    async fn check_node_bmc(
        &self,
        _: Request<CheckNodeBmcRequest>,
    ) -> Result<Response<CheckNodeBmcResponse>, Status> {
        Ok(Response::new(CheckNodeBmcResponse {
            power: PowerState::On.into(),
            identity: String::new(),
            wiring: Wiring::NotVerified.into(),
            took_ms: 12,
        }))
    }

    async fn set_node_power(
        &self,
        request: Request<SetNodePowerRequest>,
    ) -> Result<Response<SetNodePowerResponse>, Status> {
        let request = request.into_inner();
        let power = match (request.action(), request.force) {
            (PowerAction::Off, false) => return Err(Status::failed_precondition("VMs are placed on it")),
            (PowerAction::Off, true) => PowerState::Off,
            _ => PowerState::On,
        };
        Ok(Response::new(SetNodePowerResponse { power: power.into(), took_ms: 1234 }))
    }

    async fn get_node(&self, _: Request<GetNodeRequest>) -> Result<Response<Node>, Status> {
        let request = SetNodeBmcRequest { address: "b1".into(), user: "ADMIN".into(), ..Default::default() };
        Ok(node(Some(bmc(request))))
    }

    async fn list_nodes(&self, _: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        let nodes = vec![node(None).into_inner()];
        Ok(Response::new(ListNodesResponse { nodes, ..ListNodesResponse::default() }))
    }

    async fn update_node(&self, _: Request<UpdateNodeRequest>) -> Result<Response<Node>, Status> {
        not_played()
    }

    async fn fence_node(&self, _: Request<FenceNodeRequest>) -> Result<Response<Node>, Status> {
        not_played()
    }

    async fn explain_node(&self, _: Request<ExplainNodeRequest>) -> Result<Response<Explanation>, Status> {
        let finding = |topic: &str, text: &str| Finding {
            topic: topic.to_owned(),
            text: text.to_owned(),
            ..Finding::default()
        };
        let findings =
            vec![finding("state", "the leader hears it"), finding("maintenance", "it is in maintenance")];
        Ok(Response::new(Explanation { findings, revision: 1 }))
    }

    async fn plan_flush(&self, request: Request<PlanFlushRequest>) -> Result<Response<FlushPlan>, Status> {
        let stuck = FlushStuck { vm: "db1".to_owned(), reason: "no node takes it".to_owned() };
        Ok(Response::new(FlushPlan {
            node: request.into_inner().name,
            moves: vec![FlushMove { vm: "web1".to_owned(), to: "hv2".to_owned() }],
            stuck: vec![stuck],
            memory_mib: 2200,
            estimated_seconds: 20,
            ..FlushPlan::default()
        }))
    }

    async fn flush_node(&self, request: Request<FlushNodeRequest>) -> Result<Response<Task>, Status> {
        Ok(task("node.flush", request.into_inner().stop_unmovable.to_string()))
    }

    async fn ready_node(&self, request: Request<ReadyNodeRequest>) -> Result<Response<Task>, Status> {
        Ok(task("node.ready", request.into_inner().no_return.to_string()))
    }

    async fn delete_node(
        &self,
        _: Request<DeleteNodeRequest>,
    ) -> Result<Response<DeleteNodeResponse>, Status> {
        not_played()
    }

    type WatchNodesStream = BoxStream<'static, Result<NodeChange, Status>>;

    async fn watch_nodes(
        &self,
        _: Request<WatchNodesRequest>,
    ) -> Result<Response<Self::WatchNodesStream>, Status> {
        Ok(Response::new(Box::pin(stream::empty())))
    }

    type TailNodeLogStream = BoxStream<'static, Result<LogChunk, Status>>;

    async fn tail_node_log(
        &self,
        _: Request<TailNodeLogRequest>,
    ) -> Result<Response<Self::TailNodeLogStream>, Status> {
        Ok(Response::new(Box::pin(stream::empty())))
    }
}
