//! NICs of guests that run: they come, change and go without a restart.

use pvc_model::command::Command::*;
use pvc_model::command::{NetworkCommand, SpecPatch};
use pvc_model::network::{Attachment, HostNetwork, NetworkKind, NetworkSpec, Vni};
use pvc_model::nic::{Nic, NicChange, NicModel, Rate};
use pvc_model::phase::VmPhase;
use pvc_model::task::TaskState;
use pvc_model::vm::{Mac, VmSpec};

use super::{Lab, name, spec};
use crate::agent::nics::{Step, steps};
use crate::hypervisor::{GuestNic, Hypervisor, LiveNic, NicPort};

fn mac(last: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, last])
}

fn network(vni: u32) -> Attachment {
    Attachment::Network(Vni::new(vni).expect("a number"))
}

fn nic(attachment: Attachment, last: u8) -> Nic {
    Nic { mac: Some(mac(last)), ..Nic::new(attachment) }
}

fn upstream() -> Attachment {
    Attachment::Host(HostNetwork::Upstream)
}

impl Lab {
    /// A VM with a NIC on each of these.
    fn create_on(&self, vm: &str, attachments: &[Attachment]) {
        for vni in attachments.iter().filter_map(Attachment::network) {
            let kind = NetworkKind::Bridged { device: None };
            let spec = Box::new(NetworkSpec { description: name("lan"), mtu: Some(9000), kind });
            self.ok(Network(Box::new(NetworkCommand::CreateNetwork { vni, spec })));
        }
        let nics = attachments.iter().cloned().map(Nic::new).collect();
        self.ok(CreateVm { name: name(vm), spec: VmSpec { nics, ..spec() } });
    }

    fn patch(&self, vm: &str, patch: SpecPatch) {
        self.ok(UpdateVm { name: name(vm), patch: Box::new(patch), expected_revision: 0 });
    }

    fn add(&self, vm: &str, nic: Nic) {
        self.patch(vm, SpecPatch { add_nics: vec![nic], ..SpecPatch::default() });
    }

    fn change(&self, vm: &str, change: NicChange) {
        self.patch(vm, SpecPatch { change_nics: vec![change], ..SpecPatch::default() });
    }

    fn remove(&self, vm: &str, mac: Mac) {
        self.patch(vm, SpecPatch { remove_nics: [mac].into(), ..SpecPatch::default() });
    }

