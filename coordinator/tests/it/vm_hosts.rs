//! What hosts answer for VMs: consoles, logs and dumps.

use std::time::Duration;

use pvc_coordinator::services::{Nodes, Vms};
use pvc_model::vm::ObservedPhase;
use pvc_proto::v1;
use pvc_proto::v1::node_service_server::NodeService;
use pvc_proto::v1::vm_service_client::VmServiceClient;
use pvc_proto::v1::vm_service_server::{VmService, VmServiceServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::RoutesBuilder;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::cluster::name;
use super::desk::{Desk, admin, help, next, refused, rule};
use super::hosts::serve;

fn dump(vm: &str) -> tonic::Request<v1::DumpVmRequest> {
    admin(v1::DumpVmRequest { name: vm.to_owned() })
}

fn log(vm: &str, lines: u32, follow: bool) -> tonic::Request<v1::TailVmLogRequest> {
    admin(v1::TailVmLogRequest { name: vm.to_owned(), lines, follow })
}

async fn uid(desk: &Desk, vm: &str) -> String {
    let (_, leader) = desk.cluster.leader().await;
    leader.world().vm(&name(vm)).expect("a VM").uid().to_string()
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

#[tokio::test(start_paused = true)]
async fn any_host_can_say_what_a_vm_that_is_off_would_be() {
    let desk = Desk::open().await;
    let disk = v1::Disk { volume: "web1-root".into(), create_bytes: 1 << 20, ..Default::default() };
    let spec = v1::VmSpec { disks: vec![disk], home: "hv2".into(), ..super::desk::spec() };
    let request = v1::CreateVmRequest { name: "web1".into(), spec: Some(spec), ..Default::default() };
    let vms = desk.vms().await;
    vms.create_vm(admin(request)).await.expect("defined");
    let xml = |answer: v1::DumpVmResponse| (answer.xml, answer.live);
    let first = vms.dump_vm(dump("web1")).await.expect("a dump").into_inner();
    assert_eq!(xml(first), ("web1 with [\"web1-root\"] by hv2".into(), false));
    desk.hosts.down.write().insert(name("hv2"));
    let second = vms.dump_vm(dump("web1")).await.expect("a dump").into_inner();
    assert_eq!(xml(second), ("web1 with [\"web1-root\"] by hv1".into(), false));
    desk.hosts.down.write().extend([name("hv1"), name("hv3")]);
    assert_eq!(refused(vms.dump_vm(dump("web1")).await), (Code::Unavailable, "unreachable".into()));
}

#[tokio::test(start_paused = true)]
async fn a_running_guest_is_described_by_its_own_host_alone() {
    let desk = Desk::open().await;
    desk.define("web1", &[]).await;
    desk.run("web1", "hv3").await;
    let id = uid(&desk, "web1").await;
    desk.hosts.guests.write().insert(format!("hv3/{id}"));
    let vms = desk.vms().await;
    let answer = vms.dump_vm(dump("web1")).await.expect("a dump").into_inner();
    assert_eq!((answer.xml.as_str(), answer.live), ("web1 with [] by hv3", true));
    desk.hosts.down.write().insert(name("hv3"));
    let status = vms.dump_vm(dump("web1")).await.expect_err("refused");
    assert_eq!((status.code(), rule(&status).as_str()), (Code::Unavailable, "unreachable"));
    assert!(status.message().starts_with("node/hv3: "), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_log_comes_from_where_the_vm_ran() {
    let desk = Desk::open().await;
    desk.define("web1", &[]).await;
    let vms = desk.vms().await;
    let never = vms.tail_vm_log(log("web1", 0, false)).await.err().expect("refused");
    assert_eq!((never.code(), rule(&never).as_str()), (Code::FailedPrecondition, "vm-has-run"));
    assert_eq!(help(&never), "pvc vm start web1");
    desk.run("web1", "hv2").await;
    let id = uid(&desk, "web1").await;
    let mut lines = vms.tail_vm_log(log("web1", 0, false)).await.expect("a log").into_inner();
    assert_eq!(text(&next(&mut lines).await.expect("lines").data), format!("100 lines of {id} on hv2"));
    assert!(futures::StreamExt::next(&mut lines).await.is_none(), "it ends");
    assert_eq!(refused(vms.tail_vm_log(log("web1", 10_001, false)).await).1, "out-of-range");

    // Moved while off: what it said is still where it ran.
    let stop = v1::StopVmRequest { name: "web1".into(), ..Default::default() };
    vms.stop_vm(admin(stop)).await.expect("a task");
    desk.says("web1", ObservedPhase::Stopped, "").await;
    let moved = v1::MoveVmRequest { name: "web1".into(), node: "hv1".into(), ..Default::default() };
    vms.move_vm(admin(moved)).await.expect("moved");
    let mut lines = vms.tail_vm_log(log("web1", 5, true)).await.expect("a log").into_inner();
    assert_eq!(text(&next(&mut lines).await.expect("lines").data), format!("5 lines of {id} on hv2"));

    desk.closing.cancel();
    let end = next(&mut lines).await.expect_err("it ends");
    assert_eq!((end.code(), rule(&end).as_str()), (Code::Unavailable, "stopping"));
}

#[tokio::test(start_paused = true)]
async fn a_nodes_log_ends_with_the_server_too() {
    let desk = Desk::open().await;
    let nodes = Nodes(desk.leading().await);
    let request = v1::TailNodeLogRequest { name: "hv2".into(), follow: true, ..Default::default() };
    let mut lines = nodes.tail_node_log(admin(request.clone())).await.expect("a log").into_inner();
    assert_eq!(text(&next(&mut lines).await.expect("lines").data), "100 lines of hv2");
    desk.closing.cancel();
    assert_eq!(next(&mut lines).await.expect_err("it ends").code(), Code::Unavailable);
    desk.hosts.down.write().insert(name("hv2"));
    let broken = nodes.tail_node_log(admin(request)).await;
    assert_eq!(refused(broken), (Code::Unavailable, "unreachable".into()));
}

/// The service behind a real stream: consoles are typed into.
fn connected(vms: Vms) -> VmServiceClient<Channel> {
    let caller = |mut request: tonic::Request<()>| -> Result<_, Status> {
        let known = admin(());
        let caller = known.extensions().get::<pvc_coordinator::services::Caller>().cloned();
        request.extensions_mut().insert(caller.expect("a caller"));
        Ok(request)
    };
    let mut routes = RoutesBuilder::default();
    routes.add_service(VmServiceServer::with_interceptor(vms, caller));
    VmServiceClient::new(serve(routes))
}

struct Typist {
    keys: mpsc::Sender<v1::ConsoleInput>,
    screen: Streaming<v1::ConsoleOutput>,
}

impl Typist {
    async fn attach(desk: &Desk, vm: &str) -> Result<Typist, Status> {
        let (keys, typed) = mpsc::channel(8);
        keys.send(v1::ConsoleInput { vm: vm.to_owned(), data: b"first ".to_vec() }).await.expect("open");
        let screen = connected(desk.vms().await).console(ReceiverStream::new(typed)).await?.into_inner();
        Ok(Typist { keys, screen })
    }

    async fn types(&self, text: &str) {
        let input = v1::ConsoleInput { vm: String::new(), data: text.as_bytes().to_vec() };
        self.keys.send(input).await.expect("open");
    }

    async fn reads(&mut self) -> Result<String, Status> {
        Ok(text(&next(&mut self.screen).await?.data))
    }
}

#[tokio::test(start_paused = true)]
async fn a_console_goes_both_ways_until_either_side_ends_it() {
    let desk = Desk::open().await;
    desk.define("web1", &[]).await;
    desk.run("web1", "hv2").await;
    let id = uid(&desk, "web1").await;
    let mut typist = Typist::attach(&desk, "web1").await.expect("attached");
    assert_eq!(typist.reads().await.expect("a greeting"), format!("{id} on hv2: first "));
    for word in ["login", "root"] {
        typist.types(word).await;
        assert_eq!(typist.reads().await.expect("an echo"), word.to_uppercase());
    }
    typist.types("\x04").await;
    let end = tokio::time::timeout(Duration::from_secs(5), typist.screen.message()).await.expect("in time");
    assert!(matches!(end, Ok(None)), "the host ended it: {end:?}");

    let mut second = Typist::attach(&desk, "web1").await.expect("attached");
    second.reads().await.expect("a greeting");
    desk.closing.cancel();
    let end = second.reads().await.expect_err("the server ends");
    assert_eq!((end.code(), rule(&end).as_str()), (Code::Unavailable, "stopping"));
}

#[tokio::test(start_paused = true)]
async fn a_console_needs_a_guest_that_runs() {
    let desk = Desk::open().await;
    for vm in ["off", "failed", "lost"] {
        desk.define(vm, &[]).await;
    }
    desk.run("failed", "hv2").await;
    desk.says("failed", ObservedPhase::Failed, "no kernel").await;
    desk.run("lost", "hv3").await;
    desk.silence("hv3").await;
    let refusal = async |vm: &str| Typist::attach(&desk, vm).await.err().expect("refused");
    let off = refusal("off").await;
    assert_eq!((off.code(), rule(&off).as_str()), (Code::FailedPrecondition, "vm-must-run"));
    assert_eq!(help(&off), "pvc vm start off");
    let failed = refusal("failed").await;
    assert!(failed.message().contains("it has failed (no kernel)"), "{failed}");
    assert_eq!(refusal("lost").await.code(), Code::Unavailable);
    assert_eq!(refusal("nobody").await.code(), Code::NotFound);
    assert_eq!(refusal("").await.code(), Code::InvalidArgument);

    // A client that never names a VM is not waited for for ever.
    let (_keys, typed) = mpsc::channel::<v1::ConsoleInput>(1);
    let silent = connected(desk.vms().await).console(ReceiverStream::new(typed)).await.expect_err("refused");
    assert_eq!((silent.code(), rule(&silent).as_str()), (Code::InvalidArgument, "must-be-set"));
}
