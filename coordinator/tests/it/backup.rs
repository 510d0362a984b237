//! Backup and restore over the services of real coordinators, with nodes that are played.

use std::collections::BTreeSet;

use futures::StreamExt;
use pvc_coordinator::services::{ClusterInfo, Rules};
use pvc_model::Uid;
use pvc_model::command::CountedGuest;
use pvc_model::phase::{VmPhase, vm_phase};
use pvc_proto::v1;
use pvc_proto::v1::cluster_service_server::ClusterService;
use pvc_proto::v1::rule_service_server::RuleService;
use pvc_proto::v1::vm_service_server::VmService;
use raft_store::Backup;
use tonic::Code;

use super::cluster::name;
use super::desk::{Desk, admin, rule};
use super::networks::{lan, make};
use super::placing::apart;

async fn backup(info: &ClusterInfo) -> Vec<u8> {
    let pieces = info.backup_cluster(admin(v1::BackupClusterRequest {})).await.expect("begun").into_inner();
    let pieces: Vec<_> = pieces.map(|piece| piece.expect("a piece").data).collect().await;
    pieces.concat()
}

fn piece(file: &[u8], offset: usize, most: usize) -> v1::RestoreClusterRequest {
    let end = (offset + most).min(file.len());
    v1::RestoreClusterRequest {
        backup: blake3::hash(file).to_hex().to_string(),
        offset: offset as u64,
        data: file[offset..end].to_vec(),
        last: end == file.len(),
    }
}

/// Sends a file in pieces, as a client does.
async fn restore(
    info: &ClusterInfo,
    file: &[u8],
    most: usize,
) -> Result<v1::RestoreClusterResponse, tonic::Status> {
    let mut offset = 0;
    loop {
        let answer = info.restore_cluster(admin(piece(file, offset, most))).await?.into_inner();
        if answer.done {
            return Ok(answer);
        }
        offset = answer.next_offset as usize;
    }
}

/// Three coordinators with VM `web1` running on hv2, `db1` on hv3, and `off1` off.
async fn full() -> Desk {
    let desk = Desk::open().await;
    for vm in ["web1", "db1", "off1"] {
        desk.define(vm, &[]).await;
    }
    desk.run("web1", "hv2").await;
    desk.run("db1", "hv3").await;
    desk
}

async fn uid(desk: &Desk, vm: &str) -> Uid {
    desk.cluster.leader().await.1.world().vm(&name(vm)).expect("a VM").uid()
}

async fn phase(desk: &Desk, vm: &str) -> VmPhase {
    let world = desk.cluster.leader().await.1.world();
    vm_phase(&world, world.vm(&name(vm)).expect("a VM")).0
}

async fn count(desk: &Desk, node: &str, guests: &[(Uid, u64)]) {
    let guests = guests.iter().map(|(uid, epoch)| CountedGuest {
        uid: *uid,
        epoch: *epoch,
        boot_generation: 1,
        spec_generation: 1,
    });
    let (_, leader) = desk.cluster.leader().await;
    let incarnation = leader.world().incarnation();
    leader.count_guests(&name(node), 1, incarnation, guests.collect()).await.expect("counted");
}

#[tokio::test(start_paused = true)]
async fn a_backup_is_whole_and_says_what_it_is_of() {
    let desk = full().await;
    let info = desk.info().await;
    let file = backup(&info).await;
    let read = Backup::read(&file[..]).await.expect("it is whole");
    assert_eq!(read.cluster_id(), super::cluster::CLUSTER_ID);
    assert_eq!(read.view().list("vms", "").count(), 3);
    // A follower writes the same, up to what was acknowledged before the call.
    let follower = ClusterInfo::new(desk.following().await);
    let other = backup(&follower).await;
    assert!(Backup::read(&other[..]).await.expect("whole").revision() >= read.revision());
}

