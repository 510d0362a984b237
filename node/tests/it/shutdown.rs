//! A host that is shut down in order, with a real `pvcd` and a systemd that is a script.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pvc_host::daemon_config::Role;
use pvc_proto::v1;
use tokio::time::{Instant, sleep};

use crate::daemons::{Cluster, PATIENCE, create};

async fn node(cluster: &Cluster, name: &str) -> v1::Node {
    let request = v1::GetNodeRequest { name: name.to_owned(), ..Default::default() };
    cluster.admin().nodes().get_node(request).await.expect("a node").into_inner()
}

async fn vm(cluster: &Cluster) -> v1::Vm {
    let request = v1::GetVmRequest { name: "web1".to_owned(), ..Default::default() };
    cluster.admin().vms().get_vm(request).await.expect("a VM").into_inner()
}

async fn phase(cluster: &Cluster, wanted: v1::VmPhase) {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = vm(cluster).await.status.expect("a status");
        if status.phase() == wanted {
            return;
        }
        assert!(Instant::now() < until, "not {wanted:?}: {status:?}\n{}", cluster.logs());
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_guests_go_first_and_it_is_missed_by_nobody() {
    let mut cluster = Cluster::founded().await;
    cluster.join("hv2", Role::Hypervisor).await;
    let admin = cluster.admin();
    let stops = v1::UpdateNodeRequest {
        name: "hv2".to_owned(),
        on_shutdown: v1::OnShutdown::Stop.into(),
        ..Default::default()
    };
    admin.nodes().update_node(stops).await.expect("set");
    admin.vms().create_vm(create("web1")).await.expect("created");
    let start = v1::StartVmRequest { name: "web1".to_owned(), node: "hv2".to_owned(), ..Default::default() };
    admin.vms().start_vm(start).await.expect("started");
    phase(&cluster, v1::VmPhase::Running).await;

    // From now on the host goes down.
    let host = cluster.by_name("hv2");
    std::fs::create_dir_all(&host.tools).expect("made");
    let systemctl = host.tools.join("systemctl");
    std::fs::write(&systemctl, "#!/bin/sh\necho stopping\n").expect("written");
    std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o755)).expect("executable");
    host.stop(PATIENCE).await.expect("it ends by itself");
    let log = host.log();
    assert!(log.contains("no guest runs here any more"), "{log}");
    let left = node(&cluster, "hv2").await.status.and_then(|status| status.leaving).expect("it said so");
    assert!(left.empty && left.policy() == v1::OnShutdown::Stop, "{left:?}");
    phase(&cluster, v1::VmPhase::Stopped).await;
    let until = Instant::now() + PATIENCE;
    while node(&cluster, "hv2").await.status.expect("a status").reachability()
        != v1::Reachability::Unreachable
    {
        assert!(Instant::now() < until, "it is still heard");
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(2)).await;
    let seen = node(&cluster, "hv2").await.status.expect("a status");
    assert_eq!((seen.fence, seen.fences), (None, 0), "nobody takes it for dead");
    let faults = admin.cluster().list_faults(v1::ListFaultsRequest::default()).await.expect("a list");
    let faults = faults.into_inner().faults;
    assert!(!faults.iter().any(|fault| fault.subject == "node/hv2"), "{faults:?}");

    // And it is up again.
    let host = cluster.by_name("hv2");
    std::fs::remove_file(&systemctl).expect("removed");
    host.start();
    phase(&cluster, v1::VmPhase::Running).await;
    assert_eq!(node(&cluster, "hv2").await.status.and_then(|status| status.leaving), None);
}
