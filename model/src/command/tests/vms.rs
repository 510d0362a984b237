use crate::command::Command::*;
use crate::command::SpecPatch;
use crate::testing::{Cluster, disk, name, spec};
use crate::vm::ObservedPhase;

fn cluster() -> Cluster {
    Cluster::of(&["hv1", "hv2"])
}

fn update(vm: &str, patch: SpecPatch, expected_revision: u64) -> crate::Command {
    UpdateVm { name: name(vm), patch: Box::new(patch), expected_revision }
}

#[test]
fn a_name_is_given_once() {
    let mut c = cluster();
    c.create("a");
    assert_eq!(c.rule(CreateVm { name: name("a"), spec: spec() }), "name-taken");
    c.create("b");
    let rename = |to: &str| RenameVm { name: name("a"), new_name: name(to), expected_revision: 0 };
    assert_eq!(c.rule(rename("b")), "name-taken");
    let uid = c.vm("a").uid();
    c.ok(rename("z"));
    assert_eq!(c.vm("z").uid(), uid);
    assert!(c.world.vm(&name("a")).is_err());
    assert_eq!(c.world.vm_by_uid(uid).map(|v| v.meta.name.clone()), Some(name("z")));
    assert_eq!(c.rule(StartVm { name: name("a"), node: None }), "must-exist");
}

#[test]
fn only_what_is_off_is_renamed_or_removed() {
    let mut c = cluster();
    c.running("a", "hv1");
    assert_eq!(
        c.rule(RenameVm { name: name("a"), new_name: name("b"), expected_revision: 0 }),
        "vm-must-be-off"
    );
    let delete = |delete_volumes| DeleteVm { name: name("a"), delete_volumes, expected_revision: 0 };
    assert_eq!(c.rule(delete(false)), "vm-must-be-off");
    c.ok(StopVm { name: name("a") });
    assert_eq!(c.rule(delete(false)), "vm-busy");
    c.sees("a", ObservedPhase::Stopped);
    c.ok(delete(false));
    assert!(c.world.vms.is_empty());
    assert_eq!(c.last_task().state, crate::task::TaskState::Succeeded);
}

#[test]
fn a_change_says_at_which_revision_it_was_meant() {
    let mut c = cluster();
    c.create("a");
    let revision = c.vm("a").meta.revision;
    let patch = SpecPatch { vcpus: Some(2), ..SpecPatch::default() };
    c.ok(update("a", patch.clone(), revision));
    assert_eq!(c.vm("a").spec.vcpus, 2);
    let refusal = c.run(update("a", patch.clone(), revision)).expect_err("stale");
    assert_eq!((refusal.rule, refusal.kind), ("expected-revision", crate::RejectionKind::RevisionMismatch));
    assert_eq!(c.ok(update("a", patch, 0)), 0, "the same again changes nothing");
}

#[test]
fn hardware_waits_for_a_restart_and_tags_do_not() {
    let mut c = cluster();
    c.running("a", "hv1");
    let tags = SpecPatch { add_tags: [name("web")].into(), ..SpecPatch::default() };
    c.ok(update("a", tags, 0));
    assert_eq!(c.vm("a").spec_generation, 1);
    let memory =
        SpecPatch { memory_mib: Some(256), remove_tags: [name("web")].into(), ..SpecPatch::default() };
    c.ok(update("a", memory, 0));
    assert_eq!((c.vm("a").spec_generation, c.vm("a").spec.tags.len()), (2, 0));
}

#[test]
fn disks_change_only_while_it_is_off() {
    let mut c = cluster();
    c.running("a", "hv1");
    let mut with_disk = spec();
    with_disk.disks = vec![disk("d1", 1 << 30)];
    let patch = SpecPatch { spec: Some(with_disk), ..SpecPatch::default() };
    assert_eq!(c.rule(update("a", patch.clone(), 0)), "vm-must-be-off");
    c.ok(StopVm { name: name("a") });
    c.sees("a", ObservedPhase::Stopped);
    c.ok(update("a", patch, 0));
    assert_eq!(c.world.volume_user(&name("d1")), Some(&name("a")));
    c.ok(update("a", SpecPatch { spec: Some(spec()), ..SpecPatch::default() }, 0));
    assert_eq!(c.world.volume_user(&name("d1")), None);
}

#[test]
fn a_volume_has_one_user() {
    let mut c = cluster();
    let mut with_disk = spec();
    with_disk.disks = vec![disk("d1", 1 << 30)];
    c.ok(CreateVm { name: name("a"), spec: with_disk.clone() });
    assert_eq!(c.rule(CreateVm { name: name("b"), spec: with_disk.clone() }), "volume-one-user");
    with_disk.disks = vec![disk("d2", 0)];
    assert_eq!(c.rule(CreateVm { name: name("b"), spec: with_disk.clone() }), "volume-must-exist");
    with_disk.disks = vec![disk("d3", 1 << 30), disk("d3", 1 << 30)];
    assert_eq!(c.rule(CreateVm { name: name("b"), spec: with_disk.clone() }), "disk-once");
    with_disk.disks = vec![disk("d3", 1000)];
    assert_eq!(c.rule(CreateVm { name: name("b"), spec: with_disk }), "volume-size");
    assert_eq!(c.world.volumes.len(), 1, "what was refused left nothing behind");
}

#[test]
fn nodes_that_are_named_must_exist() {
    let mut c = cluster();
    let mut limited = spec();
    limited.node_limit = [name("hv9")].into();
    assert_eq!(c.rule(CreateVm { name: name("a"), spec: limited.clone() }), "node-must-exist");
    limited.node_limit = [name("hv2")].into();
    limited.home = Some(name("hv1"));
    assert_eq!(c.rule(CreateVm { name: name("a"), spec: limited.clone() }), "home-in-node-limit");
    limited.home = None;
    c.ok(CreateVm { name: name("a"), spec: limited });
    assert_eq!(c.rule(StartVm { name: name("a"), node: Some(name("hv1")) }), "target-takes-vm");
    assert_eq!(c.rule(StartVm { name: name("a"), node: Some(name("hv9")) }), "must-exist");
    c.ok(StartVm { name: name("a"), node: None });
    assert_eq!(c.map(), "hv1: | hv2: a");
}

#[test]
fn removed_with_its_volumes() {
    let mut c = cluster();
    let mut with_disks = spec();
    with_disks.disks = vec![disk("d1", 1 << 30), disk("d2", 1 << 30)];
    c.ok(CreateVm { name: name("a"), spec: with_disks });
    c.work_volumes();
    c.ok(DeleteVm { name: name("a"), delete_volumes: true, expected_revision: 0 });
    assert_eq!(c.task_of("a").message, "2 of 2 volumes left");
    assert_eq!(c.rule(StartVm { name: name("a"), node: None }), "vm-being-removed");
    c.work_volumes();
    assert!(c.world.vms.is_empty() && c.world.volumes.is_empty());
    assert_eq!(c.last_task().state, crate::task::TaskState::Succeeded);
}

#[test]
fn undefined_leaves_its_volumes() {
    let mut c = cluster();
    let mut with_disk = spec();
    with_disk.disks = vec![disk("d1", 1 << 30)];
    c.ok(CreateVm { name: name("a"), spec: with_disk });
    c.ok(DeleteVm { name: name("a"), delete_volumes: false, expected_revision: 0 });
    assert!(c.world.vms.is_empty());
    assert!(c.world.volumes.contains_key(&name("d1")));
}
