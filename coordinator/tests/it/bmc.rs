//! Nodes' BMCs as people set, ask and use them, and the leader's checks of them; the BMCs are the fake's.

use std::sync::Arc;
use std::time::Duration;

use pvc_coordinator::core::CoordinatorOptions;
use pvc_coordinator::core::power::{FakeBmcs, Fault, PowerState};
use pvc_coordinator::services::Nodes;
use pvc_model::node::NodeFacts;
use pvc_model::{Name, World};
use pvc_proto::v1;
use pvc_proto::v1::cluster_service_server::ClusterService;
use pvc_proto::v1::node_service_server::NodeService;
use tokio::time::sleep;
use tonic::Code;

use super::cluster::name;
use super::desk::{Desk, admin, help, refused};

const HV1: &str = "00000000-0000-4000-8000-000000000001";
const HV2: &str = "00000000-0000-4000-8000-000000000002";
const PASSWORD: &str = "lab-secret";

/// Three nodes; hv1 and hv2 tell their system UUIDs, and so do their BMCs. hv3's BMC can't.
async fn desk() -> (Desk, FakeBmcs) {
    let rack = FakeBmcs::default();
    for (host, address, identity) in [("hv1", "b1:623", HV1), ("hv2", "b2:623", HV2), ("hv3", "b3:623", "")] {
        rack.add(host, address, identity);
    }
    let options = CoordinatorOptions { power: Arc::new(rack.clone()), ..CoordinatorOptions::default() };
    let desk = Desk::with(options).await;
    let (_, leader) = desk.cluster.leader().await;
    for (node, uuid) in [("hv1", HV1), ("hv2", HV2)] {
        let facts = NodeFacts { system_uuid: uuid.into(), cpus: 4, memory_mib: 4096, ..NodeFacts::default() };
        leader.report(&name(node), 1, vec![], vec![], Some(facts), None).await.expect("reported");
    }
    (desk, rack)
}

