//! A store that was recovered from the loss of its quorum: the objects learn of it before any node is told
//! anything.

use std::collections::BTreeSet;
use std::time::Duration;

use pvc_coordinator::core::CoordinatorOptions;
use pvc_model::command::CountedGuest;
use pvc_model::node::NodeRole;
use pvc_model::vm::VmSpec;
use pvc_model::{Command, Name};
use tokio::time::sleep;

use super::cluster::{Cluster, beat, name};

/// hv1 with VM web1 placed on hv2; then hv1's store is opened again as one that was recovered once.
async fn recovered() -> Cluster {
    let mut cluster = Cluster::founded(CoordinatorOptions::default()).await;
    cluster.enrol("hv2", NodeRole::Hypervisor).await;
    cluster.enrol("hv3", NodeRole::Coordinator).await;
    let facts = pvc_model::node::NodeFacts { cpus: 4, memory_mib: 4096, ..Default::default() };
    let (_, leader) = cluster.leader().await;
    for sequence in 1..4 {
        leader.heartbeat(&name("hv2"), beat(sequence)).expect("heard");
        sleep(Duration::from_millis(400)).await;
    }
    leader.report(&name("hv2"), 1, vec![], vec![], Some(facts), None).await.expect("reported");
    let create = Command::CreateVm { name: name("web1"), spec: VmSpec::new(1, 64) };
    cluster.insist(create, "create").await;
    let start = Command::StartVm { name: name("web1"), node: Some(name("hv2")) };
    cluster.insist(start, "start").await;
    cluster.kill(1).await;
    cluster.options.recoveries = 1;
    cluster.open(1, "hv1").await;
    cluster
}

async fn awaited(cluster: &Cluster) -> BTreeSet<Name> {
    let world = cluster.leader().await.1.world();
    world.cluster.as_ref().expect("the cluster's object").status.awaited.clone()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_the_objects_know_of_the_recovery() {
    let cluster = recovered().await;
    let (_, leader) = cluster.leader().await;
    let told = leader.assignments(&name("hv2"), BTreeSet::new()).await;
    if let Ok(mut stream) = told {
        assert!(stream.next().await.expect("told").vms.is_empty(), "a placement of the past was told");
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(awaited(&cluster).await, ["hv1", "hv2", "hv3"].map(name).into());
    let mut stream = leader.assignments(&name("hv2"), BTreeSet::new()).await.expect("assignments");
    let first = stream.next().await.expect("told");
    assert!(first.vms.is_empty() && first.count_guests);
    assert_eq!(leader.heartbeat(&name("hv2"), beat(9)).expect("heard").incarnation, 1);
    assert_eq!(leader.world().nodes[&name("hv3")].spec.role, NodeRole::Hypervisor, "its data are void");

    // The guest runs where it was: the agent is told of it now, and has nothing to do.
    let uid = leader.world().vm(&name("web1")).expect("a VM").uid();
    let guest = CountedGuest { uid, epoch: 1, boot_generation: 1, spec_generation: 1 };
    leader.count_guests(&name("hv2"), 1, 1, vec![guest]).await.expect("counted");
    let told = loop {
        let told = stream.next().await.expect("told");
        if !told.vms.is_empty() {
            break told;
        }
    };
    assert!(told.vms[0].should_run() && !told.count_guests);
    assert_eq!(awaited(&cluster).await, ["hv1", "hv3"].map(name).into());
}

#[tokio::test(start_paused = true)]
async fn whom_it_waits_for_is_a_fault_until_somebody_speaks_for_them() {
    let cluster = recovered().await;
    let (_, leader) = cluster.leader().await;
    let fault = name("guests-not-counted");
    sleep(Duration::from_secs(20)).await;
    let raised = leader.world().faults[&fault].clone();
    assert!(raised.message.contains("hv3") && raised.help.contains("confirm-off"), "{raised:?}");
    for node in ["hv1", "hv2", "hv3"] {
        cluster.insist(Command::ConfirmNodeOff { node: name(node) }, node).await;
    }
    sleep(Duration::from_secs(10)).await;
    assert!(!leader.world().faults.contains_key(&fault));
    let world = leader.world();
    let vm = world.vm(&name("web1")).expect("a VM");
    assert!(world.is_confirmed(vm) && vm.is_proven_off(), "off, and startable by a person: {vm:?}");
    // An idle cluster commits nothing.
    let before = leader.world().revision;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(leader.world().revision, before);
}
