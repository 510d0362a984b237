//! What is decided about one guest in moments that are hard to bring about from outside.

use pvc_model::command::Command::*;
use pvc_model::command::{MigrationEvent, VmReport};
use pvc_model::node::NodeFacts;
use pvc_model::vm::{Observed, ObservedPhase};
use pvc_model::{Name, Timestamp, Vm};
use tokio::time::Instant;

use super::leader::Leader;
use super::{name, spec};
use crate::agent::decide::{Action, Look, Verdict, decide};
use crate::agent::memory::{Receiving, VmMemory};
use crate::hypervisor::{Guest, GuestState, Stamp};

/// A VM that runs on hv1, and of which hv2 is asked whether it could have it.
fn on_its_way() -> (Vm, Name) {
    let leader = Leader::new();
    let ok = |command| leader.submit(command).map(drop).unwrap_or_else(|refused| panic!("{refused}"));
    for node in ["hv1", "hv2"] {
        leader.enrol(&name(node));
        let facts = Some(NodeFacts { cpus: 4, memory_mib: 4096, ..NodeFacts::default() });
        ok(Report { node: name(node), session: 1, vms: vec![], volumes: vec![], facts });
    }
    ok(CreateVm { name: name("a"), spec: spec() });
    ok(StartVm { name: name("a"), node: Some(name("hv1")) });
    let vm = leader.world().vms[&name("a")].clone();
    let seen = Observed {
        node: name("hv1"),
        epoch: 1,
        phase: ObservedPhase::Running,
        reason: String::new(),
        seen_intent: vm.intent,
        boot_generation: vm.boot_generation,
        spec_generation: vm.spec_generation,
        restarts: 0,
        since: Timestamp(0),
    };
    let report = VmReport { uid: vm.uid(), observed: Some(seen), migration: None };
    ok(Report { node: name("hv1"), session: 1, vms: vec![report], volumes: vec![], facts: None });
    ok(MigrateVm { name: name("a"), node: Some(name("hv2")), method: None });
    let vm = Vm::clone(&leader.world().vms[&name("a")]);
    let task = vm.migration.as_ref().expect("it is to move").task.clone();
    (vm, task)
}

fn guest(vm: &Vm, incoming: bool, epoch: u64) -> Guest {
    let stamp = Stamp { epoch, boot_generation: vm.boot_generation, spec_generation: vm.spec_generation };
    Guest {
        uid: vm.uid(),
        name: vm.meta.name.clone(),
        state: GuestState::Running,
        stamp,
        incoming,
        outgoing: false,
    }
}

/// What hv2 has come to know of the migration.
fn knows(task: Name, receiving: Receiving) -> VmMemory {
    let mut memory = VmMemory::default();
    memory.receiving = Some((task, receiving));
    memory
}

/// What hv2 decides.
fn decided(vm: &Vm, guest: Option<&Guest>, memory: &mut VmMemory) -> Verdict {
    let me = name("hv2");
    let look = Look {
        me: &me,
        now: Instant::now(),
        lease_valid: true,
        guest,
        volumes_wait: String::new(),
        missing_bridge: None,
        starts_wait: "",
        guarded: false,
        ending: None,
        migration_address: "address-of-hv2",
    };
    decide(vm, &look, memory)
}

#[test]
fn a_guest_on_its_way_hither_is_left_alone_once_the_target_has_said_that_it_is_ready() {
    let (vm, task) = on_its_way();
    let incoming = guest(&vm, true, 2);
    let mut ready = knows(task, Receiving::Ready);
    let first = decided(&vm, None, &mut ready);
    assert_eq!(first.word.map(|word| word.event), Some(MigrationEvent::Ready));
    // The source may have begun to send before this node hears that it was believed.
    assert_eq!(decided(&vm, Some(&incoming), &mut ready).action, Action::Nothing);
}

#[test]
fn what_an_earlier_try_has_left_goes_before_the_target_is_ready() {
    let (vm, task) = on_its_way();
    let incoming = guest(&vm, true, 2);
    assert_eq!(decided(&vm, Some(&incoming), &mut VmMemory::default()).action, Action::PowerOff);
    let mut memory = knows(name("00000000"), Receiving::Ready);
    assert_eq!(decided(&vm, Some(&incoming), &mut memory).action, Action::PowerOff, "of another migration");
    // A guest that runs here at an older placement has no business here, ready or not.
    let mut ready = knows(task, Receiving::Ready);
    let old = guest(&vm, false, 0);
    assert_eq!(decided(&vm, Some(&old), &mut ready).action, Action::PowerOff);
}