    /// What the guest has, as its hypervisor shows it.
    async fn nics(&self, vm: &str, node: &str) -> Vec<NicPort> {
        let nics = self.hosts.hypervisor(&name(node)).nics(self.vm(vm).uid()).await.expect("it runs there");
        nics.into_iter().map(|nic| nic.port).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_guest_gets_changes_and_loses_its_nics() {
    let lab = Lab::of(&["hv1"]).await;
    lab.running("a", "hv1").await;
    lab.add("a", nic(upstream(), 1));
    lab.add("a", nic(Attachment::Bridge("br0".into()), 2));
    lab.pass(1.5).await;
    let has = lab.nics("a", "hv1").await;
    assert_eq!(has.iter().map(|p| p.bridge.as_str()).collect::<Vec<_>>(), ["brupstream", "br0"]);

    let rate = Rate { average_kbit: 1001, peak_kbit: Some(2000), burst_kib: Some(64) };
    let change = NicChange { link_up: Some(false), rate_in: Some(Some(rate)), ..NicChange::of(mac(1)) };
    lab.change("a", NicChange { attachment: Some(Attachment::Bridge("br1".into())), ..change });
    lab.remove("a", mac(2));
    lab.pass(1.5).await;
    let [port] = &lab.nics("a", "hv1").await[..] else { panic!("one is left") };
    assert_eq!((port.mac, port.bridge.as_str(), port.link_up), (mac(1), "br1", false));
    assert_eq!(port.rate_in.map(|rate| rate.average_kbit), Some(1008), "whole kB/s");
    assert_eq!((lab.boots("a"), lab.reason("a")), (1, String::new()));
}

#[tokio::test(start_paused = true)]
async fn what_is_as_it_should_be_is_not_touched_or_told() {
    let lab = Lab::of(&["hv1"]).await;
    lab.create("a");
    lab.add("a", nic(upstream(), 1));
    lab.ok(StartVm { name: name("a"), node: Some(name("hv1")) });
    lab.pass(5.0).await;
    lab.hosts.faults(&name("hv1"), |f| f.fail_nics = 1);
    let revision = lab.leader.world().revision;
    lab.pass(200.0).await;
    assert_eq!(lab.leader.world().revision, revision);
    // Somebody pulls it by hand.
    let hypervisor = lab.hosts.hypervisor(&name("hv1"));
    hypervisor.detach_nic(lab.vm("a").uid(), mac(1)).await.expect("taken");
    lab.pass(90.0).await;
    assert_eq!(lab.nics("a", "hv1").await.len(), 1, "it was given back, at the second try");
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_told_and_tried_again_and_ends_no_guest() {
    let lab = Lab::of(&["hv1"]).await;
    lab.running("a", "hv1").await;
    lab.hosts.faults(&name("hv1"), |f| f.fail_nics = 3);
    lab.add("a", nic(upstream(), 1));
    lab.pass(4.0).await;
    assert_eq!(lab.phase("a"), VmPhase::Running);
    assert!(lab.reason("a").contains("NIC 52:54:00:00:00:01: the hypervisor refused"), "{}", lab.reason("a"));
    lab.pass(30.0).await;
    assert_eq!((lab.nics("a", "hv1").await.len(), lab.reason("a")), (1, String::new()));

    lab.hosts.faults(&name("hv1"), |f| f.clinging_guests = true);
    lab.remove("a", mac(1));
    lab.pass(4.0).await;
    assert!(lab.reason("a").contains("has not let go of it"), "{}", lab.reason("a"));
    lab.hosts.faults(&name("hv1"), |f| f.clinging_guests = false);
    lab.pass(70.0).await;
    assert_eq!((lab.nics("a", "hv1").await.len(), lab.reason("a"), lab.boots("a")), (0, String::new(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_nic_waits_for_its_bridge() {
    let lab = Lab::of(&["hv1"]).await;
    lab.running("a", "hv1").await;
    lab.hosts.faults(&name("hv1"), |f| f.missing_bridges = ["br0".into()].into());
    lab.add("a", nic(Attachment::Bridge("br0".into()), 1));
    lab.pass(3.0).await;
    assert_eq!(lab.reason("a"), "NIC 52:54:00:00:00:01: the bridge br0 is missing on this node");
    lab.hosts.faults(&name("hv1"), |f| f.missing_bridges.clear());
    lab.pass(8.0).await;
    assert_eq!((lab.nics("a", "hv1").await.len(), lab.reason("a")), (1, String::new()));
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_the_bridge() {
    let lab = Lab::of(&["hv1"]).await;
    lab.hosts.faults(&name("hv1"), |f| f.missing_bridges = ["vmbr1001".into()].into());
    lab.create_on("a", &[network(1001)]);
    lab.ok(StartVm { name: name("a"), node: Some(name("hv1")) });
    lab.pass(20.0).await;
    assert_eq!((lab.phase("a"), lab.reason("a").as_str()), (VmPhase::Pending, "vmbr1001 is being made"));
    lab.pass(20.0).await;
    let long =
        "vmbr1001, the bridge of network 1001, is missing on hv1 for more than 30 s: see `pvc node log hv1`";
    assert_eq!((lab.phase("a"), lab.reason("a").as_str()), (VmPhase::Pending, long));
    lab.hosts.faults(&name("hv1"), |f| f.missing_bridges.clear());
    lab.pass(8.0).await;
    assert_eq!((lab.phase("a"), lab.boots("a")), (VmPhase::Running, 1));
    lab.assert_task(TaskState::Succeeded);
    let document = lab.hosts.hypervisor(&name("hv1")).xml(lab.vm("a").uid()).await.expect("described");
    assert!(document.contains("<mtu size=\"9000\"/>"), "its network's: {document}");
}

#[tokio::test(start_paused = true)]
async fn a_bridge_that_is_not_the_clusters_is_asked_of_people() {
    let lab = Lab::of(&["hv1"]).await;
    lab.hosts.faults(&name("hv1"), |f| f.missing_bridges = ["brstorage".into(), "br0".into()].into());
    lab.create_on("a", &[Attachment::Host(HostNetwork::Storage)]);
    lab.create_on("b", &[Attachment::Bridge("br0".into())]);
    for vm in ["a", "b"] {
        lab.ok(StartVm { name: name(vm), node: Some(name("hv1")) });
    }
    lab.pass(2.0).await;
    let storage = "brstorage, the bridge of the storage network, is missing on hv1: it must be made there";
    assert_eq!(lab.reason("a"), storage);
    assert_eq!(lab.reason("b"), "the bridge br0 is missing on hv1: it must be made there");
}

#[tokio::test(start_paused = true)]
async fn a_target_gets_ready_with_its_bridge() {
    let lab = Lab::of(&["hv1", "hv2"]).await;
    lab.create_on("a", &[network(1001)]);
    lab.ok(StartVm { name: name("a"), node: Some(name("hv1")) });
    lab.pass(3.0).await;
    lab.hosts.faults(&name("hv2"), |f| f.missing_bridges = ["vmbr1001".into()].into());
    lab.ok(MigrateVm { name: name("a"), node: Some(name("hv2")), method: None });
    lab.pass(5.0).await;
    assert_eq!(lab.writer("a"), "hv1");
    lab.hosts.faults(&name("hv2"), |f| f.missing_bridges.clear());
    lab.pass(8.0).await;
    assert_eq!(lab.writer("a"), "hv2");
    lab.assert_task(TaskState::Succeeded);

    lab.hosts.faults(&name("hv1"), |f| f.missing_bridges = ["vmbr1001".into()].into());
    lab.ok(UnmigrateVm { name: name("a"), method: None });
    lab.pass(45.0).await;
    lab.assert_task(TaskState::Failed);
    assert!(lab.task().message.contains("vmbr1001"), "{}", lab.task().message);
    assert_eq!((lab.writer("a").as_str(), lab.boots("a")), ("hv2", 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_on_the_way_is_done_at_the_target() {
    let lab = Lab::of(&["hv1", "hv2"]).await;
    lab.create_on("a", &[upstream()]);
    lab.ok(StartVm { name: name("a"), node: Some(name("hv1")) });
    lab.pass(3.0).await;
    lab.ok(MigrateVm { name: name("a"), node: Some(name("hv2")), method: None });
    lab.pass(1.0).await;
    lab.add("a", nic(Attachment::Bridge("br0".into()), 9));
    lab.pass(0.5).await;
    assert_eq!(lab.nics("a", "hv1").await.len(), 1, "it is on its way");
    lab.pass(8.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.nics("a", "hv2").await.len()), ("hv2", 2));
}

#[tokio::test(start_paused = true)]
async fn another_model_needs_a_restart_and_all_else_does_not() {
    let lab = Lab::of(&["hv1"]).await;
    lab.create("a");
    lab.add("a", nic(upstream(), 1));
    lab.ok(StartVm { name: name("a"), node: Some(name("hv1")) });
    lab.pass(3.0).await;
    lab.change("a", NicChange { link_up: Some(false), ..NicChange::of(mac(1)) });
    lab.pass(2.0).await;
    let generations = |lab: &Lab| {
        let vm = lab.vm("a");
        (vm.observed.as_ref().map(|o| o.spec_generation), vm.spec_generation)
    };
    assert_eq!(generations(&lab), (Some(1), 1), "it shows all of its spec");
    let model = NicChange { model: Some(NicModel::E1000e), link_up: Some(true), ..NicChange::of(mac(1)) };
    lab.change("a", model);
    lab.pass(2.0).await;
    assert_eq!(generations(&lab), (Some(1), 2), "restart pending");
    assert!(lab.nics("a", "hv1").await[0].link_up, "what can be done is done");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_nics() {
    let lab = Lab::of(&["hv1"]).await;
    lab.running("a", "hv1").await;
    lab.hosts.faults(&name("hv1"), |f| f.clinging_guests = true);
    lab.add("a", nic(upstream(), 1));
    lab.pass(1.0).await;
    lab.remove("a", mac(1));
    lab.ok(StopVm { name: name("a") });
    lab.pass(2.0).await;
    assert_eq!(lab.phase("a"), VmPhase::Stopped);
    lab.assert_task(TaskState::Succeeded);
}

#[test]
fn only_our_own_nics_are_taken_away() {
    let wanted = GuestNic::of(&nic(upstream(), 1), None).expect("it has an address");
    let live = |last: u8, ours| {
        let port = GuestNic::of(&nic(upstream(), last), None).expect("it has an address").port;
        LiveNic { port, ours }
    };
    let users_own = live(7, false);
    assert_eq!(steps(&[], std::slice::from_ref(&users_own)), []);
    assert_eq!(steps(std::slice::from_ref(&wanted), &[live(1, true), users_own.clone()]), []);
    assert_eq!(
        steps(std::slice::from_ref(&wanted), &[live(2, true), users_own]),
        [Step::Detach(mac(2)), Step::Attach(wanted.clone())]
    );
    let mut down = live(1, false);
    down.port.link_up = false;
    assert_eq!(
        steps(std::slice::from_ref(&wanted), &[down]),
        [Step::Update(wanted.port)],
        "of an older pvcd's start"
    );
}
