//! What one decision costs in a world of 1,000 VMs on 10 nodes.

use criterion::{Criterion, criterion_group, criterion_main};
use pvc_model::command::{Command, decide};
use pvc_model::node::{NodeFacts, NodeRole, Reachability};
use pvc_model::vm::VmSpec;
use pvc_model::{Context, Name, Timestamp, World};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn spec() -> VmSpec {
    VmSpec::new(1, 512)
}

fn context(number: u64) -> Context {
    Context::new(Timestamp(1_000_000), "admin/bench", [number, 1])
}

fn run(world: &mut World, command: Command) {
    let revision = world.revision + 1;
    let changes = decide(world, &command, &mut context(revision)).expect("decided");
    world.apply(&changes, revision);
}

fn world() -> World {
    let mut world = World::default();
    let world_ref = &mut world;
    run(world_ref, Command::FoundNode { name: name("hv0"), address: "hv0:7371".into(), member_id: 1 });
    for index in 1..10 {
        let (node, token) = (name(&format!("hv{index}")), name(&format!("t{index}")));
        let hash = String::from("hash");
        let make = Command::CreateJoinToken {
            name: token.clone(),
            lifetime_seconds: 0,
            node: None,
            secret_hash: hash.clone(),
        };
        run(world_ref, make);
        let role = NodeRole::Hypervisor;
        let address = format!("{node}:7371");
        run(
            world_ref,
            Command::RedeemJoinToken {
                token,
                secret_hash: hash.clone(),
                node,
                role,
                address,
                key_hash: hash,
                standby: false,
            },
        );
    }
    for index in 0..10 {
        let node = name(&format!("hv{index}"));
        run(
            world_ref,
            Command::SetReachability { node: node.clone(), reachability: Reachability::Reachable },
        );
        let facts = NodeFacts { cpus: 64, memory_mib: 1 << 20, ..NodeFacts::default() };
        run(
            world_ref,
            Command::Report { node, session: 1, vms: vec![], volumes: vec![], facts: Some(facts) },
        );
    }
    for index in 0..1000 {
        let vm = name(&format!("vm{index}"));
        run(world_ref, Command::CreateVm { name: vm.clone(), spec: spec() });
        run(world_ref, Command::StartVm { name: vm, node: None });
    }
    run(world_ref, Command::CreateVm { name: name("next"), spec: spec() });
    world
}

fn decisions(c: &mut Criterion) {
    let world = world();
    let create = Command::CreateVm { name: name("other"), spec: spec() };
    c.bench_function("create a VM among 1,000", |b| b.iter(|| decide(&world, &create, &mut context(7))));
    let start = Command::StartVm { name: name("next"), node: None };
    c.bench_function("place and start a VM among 1,000 on 10 nodes", |b| {
        b.iter(|| decide(&world, &start, &mut context(7)));
    });
    c.bench_function("clone a world of 1,000 VMs", |b| b.iter(|| world.clone()));
}

criterion_group!(benches, decisions);
criterion_main!(benches);