#[tokio::test(start_paused = true)]
async fn a_restored_cluster_adopts_what_runs_and_starts_nothing() {
    let old = full().await;
    let (web1, db1) = (uid(&old, "web1").await, uid(&old, "db1").await);
    make(&old, 1001, lan()).await.expect("a network");
    let rules = Rules(old.leading().await);
    rules.create_rule(admin(apart("apart", &["web1", "db1"]))).await.expect("a rule");
    let file = backup(&old.info().await).await;

    let desk = Desk::open().await;
    let info = desk.info().await;
    let answer = restore(&info, &file, 700).await.expect("restored");
    assert_eq!(
        (answer.vms, answer.awaited_nodes.as_slice()),
        (3, &["hv1", "hv2", "hv3"].map(String::from)[..])
    );
    let again = restore(&info, &file, 700).await.expect("done already");
    assert!(again.done);
    assert_eq!(phase(&desk, "web1").await, VmPhase::Unknown);
    let world = desk.cluster.leader().await.1.world();
    assert!(world.networks.contains_key(&name("1001")) && world.rules.contains_key(&name("apart")));

    // No node is told of a VM whose guest is looked for; each is asked to count.
    let (_, leader) = desk.cluster.leader().await;
    let mut stream = leader.assignments(&name("hv2"), BTreeSet::from([web1])).await.expect("assignments");
    let first = stream.next().await.expect("the first");
    assert!(first.vms.is_empty() && first.count_guests && first.incarnation == 1);
    let start = v1::StartVmRequest { name: "web1".to_owned(), ..Default::default() };
    let refused = desk.vms().await.start_vm(admin(start.clone())).await.expect_err("looked for");
    assert_eq!(rule(&refused), "vm-confirmed");

    // web1 has moved to hv1 since the backup. hv2 has nothing; hv3 is silent.
    count(&desk, "hv1", &[(web1, 7)]).await;
    count(&desk, "hv2", &[]).await;
    let world = leader.world();
    let placement = world.vm(&name("web1")).expect("a VM").placement.clone().expect("placed");
    assert_eq!((placement.node.as_str(), placement.epoch), ("hv1", 7));
    assert_eq!(phase(&desk, "db1").await, VmPhase::Unknown, "it may run on hv3");
    let told = loop {
        let told = stream.next().await.expect("told");
        if !told.count_guests {
            break told;
        }
    };
    assert!(told.vms.iter().all(|vm| vm.uid() != db1));
    count(&desk, "hv3", &[(db1, 1)]).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let world = leader.world();
    assert!(world.vms.values().all(|vm| world.is_confirmed(vm)), "all are settled");
    assert!(world.vm(&name("db1")).expect("a VM").should_run());
    assert_eq!(phase(&desk, "off1").await, VmPhase::Stopped);
    desk.says("web1", pvc_model::vm::ObservedPhase::Running, "").await;
    assert_eq!(phase(&desk, "web1").await, VmPhase::Running);
}

#[tokio::test(start_paused = true)]
async fn a_restore_goes_on_at_the_next_leader() {
    let file = backup(&full().await.info().await).await;
    let desk = Desk::open().await;
    let first = desk.info().await;
    let half = first.restore_cluster(admin(piece(&file, 0, 900))).await.expect("taken").into_inner();
    assert_eq!((half.next_offset, half.done), (900, false));
    // The leader dies: the next one has nothing, and says so.
    desk.cluster.kill(first.shared.core.store().options().me.id).await;
    let second = desk.info().await;
    let asked = second.restore_cluster(admin(piece(&file, 900, 900))).await.expect("answered").into_inner();
    assert_eq!((asked.next_offset, asked.done), (0, false));
    assert!(restore(&second, &file, 900).await.expect("restored").done);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_restored_is_refused_before_anything_changes() {
    let file = backup(&full().await.info().await).await;
    let desk = Desk::open().await;
    let info = desk.info().await;
    let before = desk.cluster.leader().await.1.world().revision;
    let mut damaged = file.clone();
    damaged[file.len() / 2] ^= 1;
    let refused = restore(&info, &damaged, 1 << 20).await.expect_err("damaged");
    assert_eq!((refused.code(), rule(&refused).as_str()), (Code::InvalidArgument, "backup-whole"));
    let refused = restore(&info, &file[..file.len() - 10], 1 << 20).await.expect_err("cut off");
    assert_eq!(rule(&refused), "backup-whole");
    let mut lying = piece(&file, 0, 1 << 20);
    lying.backup = "0".repeat(64);
    let refused = info.restore_cluster(admin(lying)).await.expect_err("another checksum");
    assert_eq!(rule(&refused), "backup-whole");
    assert_eq!(desk.cluster.leader().await.1.world().revision, before, "nothing was written");
    desk.define("mine", &[]).await;
    let refused = restore(&info, &file, 1 << 20).await.expect_err("it has a VM");
    assert_eq!(rule(&refused), "cluster-must-be-empty");
    let confirm = v1::ConfirmNodeOffRequest { node: "hv1".to_owned(), ..Default::default() };
    let refused = info.confirm_node_off(admin(confirm)).await.expect_err("nobody is waited for");
    assert_eq!(rule(&refused), "node-awaited");
}
