//! The daemon as its users see it: founding, joining, a leader that is killed, disks that are not what they
//! were, callers that may not.

use std::collections::BTreeSet;
use std::time::Duration;

use pvc_client::Trust;
use pvc_host::daemon_config::Role;
use pvc_identity::{Ca, ExpectedPeer, Identity, KeyPair, TlsStore};
use pvc_proto::v1;
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt;

use crate::daemons::{Cluster, PATIENCE, create};

fn rule(status: &tonic::Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

async fn vm_names(cluster: &Cluster) -> Vec<String> {
    let list = cluster.admin().vms().list_vms(v1::ListVmsRequest::default()).await.expect("a list");
    list.into_inner().vms.into_iter().map(|vm| vm.meta.expect("named").name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_survive_the_killing_of_the_leader() {
    let mut cluster = Cluster::of_three().await;
    let admin = cluster.admin();
    let leader = cluster.leader().await;
    let mut creates = tokio::task::JoinSet::new();
    let began = Instant::now();
    for number in 0..200 {
        let admin = admin.clone();
        creates.spawn(async move {
            // Not all at once: the kill is to fall in the midst of them.
            tokio::time::sleep(Duration::from_millis(number * 5)).await;
            let name = format!("vm{number}");
            let result = admin.vms().create_vm(create(&name)).await;
            (name, result.map(drop), began.elapsed())
        });
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    cluster.by_name(&leader).kill();
    let killed = began.elapsed();
    let mut acknowledged = BTreeSet::new();
    let mut first_after = Duration::MAX;
    while let Some(done) = creates.join_next().await {
        let (name, result, at) = done.expect("no panic");
        match result {
            Ok(()) => {
                acknowledged.insert(name);
                // One that was on its way may still be answered a moment after the kill.
                if at > killed + Duration::from_millis(300) {
                    first_after = first_after.min(at - killed);
                }
            }
            Err(status) => panic!("{name}: {status:?}\n{}", cluster.logs()),
        }
    }
    assert_eq!(acknowledged.len(), 200);
    println!("first create acknowledged {first_after:?} after the leader was killed");
    assert!(first_after < Duration::from_secs(10), "writes were back only after {first_after:?}");
    let names = vm_names(&cluster).await;
    assert_eq!(names.len(), 200, "none is there twice");
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), acknowledged);

    // The killed one comes back, and all three know everything; then all are killed at once.
    cluster.by_name(&leader).start();
    cluster.reached(&admin, &leader).await;
    for host in &mut cluster.hosts {
        host.kill();
    }
    for host in &mut cluster.hosts {
        host.start();
    }
    for name in ["hv1", "hv2", "hv3"] {
        cluster.reached(&admin, name).await;
    }
    assert_eq!(vm_names(&cluster).await.len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_started_and_found_again_by_a_new_daemon() {
    let mut cluster = Cluster::founded().await;
    cluster.join("hv2", Role::Hypervisor).await;
    let admin = cluster.admin();
    admin.vms().create_vm(create("web1")).await.expect("created");
    let start = v1::StartVmRequest { name: "web1".to_owned(), node: "hv2".to_owned(), ..Default::default() };
    let task = admin.vms().start_vm(start).await.expect("started").into_inner();
    let name = task.meta.expect("named").name;
    let ended = tokio::time::timeout(PATIENCE, admin.follow_task(&name, |_| ())).await;
    let ended = ended.unwrap_or_else(|_| panic!("it is not over\n{}", cluster.logs())).expect("followed");
    assert_eq!(ended.state(), v1::TaskState::Succeeded, "{ended:?}");
    let dump = admin.vms().dump_vm(v1::DumpVmRequest { name: "web1".to_owned() }).await;
    let dump = dump.expect("dumped").into_inner();
    assert!(dump.live && dump.xml.contains("<name>web1</name>"), "{dump:?}");
    let log = v1::TailNodeLogRequest { name: "hv2".to_owned(), ..Default::default() };
    let mut log = admin.nodes().tail_node_log(log).await.expect("a log").into_inner();
    let text = log.message().await.expect("read").expect("some").data;
    assert!(String::from_utf8_lossy(&text).contains("starting"), "{text:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_is_told_why() {
    let mut cluster = Cluster::founded().await;
    // A token is spent once, by one node with one key.
    let token = cluster.join_token().await;
    let host = cluster.host("hv2", Role::Hypervisor, 0);
    let key = KeyPair::generate().expect("a key");
    let first = cluster.redeem(&token, &host, &key).await.expect("joined");
    let again = cluster.redeem(&token, &host, &key).await.expect("the same host asks again");
    assert_eq!(first.member_id, again.member_id);
    let thief = KeyPair::generate().expect("a key");
    let refused = cluster.redeem(&token, &host, &thief).await.expect_err("another key");
    assert_eq!((refused.code(), rule(&refused).as_str()), (Code::PermissionDenied, "token-unused"));
    assert!(refused.message().contains("hv2"), "{refused:?}");

    // Roles.
    let request = v1::CreateApiTokenRequest {
        name: "reader".to_owned(),
        role: v1::Role::Viewer.into(),
        ..Default::default()
    };
    let secret =
        cluster.admin().tokens().create_api_token(request).await.expect("a token").into_inner().secret;
    let viewer = cluster.service(Some(secret));
    viewer.vms().list_vms(v1::ListVmsRequest::default()).await.expect("a viewer reads");
    let refused = viewer.vms().create_vm(create("web1")).await.expect_err("a viewer does not write");
    assert_eq!((refused.code(), rule(&refused).as_str()), (Code::PermissionDenied, "role-needed"));
    let nobody = cluster.service(None);
    let refused = nobody.vms().list_vms(v1::ListVmsRequest::default()).await.expect_err("no token");
    assert_eq!((refused.code(), rule(&refused).as_str()), (Code::Unauthenticated, "token-needed"));
    let revoke = v1::RevokeTokenRequest { name: "reader".to_owned(), ..Default::default() };
    cluster.admin().tokens().revoke_token(revoke).await.expect("revoked");
    let refused = viewer.vms().list_vms(v1::ListVmsRequest::default()).await.expect_err("revoked");
    assert_eq!(refused.code(), Code::Unauthenticated);

    // Another cluster's certificate: neither side goes on.
    let other = Ca::create("00000000-0000-4000-8000-000000000000", jiff::Timestamp::now()).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let leaf = pvc_identity::LeafSpec::new(Identity::admin("root").expect("an admin"));
    let chain = other.sign(&key.csr_pem().expect("csr"), &leaf, jiff::Timestamp::now()).expect("signed");
    let credentials = pvc_identity::Credentials::new(chain, key.pem(), other.cert_pem()).expect("they fit");
    let store = TlsStore::new(credentials, jiff::Timestamp::now()).expect("TLS");
    let stranger = cluster.client(Trust::Mutual(store, ExpectedPeer::AnyNode), None);
    let refused = stranger.vms().list_vms(v1::ListVmsRequest::default()).await.expect_err("another CA");
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    cluster.by_name("hv1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_are_not_what_they_were() {
    let mut cluster = Cluster::of_three().await;
    let admin = cluster.admin();
    admin.vms().create_vm(create("web1")).await.expect("created");

    // A joiner whose data is gone is found out by the leader, and does not vote.
    let joiner = cluster.by_name("hv2");
    joiner.kill();
    std::fs::rename(joiner.config.data_dir.join("store"), joiner.folder.join("kept")).expect("moved");
    joiner.start();
    joiner.logged("has lost its data").await;
    joiner.kill();
    std::fs::remove_dir_all(joiner.config.data_dir.join("store")).expect("removed");
    std::fs::rename(joiner.folder.join("kept"), joiner.config.data_dir.join("store")).expect("moved");
    joiner.start();
    cluster.reached(&admin, "hv2").await;

    // A founder whose data is gone must not found or vote again.
    let founder = cluster.by_name("hv1");
    founder.kill();
    std::fs::remove_dir_all(founder.config.data_dir.join("store")).expect("removed");
    founder.start();
    founder.ended().await;
    let log = founder.log();
    assert!(log.contains("its data was lost") && log.contains("pvc cluster voter remove hv1"), "{log}");
    admin.vms().create_vm(create("web2")).await.expect("the others go on");

    // Another cluster's data is refused.
    let foreign = uuid::Uuid::new_v4().to_string();
    let host = cluster.by_name("hv3");
    host.kill();
    let identity = host.config.data_dir.join("store");
    host.config.data_dir = host.folder.join("other");
    copy(&identity, &host.config.data_dir.join("store"));
    let own = std::mem::replace(&mut host.config.cluster_id, foreign);
    host.start();
    host.ended().await;
    assert!(host.log().contains("one of them is another host's"), "{}", host.log());

    // Back with its own, it goes on.
    host.config.cluster_id = own;
    host.start();
    cluster.reached(&admin, "hv3").await;
    assert_eq!(vm_names(&cluster).await, ["web1", "web2"]);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("read") {
        let entry = entry.expect("read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Each coordinator's disk and lag, told by the daemons themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_tells_how_its_stores_are() {
    let cluster = Cluster::of_three().await;
    let admin = cluster.admin();
    admin.vms().create_vm(create("web1")).await.expect("created");
    let begun = Instant::now();
    loop {
        let told = cluster.status(&admin).await;
        let measured = |member: &v1::RaftMember| {
            let health = member.health.clone().unwrap_or_default();
            health.log_bytes > 0 && health.free_bytes > 0 && health.election_max_ms == 350
        };
        let levels = told.versions.len() == 1 && told.versions[0].nodes.len() == 3 && told.level == 1;
        if told.members.len() == 3 && told.members.iter().all(measured) && levels {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{told:?}\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
