//! Programs in other namespaces. Needs the right to make them; says so and does nothing where that is missing.

use std::time::Duration;

use pvc_process::{Cmd, DaemonLogs};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_program_runs_in_the_network_namespace_it_is_told() {
    let name = format!("pvcproc{}", std::process::id());
    if let Err(error) = Cmd::new("ip").args(["netns", "add", &name]).run(SOON).await {
        eprintln!("skipped, no network namespaces here: {error}");
        return;
    }
    let inside = Cmd::new("readlink").arg("/proc/self/ns/net").in_netns(&name).run(SOON).await;
    let mount_inside = Cmd::new("readlink").arg("/proc/self/ns/mnt").in_netns(&name).run(SOON).await;
    Cmd::new("ip").args(["netns", "del", &name]).run(SOON).await.unwrap();
    let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_ne!(inside.unwrap().stdout_text().trim(), outside.to_str().unwrap());
    let mount = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(mount_inside.unwrap().stdout_text().trim(), mount.to_str().unwrap());

    let error = Cmd::new("true").in_netns(&name).run(SOON).await.unwrap_err().to_string();
    assert!(error.contains(&format!("[{name}] true")) && error.contains("/run/netns/"), "{error}");
}

#[tokio::test]
async fn a_program_runs_in_all_namespaces_of_a_host() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let host = Cmd::new("unshare")
        .args([
            "--mount",
            "--uts",
            "--pid",
            "--net",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sleep",
            "1000",
        ])
        .spawn_daemon(&DaemonLogs::joined(&log))
        .unwrap();
    let mut init = None;
    for _ in 0..500 {
        let children = format!("/proc/{0}/task/{0}/children", host.pid());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        init = children.split_whitespace().next().and_then(|pid| pid.parse::<u32>().ok());
        let cmdline = init.map(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
        if cmdline.is_some_and(|line| line.starts_with(b"sleep")) || !host.id().is_running() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if !host.id().is_running() {
        eprintln!("skipped, no namespaces here: {}", std::fs::read_to_string(&log).unwrap_or_default());
        return;
    }
    let seen =
        Cmd::new("sh").args(["-c", "cat /proc/1/cmdline"]).in_namespaces_of(init.unwrap()).run(SOON).await;
    // And a program that hangs in there is killed from out here.
    let hung = Cmd::new("sleep").arg("1000").in_namespaces_of(init.unwrap());
    let hung = hung.run(Duration::from_millis(300)).await.unwrap_err();
    let left =
        Cmd::new("sh").args(["-c", "ls -d /proc/[0-9]*"]).in_namespaces_of(init.unwrap()).run(SOON).await;
    // Pid 1 of a namespace does not hear SIGTERM.
    host.id().stop(Duration::from_millis(200)).await.unwrap();
    assert!(seen.unwrap().stdout.starts_with(b"sleep"), "pid 1 in there is the host's own");
    assert!(hung.to_string().contains("did not end"), "{hung}");
    let left = left.unwrap();
    assert!(
        left.stdout_text().lines().count() <= 3,
        "the hung program is still there: {}",
        left.stdout_text()
    );
}
