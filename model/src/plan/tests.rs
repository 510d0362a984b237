use crate::command::Command;
use crate::testing::{Cluster, name, spec};

fn create(cluster: &mut Cluster, vm: &str, memory_mib: u64) {
    let mut spec = spec();
    spec.memory_mib = memory_mib;
    cluster.ok(Command::CreateVm { name: name(vm), spec });
}

fn start(cluster: &mut Cluster, vm: &str) -> Result<usize, crate::Rejection> {
    cluster.run(Command::StartVm { name: name(vm), node: None })
}

#[test]
fn the_emptiest_node_is_taken() {
    let mut cluster = Cluster::of(&["hv1", "hv2", "hv3"]);
    for vm in ["a", "b", "c", "d"] {
        create(&mut cluster, vm, 512);
        start(&mut cluster, vm).expect("placed");
    }
    assert_eq!(cluster.map(), "hv1: a d | hv2: b | hv3: c");
}

#[test]
fn home_comes_first() {
    let mut cluster = Cluster::of(&["hv1", "hv2"]);
    let mut homed = spec();
    homed.home = Some(name("hv2"));
    cluster.ok(Command::CreateVm { name: name("a"), spec: homed.clone() });
    cluster.ok(Command::CreateVm { name: name("b"), spec: homed });
    start(&mut cluster, "a").expect("placed");
    start(&mut cluster, "b").expect("placed");
    assert_eq!(cluster.map(), "hv1: | hv2: a b");
}

#[test]
fn a_refusal_names_every_node_and_why() {
    let mut cluster = Cluster::of(&["hv1", "hv2", "hv3"]);
    create(&mut cluster, "big", 3000);
    start(&mut cluster, "big").expect("placed");
    cluster.ok(Command::UpdateNode { name: name("hv2"), schedulable: Some(false), expected_revision: 0 });
    cluster.unreachable("hv3");
    create(&mut cluster, "other", 600);
    let refusal = start(&mut cluster, "other").expect_err("no node takes it");
    assert_eq!(refusal.rule, "a-node-takes-vm");
    assert_eq!(
        refusal.detail,
        "no node takes it: hv1 has 584 MiB free, the VM needs 600 MiB; \
         hv2 takes no new VMs (not schedulable); hv3 is not reachable"
    );
}

#[test]
fn a_vm_larger_than_any_node_is_refused_when_it_is_defined() {
    let mut cluster = Cluster::of(&["hv1"]);
    let mut huge = spec();
    huge.memory_mib = 3585;
    let refusal = cluster.run(Command::CreateVm { name: name("huge"), spec: huge }).expect_err("too large");
    assert_eq!(refusal.rule, "fits-a-node");
    assert!(refusal.detail.contains("hv1, has 3584 MiB"), "{}", refusal.detail);
    create(&mut cluster, "fits", 3584);
    start(&mut cluster, "fits").expect("fits to the last MiB");
}

#[test]
fn vcpus_have_a_limit_too() {
    let mut cluster = Cluster::of(&["hv1"]);
    let mut wide = spec();
    wide.vcpus = 40;
    cluster.ok(Command::CreateVm { name: name("a"), spec: wide.clone() });
    cluster.ok(Command::CreateVm { name: name("b"), spec: wide });
    start(&mut cluster, "a").expect("40 of 64");
    let refusal = start(&mut cluster, "b").expect_err("80 of 64");
    assert!(refusal.detail.contains("has 40 of at most 64 vCPUs placed"), "{}", refusal.detail);
}
