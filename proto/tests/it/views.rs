//! What people are shown beyond what is stored.

use std::sync::Arc;

use proptest::prelude::*;
use pvc_model::bmc::{Bmc, BmcAdapter, Sealed};
use pvc_model::token::TokenKind;
use pvc_model::vm::{Observed, ObservedPhase, Placement, Power};
use pvc_model::{Meta, Name, Node, Object, Role, Timestamp, Token, Uid, Vm, World};
use pvc_proto::convert::{node_view, token_view, vm_view, volume_view};
use pvc_proto::v1;

use crate::generate::object;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn meta(text: &str) -> Meta {
    let (created, updated) = (Timestamp(1000), Timestamp(2000));
    Meta { name: name(text), uid: Uid::from_random(1), revision: 1, created, updated }
}

/// A world of one node `hv1` and one VM `web1` that runs there with the volume `web1-root`.
fn world() -> World {
    let mut world = World::default();
    let node = v1::Node {
        meta: Some((&meta("hv1")).into()),
        spec: Some(v1::NodeSpec {
            role: v1::NodeRole::Coordinator.into(),
            schedulable: true,
            ..Default::default()
        }),
        status: Some(v1::NodeStatus {
            reachability: v1::Reachability::Reachable.into(),
            since: Some(pbjson_types::Timestamp::default()),
            ..Default::default()
        }),
        ..Default::default()
    };
    world.put(Object::Node((&node).try_into().unwrap()));
    let volume = v1::Volume {
        meta: Some((&meta("web1-root")).into()),
        spec: Some(v1::VolumeSpec { size_bytes: 1 << 20, ..Default::default() }),
        status: Some(v1::VolumeStatus { phase: v1::VolumePhase::Ready.into(), ..Default::default() }),
        ..Default::default()
    };
    world.put(Object::Volume((&volume).try_into().unwrap()));
    let vm = v1::Vm {
        meta: Some((&meta("web1")).into()),
        spec: Some(v1::VmSpec {
            vcpus: 2,
            memory_mib: 512,
            disks: vec![v1::Disk { volume: "web1-root".into(), ..Default::default() }],
            ..Default::default()
        }),
        desired: v1::Power::On.into(),
        status: Some(v1::VmStatus::default()),
        spec_generation: 2,
        ..Default::default()
    };
    let observed = Observed {
        node: name("hv1"),
        epoch: 1,
        phase: ObservedPhase::Running,
        reason: String::new(),
        seen_intent: 1,
        boot_generation: 1,
        spec_generation: 1,
        restarts: 0,
        since: Timestamp(5000),
    };
    let placement = Some(Placement { node: name("hv1"), epoch: 1 });
    let vm = Vm { placement, observed: Some(observed), ..Vm::try_from(&vm).unwrap() };
    world.put(Object::Vm(vm));
    world
}

#[test]
fn a_running_vm_whose_spec_has_changed() {
    let world = world();
    let view = vm_view(&world, world.vm(&name("web1")).unwrap());
    let status = view.status.unwrap();
    assert_eq!(status.phase(), v1::VmPhase::Running);
    assert!(status.restart_pending);
    assert_eq!(status.since, Some(pbjson_types::Timestamp { seconds: 5, nanos: 0 }));
}

#[test]
fn a_vm_that_is_off_waits_for_no_restart() {
    let mut world = world();
    let mut vm = Vm::clone(world.vm(&name("web1")).unwrap());
    vm.desired = Power::Off;
    vm.observed.as_mut().unwrap().phase = ObservedPhase::Stopped;
    vm.observed.as_mut().unwrap().spec_generation = 0;
    world.put(Object::Vm(vm.clone()));
    let status = vm_view(&world, &vm).status.unwrap();
    assert_eq!((status.phase(), status.restart_pending), (v1::VmPhase::Stopped, false));
}

#[test]
fn a_node_shows_what_is_placed_on_it() {
    let world = world();
    let node: &Arc<_> = world.node(&name("hv1")).unwrap();
    let load = v1::NodeLoad { vms_running: 1, ..Default::default() };
    let view = node_view(&world, node, Some(&name("hv1")), Some(load));
    assert_eq!((view.vms_placed, view.vcpus_placed, view.memory_placed_mib), (1, 2, 512));
    assert!(view.leader);
    assert_eq!(view.load.unwrap().vms_running, 1);
    assert!(!node_view(&world, node, Some(&name("hv2")), None).leader);
}

#[test]
fn a_node_shows_its_bmc_without_the_password() {
    let world = world();
    let mut node = Node::clone(world.node(&name("hv1")).unwrap());
    assert!(node_view(&world, &node, None, None).spec.unwrap().bmc.is_none());
    node.status.facts.system_uuid = "00112233-4455-6677-8899-aabbccddeeff".into();
    node.spec.bmc = Some(Bmc {
        address: "10.0.0.21:623".into(),
        user: "ADMIN".into(),
        password: Sealed(b"5ea1ed".to_vec()),
        adapter: BmcAdapter::Auto,
        identity: "33221100-5544-7766-8899-aabbccddeeff".into(),
        trusted: false,
    });
    assert_eq!(v1::Node::from(&node).spec.unwrap().bmc.unwrap().sealed_password, b"5ea1ed", "it is stored");
    let bmc = node_view(&world, &node, None, None).spec.unwrap().bmc.unwrap();
    assert!(bmc.sealed_password.is_empty() && bmc.has_password, "it is not shown");
    assert_eq!((bmc.address.as_str(), bmc.user.as_str()), ("10.0.0.21:623", "ADMIN"));
    assert_eq!(bmc.wiring(), v1::Wiring::Verified);
    node.status.facts.system_uuid = "00112233-4455-6677-8899-aabbccddee00".into();
    let bmc = node_view(&world, &node, None, None).spec.unwrap().bmc.unwrap();
    assert_eq!(bmc.wiring(), v1::Wiring::Wrong);
}

#[test]
fn a_volume_shows_who_uses_it() {
    let world = world();
    let view = volume_view(&world, world.volume(&name("web1-root")).unwrap());
    assert_eq!(view.used_by, "web1");
}

#[test]
fn a_token_shows_no_hash() {
    let token = Token {
        meta: meta("ci"),
        kind: TokenKind::Api { role: Role::Viewer },
        expires: Timestamp(1),
        created_by: "admin/root".into(),
        description: String::new(),
        secret_hash: "5ec2e7".into(),
    };
    assert_eq!(v1::Token::from(&token).secret_hash, "5ec2e7");
    let view = token_view(&token);
    assert_eq!((view.secret_hash.as_str(), view.role()), ("", v1::Role::Viewer));
}

proptest! {
    /// No VM at all, however odd, keeps a list from being shown.
    #[test]
    fn any_vm_can_be_shown(object in object()) {
        if let Object::Vm(vm) = &object {
            let view = vm_view(&World::default(), vm);
            prop_assert_ne!(view.status.unwrap().phase(), v1::VmPhase::Unspecified);
        }
    }
}
