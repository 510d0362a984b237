use crate::command::Command::{self, *};
use crate::phase::{VmPhase, vm_phase};
use crate::task::TaskState::{Cancelled, Failed as TaskFailed, Running as TaskRunning, Succeeded};
use crate::testing::{Cluster, name};
use crate::vm::ObservedPhase::*;
use crate::vm::Power;

fn cluster() -> Cluster {
    Cluster::of(&["hv1", "hv2"])
}

fn start(vm: &str) -> Command {
    StartVm { name: name(vm), node: None }
}

fn shutdown(vm: &str) -> Command {
    ShutdownVm { name: name(vm), grace_seconds: 0 }
}

fn phase(cluster: &Cluster, vm: &str) -> VmPhase {
    vm_phase(&cluster.world, &cluster.vm(vm)).0
}

#[test]
fn start_to_off_and_back() {
    let mut c = cluster();
    c.create("a");
    assert_eq!(phase(&c, "a"), VmPhase::Stopped);
    c.ok(start("a"));
    c.assert_task("a", TaskRunning);
    assert_eq!(phase(&c, "a"), VmPhase::Pending);
    c.sees("a", Starting);
    assert_eq!(phase(&c, "a"), VmPhase::Starting);
    c.sees("a", Running);
    c.assert_task("a", Succeeded);
    assert_eq!(phase(&c, "a"), VmPhase::Running);
    assert_eq!(c.rule(start("a")), "vm-must-be-off");

    c.ok(shutdown("a"));
    assert_eq!(c.vm("a").off_grace_seconds, 180);
    assert_eq!(phase(&c, "a"), VmPhase::ShuttingDown);
    assert_eq!(c.rule(start("a")), "vm-busy");
    c.sees("a", Stopped);
    c.assert_task("a", Succeeded);
    assert_eq!(phase(&c, "a"), VmPhase::Stopped);
    assert_eq!(c.rule(shutdown("a")), "vm-must-run");
    assert_eq!(c.rule(StopVm { name: name("a") }), "vm-must-run");
    c.ok(start("a"));
}

#[test]
fn off_is_believed_only_when_said_with_the_newest_intent() {
    let mut c = cluster();
    c.running("a", "hv1");
    let before = c.vm("a").intent;
    c.ok(shutdown("a"));
    // A late "stopped" from before the order proves nothing.
    c.sees_at("a", Stopped, before);
    c.assert_task("a", TaskRunning);
    assert!(!c.vm("a").is_proven_off());
    c.sees("a", Stopped);
    assert!(c.vm("a").is_proven_off());
}

#[test]
fn a_crashed_guest_that_is_still_wanted_is_not_proven_off() {
    let mut c = cluster();
    c.running("a", "hv1");
    for phase in [Stopped, Backoff, Pending] {
        c.sees("a", phase);
        assert!(!c.vm("a").is_proven_off(), "{phase:?}: its node is about to start it again");
    }
    c.sees("a", Failed);
    assert!(c.vm("a").is_proven_off(), "given up: not started again before a person asks");
    assert_eq!(phase(&c, "a"), VmPhase::Failed);
}

#[test]
fn failed_is_left_by_start_here_or_elsewhere() {
    let mut c = cluster();
    c.running("a", "hv1");
    c.sees("a", Failed);
    c.ok(StartVm { name: name("a"), node: Some(name("hv2")) });
    assert_eq!(c.map(), "hv1: | hv2: a");
    assert_eq!(c.vm("a").placement.map(|p| p.epoch), Some(2));
    c.sees("a", Failed);
    c.assert_task("a", TaskFailed);
    c.ok(start("a"));
    c.sees("a", Running);
    c.assert_task("a", Succeeded);
}

#[test]
fn start_elsewhere_waits_for_the_old_node_to_confirm() {
    let mut c = cluster();
    c.running("a", "hv1");
    c.ok(StopVm { name: name("a") });
    c.ok(CancelTask { name: c.task_of("a").meta.name });
    c.ok(StopVm { name: name("a") });
    let task = c.task_of("a").meta.name;
    assert_eq!(c.rule(StartVm { name: name("a"), node: Some(name("hv2")) }), "vm-busy");
    c.unreachable("hv1");
    assert_eq!(phase(&c, "a"), VmPhase::Unknown);
    assert_eq!(c.world.tasks[&task].message, "node hv1 is unreachable");
    // Off was never confirmed: nowhere else.
    let mut vm = c.vm("a");
    vm.task = None;
    c.put(crate::Object::Vm(vm));
    assert_eq!(c.rule(StartVm { name: name("a"), node: Some(name("hv2")) }), "vm-must-be-off");
}

#[test]
fn stop_overrides_a_shutdown_under_way() {
    let mut c = cluster();
    c.running("a", "hv1");
    c.ok(shutdown("a"));
    let first = c.task_of("a").meta.name;
    c.ok(StopVm { name: name("a") });
    assert_eq!(c.vm("a").off_grace_seconds, 0);
    assert_eq!(c.world.tasks[&first].state, Cancelled);
    assert!(c.world.tasks[&first].message.starts_with("superseded by task "));
    c.sees("a", Stopped);
    c.assert_task("a", Succeeded);
}

#[test]
fn restart_waits_for_the_new_boot() {
    let mut c = cluster();
    c.running("a", "hv1");
    let booted = c.vm("a").boot_generation;
    c.ok(RestartVm { name: name("a"), grace_seconds: 5 });
    assert_eq!(c.vm("a").boot_generation, booted + 1);
    assert_eq!(c.task_of("a").stage_name(), "shut down");
    assert_eq!(c.rule(CancelTask { name: c.task_of("a").meta.name }), "task-cancellable");
    c.sees("a", Running);
    c.assert_task("a", Succeeded);
    c.ok(shutdown("a"));
    c.sees("a", Stopped);
    assert_eq!(c.rule(RestartVm { name: name("a"), grace_seconds: 0 }), "vm-must-run");
}

#[test]
fn disable_is_off_on_purpose() {
    let mut c = cluster();
    c.running("a", "hv1");
    let disable = |force| DisableVm { name: name("a"), grace_seconds: 0, force };
    c.ok(disable(false));
    assert_eq!(c.vm("a").desired, Power::Disabled);
    assert_eq!(c.rule(disable(true)), "vm-not-disabled");
    c.ok(StopVm { name: name("a") });
    assert_eq!(c.vm("a").desired, Power::Disabled, "stopping what is disabled leaves it disabled");
    c.sees("a", Stopped);
    c.ok(start("a"));
    assert_eq!(c.vm("a").desired, Power::On);
}

#[test]
fn a_vm_that_was_never_placed_can_be_disabled_and_started() {
    let mut c = cluster();
    c.create("a");
    c.ok(DisableVm { name: name("a"), grace_seconds: 0, force: false });
    c.assert_task("a", Succeeded);
    c.ok(start("a"));
}

#[test]
fn cancelled_start_switches_it_off() {
    let mut c = cluster();
    c.create("a");
    c.ok(start("a"));
    c.ok(CancelTask { name: c.task_of("a").meta.name });
    c.assert_task("a", Cancelled);
    assert_eq!(c.vm("a").desired, Power::Off);
    assert_eq!(c.rule(CancelTask { name: c.task_of("a").meta.name }), "task-must-run");
}

#[test]
fn the_grace_has_a_range() {
    let mut c = cluster();
    c.running("a", "hv1");
    assert_eq!(c.rule(ShutdownVm { name: name("a"), grace_seconds: 3601 }), "grace-range");
}
