//! The quorum is lost for ever, with real daemons: `pvc-bootstrap recover` on the survivor, and the lost ones come back.

use std::time::Duration;

use pvc_host::daemon_config::{DaemonConfig, Role};
use pvc_process::{Cmd, Output};
use pvc_proto::v1;
use tokio::time::{Instant, sleep};

use crate::daemons::{Cluster, PATIENCE, create};
use crate::program;

const DEADLINE: Duration = Duration::from_secs(60);

async fn recover(cluster: &Cluster, host: usize, more: &[&str]) -> Output {
    let config = cluster.hosts[host].folder.join("pvcd.toml");
    let cmd = Cmd::new(program("pvc-bootstrap")).arg("recover").arg("--config").arg(&config).args(more);
    cmd.accept_codes(0..=9).run(DEADLINE).await.expect("it ran")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_and_the_lost_ones_become_hypervisors() {
    let mut cluster = Cluster::of_three().await;
    let hypervisor = cluster.hosts.len();
    cluster.join("hv4", Role::Hypervisor).await;
    let admin = cluster.admin();
    for vm in ["web1", "web2"] {
        admin.vms().create_vm(create(vm)).await.expect("created");
    }
    let start = v1::StartVmRequest { name: "web1".to_owned(), node: "hv4".to_owned(), ..Default::default() };
    let task = admin.vms().start_vm(start).await.expect("started").into_inner().meta.expect("named").name;
    let ended = tokio::time::timeout(PATIENCE, admin.follow_task(&task, |_| ())).await;
    assert_eq!(ended.expect("in time").expect("followed").state(), v1::TaskState::Succeeded);
    let running = recover(&cluster, 1, &["--yes"]).await;
    assert!(running.code != 0 && said(&running).contains("stop it first"), "{}", said(&running));

    // All coordinators are gone; hv2 alone has a disk left. hv4 and its guest go on.
    for host in &mut cluster.hosts[..3] {
        host.kill();
    }
    let until = Instant::now() + PATIENCE;
    let mut asked = recover(&cluster, 1, &[]).await;
    // A process that was killed is gone a moment later.
    while said(&asked).contains("stop it first") && Instant::now() < until {
        sleep(Duration::from_millis(100)).await;
        asked = recover(&cluster, 1, &[]).await;
    }
    assert!(asked.code != 0 && said(&asked).contains("nothing was changed"), "{}", said(&asked));
    let done = recover(&cluster, 1, &["--yes"]).await;
    let told = said(&done);
    assert_eq!(done.code, 0, "{told}");
    for word in ["2 VMs", "lost for ever", "written at 20", "kept in"] {
        assert!(told.contains(word), "no {word:?} in {told}");
    }
    let folder = cluster.hosts[1].folder.clone();
    let text = std::fs::read_to_string(folder.join("pvcd.toml")).expect("read");
    cluster.hosts[1].config = toml::from_str::<DaemonConfig>(&text).expect("a configuration");
    assert_eq!(cluster.hosts[1].config.recoveries, 1);
    cluster.hosts[1].start();
    // Certificates are as good as before, and hv4 finds it.
    cluster.reached(&admin, "hv4").await;
    // It leads before it has written into the objects that it was recovered.
    let until = Instant::now() + PATIENCE;
    let mut status = cluster.status(&admin).await;
    while status.incarnation == 0 && Instant::now() < until {
        sleep(Duration::from_millis(100)).await;
        status = cluster.status(&admin).await;
    }
    assert_eq!((status.leader.as_str(), status.incarnation), ("hv2", 1));
    assert_eq!(status.members.iter().filter(|member| member.voter).count(), 1);
    // The guest was found where it was, and was not started again.
    let until = Instant::now() + PATIENCE;
    loop {
        let request = v1::GetVmRequest { name: "web1".to_owned(), ..Default::default() };
        let vm = admin.vms().get_vm(request).await.expect("there").into_inner();
        if vm.status.expect("a status").phase() == v1::VmPhase::Running {
            assert_eq!(vm.boot_generation, 1);
            break;
        }
        assert!(Instant::now() < until, "{}", cluster.logs());
        sleep(Duration::from_millis(100)).await;
    }
    let log = cluster.hosts[hypervisor].log();
    assert_eq!(log.matches("starting vm=web1").count(), 1, "once, long ago: {log}");

    // The lost ones come back: two of the three that the cluster once had.
    for host in [0, 2] {
        cluster.hosts[host].start();
    }
    for host in [0, 2] {
        cluster.hosts[host].ended().await;
        assert!(cluster.hosts[host].log().contains("refuse this host's copy of the state for ever"));
        // Its supervisor starts it again: it serves its guests, and says what to do.
        cluster.hosts[host].start();
        cluster.hosts[host].logged("To make it a coordinator again").await;
        // Clients are not to ask it any more.
        cluster.hosts[host].config.role = Role::Hypervisor;
    }
    for node in ["hv1", "hv3"] {
        cluster.reached(&admin, node).await;
    }
    let status = cluster.status(&admin).await;
    assert_eq!(status.leader, "hv2");
    admin.vms().create_vm(create("web3")).await.expect("it goes on");
    // A new coordinator joins the cluster as it is now.
    let address = cluster.hosts[1].address();
    let told = cluster.join_at("hv5", Role::Coordinator, &address).await;
    assert_eq!(told.recoveries, 1);
    let status = cluster.status(&admin).await;
    assert!(status.members.iter().any(|member| member.node == "hv5" && member.voter), "{status:?}");
}

/// A voter was removed while its daemon was dead: with its old data it comes back as a hypervisor, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_voter_is_refused_with_its_old_data() {
    let mut cluster = Cluster::of_three().await;
    let admin = cluster.admin();
    let leader = cluster.leader().await;
    let gone = ["hv2", "hv3"].into_iter().find(|node| *node != leader).expect("a follower");
    cluster.by_name(gone).kill();
    let until = Instant::now() + PATIENCE;
    loop {
        let remove = v1::SetVoterRequest { node: gone.to_owned(), ..Default::default() };
        match admin.cluster().set_voter(remove).await {
            Ok(_) => break,
            Err(status) => assert!(Instant::now() < until, "{status:?}"),
        }
        sleep(Duration::from_millis(500)).await;
    }
    let before = cluster.status(&admin).await.store.expect("figures").term;
    cluster.by_name(gone).start();
    cluster.by_name(gone).ended().await;
    cluster.by_name(gone).start();
    cluster.by_name(gone).logged("To make it a coordinator again").await;
    cluster.reached(&admin, gone).await;
    assert_eq!(cluster.status(&admin).await.store.expect("figures").term, before, "nobody was disturbed");
}
