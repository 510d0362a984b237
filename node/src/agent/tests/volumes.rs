use pvc_model::command::Command::*;
use pvc_model::task::TaskState;
use pvc_model::volume::{CloneSource, VolumePhase, VolumeSpec};

use super::{Lab, name, spec};
use crate::storage::StorageDriver;

const GIB: u64 = 1 << 30;

fn blank(size_bytes: u64) -> VolumeSpec {
    VolumeSpec { pool: name("shared"), size_bytes, clone_of: None }
}

#[tokio::test(start_paused = true)]
async fn made_grown_snapshot_cloned_deleted() {
    let lab = Lab::of(&["hv1", "hv2"]).await;
    lab.ok(CreateVolume { name: name("d"), spec: blank(GIB) });
    lab.pass(3.0).await;
    lab.assert_task(TaskState::Succeeded);
    lab.ok(ResizeVolume { name: name("d"), size_bytes: 2 * GIB, expected_revision: 0 });
    lab.pass(3.0).await;
    lab.assert_task(TaskState::Succeeded);
    lab.ok(CreateVolumeSnapshot { volume: name("d"), snapshot: name("s") });
    lab.pass(3.0).await;
    lab.assert_task(TaskState::Succeeded);
    let source = CloneSource { volume: name("d"), snapshot: Some(name("s")) };
    lab.ok(CreateVolume { name: name("e"), spec: VolumeSpec { clone_of: Some(source), ..blank(0) } });
    lab.pass(3.0).await;
    lab.assert_task(TaskState::Succeeded);
    let sizes: Vec<_> = lab.pool.list().await.expect("lists").iter().map(|v| v.size_bytes).collect();
    assert_eq!(sizes, [2 * GIB, 2 * GIB]);
    lab.ok(DeleteVolumeSnapshot { volume: name("d"), snapshot: name("s") });
    lab.pass(3.0).await;
    for volume in ["d", "e"] {
        lab.ok(DeleteVolume { name: name(volume), expected_revision: 0 });
        lab.pass(3.0).await;
        lab.assert_task(TaskState::Succeeded);
    }
    assert!(lab.pool.list().await.expect("lists").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_says_so_and_keeps_nothing() {
    let lab = Lab::of(&["hv1"]).await;
    lab.ok(CreateVolume { name: name("d"), spec: blank(100 * GIB) });
    lab.pass(3.0).await;
    lab.assert_task(TaskState::Failed);
    let volume = lab.leader.world().volumes[&name("d")].clone();
    assert_eq!(volume.status.phase, VolumePhase::Failed);
    assert!(volume.status.reason.contains("pool shared is full"), "{}", volume.status.reason);
    assert!(lab.pool.list().await.expect("lists").is_empty());
}

#[tokio::test(start_paused = true)]
async fn work_waits_for_a_pool_that_comes_back() {
    let lab = Lab::of(&["hv1", "hv2"]).await;
    lab.pool.faults(|f| f.unusable = Some("it is not mounted".into()));
    lab.ok(CreateVolume { name: name("d"), spec: blank(GIB) });
    lab.pass(3.0).await;
    assert_eq!(lab.task().message, "pool shared can't be used: it is not mounted");
    lab.pool.faults(|f| *f = Default::default());
    lab.pass(10.0).await;
    lab.assert_task(TaskState::Succeeded);
    // Growing that failed is tried again too, and its reason goes.
    lab.pool.faults(|f| f.fail = 1);
    lab.ok(ResizeVolume { name: name("d"), size_bytes: 2 * GIB, expected_revision: 0 });
    lab.pass(3.0).await;
    assert!(lab.task().message.contains("input/output error"), "{}", lab.task().message);
    lab.pass(10.0).await;
    lab.assert_task(TaskState::Succeeded);
    assert_eq!(lab.leader.world().volumes[&name("d")].status.reason, "");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_pool_is_named() {
    let lab = Lab::of(&["hv1"]).await;
    let spec = VolumeSpec { pool: name("fast"), ..blank(GIB) };
    lab.ok(CreateVolume { name: name("d"), spec });
    lab.pass(3.0).await;
    assert_eq!(lab.task().message, "pool fast is not configured on this node");
}

#[tokio::test(start_paused = true)]
async fn a_vm_waits_for_its_volumes() {
    let lab = Lab::of(&["hv1"]).await;
    let mut with_disk = spec();
    with_disk.disks = vec![pvc_model::vm::Disk {
        volume: name("d"),
        bus: pvc_model::vm::DiskBus::Virtio,
        read_only: false,
        create_bytes: GIB,
        pool: name("shared"),
    }];
    lab.ok(CreateVm { name: name("a"), spec: with_disk });
    lab.ok(StartVm { name: name("a"), node: None });
    lab.pass(5.0).await;
    assert_eq!(lab.writer("a"), "hv1");
    lab.ok(StopVm { name: name("a") });
    lab.pass(3.0).await;
    lab.ok(DeleteVm { name: name("a"), delete_volumes: true, expected_revision: 0 });
    lab.pass(3.0).await;
    lab.assert_task(TaskState::Succeeded);
    assert!(lab.leader.world().vms.is_empty());
    assert!(lab.pool.list().await.expect("lists").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_without_its_lease_works_on_no_volume() {
    let lab = Lab::of(&["hv1"]).await;
    lab.pool.faults(|f| f.copy = std::time::Duration::from_secs(20));
    lab.ok(CreateVolume { name: name("d"), spec: blank(GIB) });
    lab.pass(2.0).await;
    lab.ok(CreateVolumeSnapshot { volume: name("d"), snapshot: name("s") });
    lab.pass(2.0).await;
    // In the midst of the copy the node is cut off: another one may get the work now.
    lab.leader.cut("hv1");
    lab.pass(60.0).await;
    let kept = lab.pool.list().await.expect("lists");
    assert!(kept[0].snapshots.is_empty(), "it was called off with the lease");
    lab.leader.heal("hv1");
    lab.pass(30.0).await;
    lab.assert_task(TaskState::Succeeded);
}