fn request(node: &str, address: &str) -> v1::SetNodeBmcRequest {
    v1::SetNodeBmcRequest {
        name: node.to_owned(),
        address: address.to_owned(),
        user: "ADMIN".to_owned(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    }
}

async fn nodes(desk: &Desk) -> Nodes {
    Nodes(desk.leading().await)
}

async fn set(desk: &Desk, node: &str, address: &str) -> v1::Bmc {
    let answer = nodes(desk).await.set_node_bmc(admin(request(node, address))).await.expect("set");
    answer.into_inner().spec.and_then(|spec| spec.bmc).expect("a BMC")
}

async fn world(desk: &Desk) -> World {
    desk.cluster.leader().await.1.world()
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_and_stored_and_its_password_is_seen_nowhere() {
    let (desk, _rack) = desk().await;
    let bmc = set(&desk, "hv1", "B1").await;
    assert_eq!((bmc.address.as_str(), bmc.identity.as_str()), ("b1:623", HV1));
    assert_eq!((bmc.has_password, bmc.wiring()), (true, v1::Wiring::Verified));
    assert!(bmc.sealed_password.is_empty());
    let unknown = set(&desk, "hv3", "b3").await;
    assert_eq!(unknown.wiring(), v1::Wiring::NotVerified);

    let nodes = nodes(&desk).await;
    let listed = nodes.list_nodes(admin(v1::ListNodesRequest::default())).await.expect("listed").into_inner();
    let got = nodes.get_node(admin(v1::GetNodeRequest { name: "hv1".into(), ..Default::default() }));
    let shown = format!("{listed:?} {:?}", got.await.expect("got"));
    let stored = world(&desk).await.nodes[&name("hv1")].spec.bmc.clone().expect("stored");
    assert!(!shown.contains(PASSWORD) && !shown.contains(&format!("{:?}", stored.password.0)), "{shown}");
    assert!(stored.password.0.len() > PASSWORD.len());
    let clear = stored.password.0.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes());
    assert!(!clear, "it is stored sealed");
    let opened = desk.leading().await.vault.open("node/hv1", &stored.password.0).expect("opens");
    assert_eq!(opened.expose(), PASSWORD);

    let cleared = v1::ClearNodeBmcRequest { name: "hv1".into(), ..Default::default() };
    let node = nodes.clear_node_bmc(admin(cleared)).await.expect("cleared").into_inner();
    assert!(node.spec.is_some_and(|spec| spec.bmc.is_none()));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_answer_as_it_should_is_not_stored() {
    let (desk, rack) = desk().await;
    let nodes = nodes(&desk).await;
    let refusal = async |request| refused(nodes.set_node_bmc(admin(request)).await);
    let precondition = |rule: &str| (Code::FailedPrecondition, rule.to_owned());

    rack.fail("b1:623", Fault::WrongPassword);
    assert_eq!(refusal(request("hv1", "b1")).await, precondition("bmc-password"));
    rack.repair("b1:623");
    rack.fail("b1:623", Fault::Dead);
    assert_eq!(refusal(request("hv1", "b1")).await, precondition("bmc-answers"));
    rack.repair("b1:623");
    assert_eq!(refusal(request("hv1", "b9")).await, precondition("bmc-answers"), "nobody is there");
    // Wired to one another.
    assert_eq!(refusal(request("hv1", "b2")).await, precondition("bmc-of-another-node"));
    rack.identify("b1:623", "00000000-0000-4000-8000-000000000009");
    assert_eq!(refusal(request("hv1", "b1")).await, precondition("bmc-of-this-node"));

    let invalid = |rule: &str| (Code::InvalidArgument, rule.to_owned());
    let with_password =
        |password: &str| v1::SetNodeBmcRequest { password: password.to_owned(), ..request("hv1", "b1") };
    assert_eq!(refusal(with_password("")).await, invalid("bmc-password"));
    assert_eq!(refusal(with_password(&"p".repeat(21))).await, invalid("bmc-password"));
    assert_eq!(refusal(with_password("a\nb")).await, invalid("bmc-password"));
    assert_eq!(refusal(request("hv1", "10.0.0")).await, invalid("bmc-address"));
    let without_user = v1::SetNodeBmcRequest { user: String::new(), ..request("hv1", "b1") };
    assert_eq!(refusal(without_user).await, invalid("bmc-user"));
    assert_eq!(refusal(request("hv9", "b1")).await, (Code::NotFound, "must-exist".to_owned()));
    assert!(world(&desk).await.nodes.values().all(|node| node.spec.bmc.is_none()), "nothing was stored");

    let trusted = v1::SetNodeBmcRequest { trust_wiring: true, ..request("hv1", "b1") };
    let node = nodes.set_node_bmc(admin(trusted)).await.expect("an administrator's word").into_inner();
    let bmc = node.spec.and_then(|spec| spec.bmc).expect("a BMC");
    assert_eq!((bmc.trusted, bmc.wiring()), (true, v1::Wiring::NotVerified));
    assert_eq!(rack.orders(), [] as [String; 0], "nothing was switched");
}

#[tokio::test(start_paused = true)]
async fn power_is_switched_by_hand_and_not_from_under_a_vm() {
    let (desk, rack) = desk().await;
    let nodes = nodes(&desk).await;
    let power = async |node: &str, action: v1::PowerAction, force| {
        let request = v1::SetNodePowerRequest { name: node.to_owned(), action: action.into(), force };
        nodes.set_node_power(admin(request)).await
    };
    let answer = power("hv2", v1::PowerAction::Off, false).await;
    assert!(help(&answer.expect_err("no BMC")).contains("pvc node bmc set hv2"));
    set(&desk, "hv2", "b2").await;
    desk.define("web1", &[]).await;
    desk.run("web1", "hv2").await;
    for action in [v1::PowerAction::Off, v1::PowerAction::Cycle] {
        assert_eq!(refused(power("hv2", action, false).await).1, "node-must-be-empty");
    }
    assert_eq!(refused(power("hv2", v1::PowerAction::Unspecified, true).await).1, "must-be-set");
    assert_eq!(rack.power("hv2"), PowerState::On);
    let answer = power("hv2", v1::PowerAction::Off, true).await.expect("forced").into_inner();
    assert_eq!((answer.power(), rack.power("hv2")), (v1::PowerState::Off, PowerState::Off));
    let answer = power("hv2", v1::PowerAction::On, false).await.expect("on").into_inner();
    assert_eq!((answer.power(), rack.power("hv2")), (v1::PowerState::On, PowerState::On));
    power("hv2", v1::PowerAction::Cycle, true).await.expect("cycled");
    assert_eq!(rack.orders(), ["off b2:623", "on b2:623", "off b2:623", "on b2:623"]);
    let audit = v1::ListAuditRequest { page_size: 3, ..Default::default() };
    let audit = desk.info().await.list_audit(admin(audit)).await.expect("an audit").into_inner();
    let told: Vec<&str> = audit.entries.iter().map(|entry| entry.summary.as_str()).collect();
    let off = "switch node/hv2 off by its BMC";
    assert_eq!(told, ["switch node/hv2 off and on again by its BMC", "switch node/hv2 on by its BMC", off]);

    rack.fail("b2:623", Fault::Stuck);
    assert_eq!(refused(power("hv2", v1::PowerAction::Off, true).await).1, "power-read-back");
    // Another BMC took its place: it would switch another host.
    rack.repair("b2:623");
    rack.identify("b2:623", HV1);
    assert_eq!(refused(power("hv2", v1::PowerAction::Off, true).await).1, "bmc-same-identity");
    assert_eq!(rack.power("hv2"), PowerState::On);
}

#[tokio::test(start_paused = true)]
async fn a_check_tells_power_identity_and_wiring() {
    let (desk, rack) = desk().await;
    set(&desk, "hv1", "b1").await;
    let nodes = nodes(&desk).await;
    let check = async || {
        let request = v1::CheckNodeBmcRequest { name: "hv1".into() };
        nodes.check_node_bmc(admin(request)).await
    };
    rack.slow("b1:623", Duration::from_millis(250));
    let answer = check().await.expect("answered").into_inner();
    assert_eq!((answer.power(), answer.wiring()), (v1::PowerState::On, v1::Wiring::Verified));
    assert_eq!(answer.identity, HV1);
    assert!(answer.took_ms >= 500, "two answers of 250 ms: {}", answer.took_ms);
    rack.set_power("hv1", PowerState::Off);
    rack.identify("b1:623", HV2);
    let answer = check().await.expect("answered").into_inner();
    assert_eq!((answer.power(), answer.wiring()), (v1::PowerState::Off, v1::Wiring::Wrong));
    rack.fail("b1:623", Fault::Dead);
    assert_eq!(refused(check().await).1, "bmc-answers");
}

/// Whether the fault stands, and what it says.
async fn fault(desk: &Desk, fault: &str) -> Option<String> {
    world(desk).await.faults.get(&name(fault)).map(|fault| fault.message.clone())
}

async fn faults_of_bmcs(desk: &Desk) -> Vec<Name> {
    let world = world(desk).await;
    world.faults.keys().filter(|fault| fault.as_str().starts_with("bmc-")).cloned().collect()
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_would_fail_is_a_fault_before_it_is_needed_and_goes_when_it_is_well() {
    let (desk, rack) = desk().await;
    for (node, address) in [("hv1", "b1"), ("hv2", "b2"), ("hv3", "b3")] {
        set(&desk, node, address).await;
    }
    sleep(Duration::from_secs(600)).await;
    assert_eq!(faults_of_bmcs(&desk).await, [] as [Name; 0], "all are well");
    let quiet = world(&desk).await.revision;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(world(&desk).await.revision, quiet, "checks that find all well commit nothing");

    rack.fail("b1:623", Fault::Dead);
    rack.fail("b2:623", Fault::WrongPassword);
    rack.identify("b3:623", HV2);
    sleep(Duration::from_secs(420)).await;
    let dead = fault(&desk, "bmc-unreachable.hv1").await.expect("it is dead");
    assert_eq!(dead, "no BMC answers at b1:623");
    let wrong = fault(&desk, "bmc-wrong.hv2").await.expect("its password was changed");
    assert!(wrong.contains("does not take this user and password"), "{wrong}");
    let other = fault(&desk, "bmc-wrong.hv3").await.expect("it is hv2's");
    assert!(other.contains("is another host's"), "{other}");
    let broken = world(&desk).await.revision;
    sleep(Duration::from_secs(1200)).await;
    assert_eq!(world(&desk).await.revision, broken, "what is known is not said again");

    rack.repair("b1:623");
    rack.repair("b2:623");
    rack.identify("b3:623", "");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(faults_of_bmcs(&desk).await, [] as [Name; 0], "they are well again");

    rack.identify("b1:623", HV2);
    sleep(Duration::from_secs(420)).await;
    let other = fault(&desk, "bmc-wrong.hv1").await.expect("another one answers");
    assert!(other.contains("is another one"), "{other}");
    let clear = v1::ClearNodeBmcRequest { name: "hv1".into(), ..Default::default() };
    nodes(&desk).await.clear_node_bmc(admin(clear)).await.expect("cleared");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(faults_of_bmcs(&desk).await, [] as [Name; 0], "there is none any more");
}

#[tokio::test(start_paused = true)]
async fn one_lost_answer_is_no_fault() {
    let (desk, rack) = desk().await;
    set(&desk, "hv1", "b1").await;
    let before = world(&desk).await.revision;
    for _ in 0..5 {
        rack.fail("b1:623", Fault::Dead);
        let asked = rack.asked("b1:623");
        while rack.asked("b1:623") == asked {
            sleep(Duration::from_secs(1)).await;
        }
        rack.repair("b1:623");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world(&desk).await.revision, before, "nothing is raised, and so nothing cleared");
    }
}
