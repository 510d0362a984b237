//! A node's BMC by the command line: where a password comes from, and where it is not seen.

use futures::stream::{self, BoxStream};
use pvc_proto::v1::node_service_server::NodeService;
use pvc_proto::v1::{
    Bmc, CheckNodeBmcRequest, CheckNodeBmcResponse, ClearNodeBmcRequest, DeleteNodeRequest,
    DeleteNodeResponse, ExplainNodeRequest, Explanation, FenceNodeRequest, FlushNodeRequest, FlushPlan,
    GetNodeRequest, ListNodesRequest, ListNodesResponse, LogChunk, Meta, Node, NodeChange, NodeSpec,
    PlanFlushRequest, PowerAction, PowerState, ReadyNodeRequest, SetNodeBmcRequest, SetNodePowerRequest,
    SetNodePowerResponse, TailNodeLogRequest, Task, UpdateNodeRequest, WatchNodesRequest, Wiring,
};
use tonic::{Request, Response, Status};

use crate::coordinator::serve;
use crate::home::Home;

const PASSWORD: &str = "lab-secret";

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
        not_played()
    }

    async fn update_node(&self, _: Request<UpdateNodeRequest>) -> Result<Response<Node>, Status> {
        not_played()
    }

    async fn fence_node(&self, _: Request<FenceNodeRequest>) -> Result<Response<Node>, Status> {
        not_played()
    }

    async fn explain_node(&self, _: Request<ExplainNodeRequest>) -> Result<Response<Explanation>, Status> {
        not_played()
    }

    async fn plan_flush(&self, _: Request<PlanFlushRequest>) -> Result<Response<FlushPlan>, Status> {
        not_played()
    }

    async fn flush_node(&self, _: Request<FlushNodeRequest>) -> Result<Response<Task>, Status> {
        not_played()
    }

    async fn ready_node(&self, _: Request<ReadyNodeRequest>) -> Result<Response<Task>, Status> {
        not_played()
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

#[tokio::test]
async fn a_password_comes_from_a_file_or_stdin_and_is_never_printed() {
    let home = Home::new();
    home.connect(&serve(&home).await).await;
    let file = home.write("password", &format!("{PASSWORD}\nand what is below\n"));
    let set = ["node", "bmc", "set", "hv1", "--address", "b1", "--user", "ADMIN"];
    let by_file = [&set[..], &["--password-file", &file]].concat();
    let ran = home.pvc(&by_file).await;
    let told = "node/hv1: its BMC at b1:623 answers; it is the node's own by its system GUID\n";
    assert_eq!((ran.exit, ran.out.as_str()), (0, told), "{ran:?}");
    let by_stdin = [&set[..], &["--password-stdin", "--trust-wiring", "-o", "json"]].concat();
    let ran = home.pvc_fed(&by_stdin, &format!("{PASSWORD}\n")).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(!ran.out.contains(PASSWORD) && ran.out.contains("\"hasPassword\": true"), "{ran:?}");

    let ran = home.pvc_fed(&by_stdin, "lab-secre\n").await;
    assert_eq!(ran.exit, 4, "{ran:?}");
    assert!(ran.err.contains("does not take this user and password"), "{ran:?}");
    let ran = home.pvc(&set).await;
    assert_eq!(ran.exit, 2, "{ran:?}");
    assert!(ran.err.contains("[password-needed]\n  help: give --password-file FILE"), "{ran:?}");
    let ran = home.pvc_fed(&by_stdin, "\n").await;
    assert_eq!((ran.exit, ran.err.contains("the password is empty")), (2, true), "{ran:?}");
    let as_argument = [&set[..], &["--password", PASSWORD]].concat();
    assert_eq!(home.pvc(&as_argument).await.exit, 2, "there is no such argument");
}

#[tokio::test]
async fn a_check_and_a_node_tell_the_wiring_plainly() {
    let home = Home::new();
    home.connect(&serve(&home).await).await;
    let told = "Power:               on\nIdentity:            it can't tell\n\
        Wiring:              not verified: nothing tells that it is this node's\nAnswered in:         12 ms\n";
    for words in [["node", "bmc", "check", "hv1"], ["node", "power", "hv1", "status"]] {
        let ran = home.pvc(&words).await;
        assert_eq!((ran.exit, ran.out.as_str()), (0, told), "{ran:?}");
    }
    let ran = home.pvc(&["node", "info", "hv1"]).await;
    assert!(ran.out.contains("BMC:                 ADMIN at b1:623, with a password"), "{ran:?}");
    assert!(ran.out.contains("BMC wiring:          verified"), "{ran:?}");
}

#[tokio::test]
async fn power_is_taken_after_a_yes_and_read_back() {
    let home = Home::new();
    home.connect(&serve(&home).await).await;
    let ran = home.pvc(&["node", "power", "hv1", "off"]).await;
    assert_eq!((ran.exit, ran.err.contains("[destruction-needs-yes]")), (2, true), "{ran:?}");
    let ran = home.pvc(&["-y", "node", "power", "hv1", "off"]).await;
    assert_eq!((ran.exit, ran.err.contains("VMs are placed on it")), (4, true), "{ran:?}");
    let ran = home.pvc(&["-y", "node", "power", "hv1", "off", "--force"]).await;
    assert_eq!(ran.out, "node/hv1 is off; its BMC has read that back after 1.2 s\n", "{ran:?}");
    let ran = home.pvc(&["node", "power", "hv1", "on"]).await;
    assert_eq!(ran.out, "node/hv1 is on; its BMC has read that back after 1.2 s\n", "{ran:?}");
    let ran = home.pvc(&["-y", "node", "bmc", "clear", "hv1"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "node/hv1 has no BMC\n"), "{ran:?}");
}
