//! Maintenance from the command line, with a coordinator that knows one node.

use futures::stream::BoxStream;
use pvc_proto::v1::node_service_server::{NodeService, NodeServiceServer};
use pvc_proto::v1::{
    CheckNodeBmcRequest, CheckNodeBmcResponse, ClearNodeBmcRequest, DeleteNodeRequest, DeleteNodeResponse,
    ExplainNodeRequest, Explanation, FenceNodeRequest, Finding, FlushMove, FlushNodeRequest, FlushPlan,
    FlushStuck, GetNodeRequest, ListNodesRequest, ListNodesResponse, LogChunk, Meta, Node, NodeChange,
    PlanFlushRequest, ReadyNodeRequest, SetNodeBmcRequest, SetNodePowerRequest, SetNodePowerResponse,
    TailNodeLogRequest, Task, TaskState, UpdateNodeRequest, WatchNodesRequest,
};
use tonic::{Request, Response, Status};

use crate::coordinator::serve_with;
use crate::home::Home;

struct OneNode;

fn unasked<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not asked in this test"))
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

#[tonic::async_trait]
impl NodeService for OneNode {
    async fn list_nodes(&self, _: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        unasked()
    }

    async fn get_node(&self, _: Request<GetNodeRequest>) -> Result<Response<Node>, Status> {
        unasked()
    }

    async fn update_node(&self, _: Request<UpdateNodeRequest>) -> Result<Response<Node>, Status> {
        unasked()
    }

    async fn fence_node(&self, _: Request<FenceNodeRequest>) -> Result<Response<Node>, Status> {
        unasked()
    }

    async fn set_node_bmc(&self, _: Request<SetNodeBmcRequest>) -> Result<Response<Node>, Status> {
        unasked()
    }

    async fn clear_node_bmc(&self, _: Request<ClearNodeBmcRequest>) -> Result<Response<Node>, Status> {
        unasked()
    }

    async fn check_node_bmc(
        &self,
        _: Request<CheckNodeBmcRequest>,
    ) -> Result<Response<CheckNodeBmcResponse>, Status> {
        unasked()
    }

    async fn set_node_power(
        &self,
        _: Request<SetNodePowerRequest>,
    ) -> Result<Response<SetNodePowerResponse>, Status> {
        unasked()
    }

    async fn delete_node(
        &self,
        _: Request<DeleteNodeRequest>,
    ) -> Result<Response<DeleteNodeResponse>, Status> {
        unasked()
    }

    type WatchNodesStream = BoxStream<'static, Result<NodeChange, Status>>;

    async fn watch_nodes(
        &self,
        _: Request<WatchNodesRequest>,
    ) -> Result<Response<Self::WatchNodesStream>, Status> {
        unasked()
    }

    type TailNodeLogStream = BoxStream<'static, Result<LogChunk, Status>>;

    async fn tail_node_log(
        &self,
        _: Request<TailNodeLogRequest>,
    ) -> Result<Response<Self::TailNodeLogStream>, Status> {
        unasked()
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
}

#[tokio::test]
async fn a_node_is_emptied_filled_and_explained() {
    let home = Home::new();
    let server = tonic::transport::Server::builder().add_service(NodeServiceServer::new(OneNode));
    home.connect(&serve_with(&home, server).await).await;
    let ran = home.pvc(&["node", "flush", "hv1", "--dry-run"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    for line in [
        "at 1 Gbit/s that takes about 20.0 s",
        "1 VMs fit nowhere else: a flush is refused without --stop-unmovable",
        "no node takes it",
    ] {
        assert!(ran.out.contains(line), "{line}: {ran:?}");
    }
    for (words, kind, asked) in [
        (&["node", "flush", "hv1", "-W", "-o", "json"][..], "node.flush", "false"),
        (&["node", "flush", "hv1", "--stop-unmovable", "-W", "-o", "json"], "node.flush", "true"),
        (&["node", "ready", "hv1", "--no-return", "-W", "-o", "json"], "node.ready", "true"),
    ] {
        let ran = home.pvc(words).await;
        assert_eq!(ran.exit, 0, "{ran:?}");
        assert!(ran.out.contains(kind) && ran.out.contains(&format!("\"message\": \"{asked}\"")), "{ran:?}");
    }
    let ran = home.pvc(&["why", "node", "hv1"]).await;
    let told = "state        the leader hears it\nmaintenance  it is in maintenance\n";
    assert_eq!((ran.exit, ran.out.as_str()), (0, told), "{ran:?}");
}
