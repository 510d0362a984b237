//! The whole cluster is destroyed while its VM runs: another one is founded on the same hosts, the backup is restored, and
//! the guest goes on as the same process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvc_process::Cmd;

use crate::bench::{Bench, eventually, guest, nothing_is_left};

const SOON: Duration = Duration::from_secs(120);
const HOSTS: [&str; 3] = ["hv1", "hv2", "hv3"];

impl Bench {
    /// The folder of the user who types the commands.
    fn home(&self) -> PathBuf {
        self.connections().ancestors().nth(3).expect("a home").to_owned()
    }

    async fn pvc(&self, args: &[&str]) -> String {
        let pvc = Path::new(env!("CARGO_BIN_EXE_pvc-bootstrap")).with_file_name("pvc");
        assert!(pvc.exists(), "there is no {}: build it by `cargo build -p pvc-cli`", pvc.display());
        let cmd = Cmd::new(pvc).args(args).env("HOME", self.home());
        let cmd = cmd.env("XDG_CONFIG_HOME", self.home().join(".config"));
        let out = cmd.run(SOON).await.unwrap_or_else(|error| panic!("pvc {args:?}: {error}"));
        out.stdout_text().into_owned()
    }

    /// Where the guest runs, and the number of its process there.
    async fn emulator(&self) -> Option<(String, String)> {
        for host in HOSTS {
            let pid = self.try_local(&["exec", host, "pgrep", "-f", "qemu-system.*guest="]).await;
            if let Ok(pid) = pid {
                return Some((host.to_owned(), pid.trim().to_owned()));
            }
        }
        None
    }

    fn empty(&self, host: &str, folder: &str) {
        for entry in fs::read_dir(self.disk(host, folder)).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("removed");
        }
    }
}

#[tokio::test]
async fn a_destroyed_cluster_is_restored_around_its_running_guest() {
    let bench = Bench::new("r");
    bench.require_pvcd();
    bench.local(&["up"]).await;
    let (kernel, _) = guest().await;
    let folder = kernel.parent().expect("in a folder").to_str().expect("text").to_owned();
    bench.local(&["demo", "--guest", &folder]).await;
    let file = bench.home().join("cluster.pvc");
    let file = file.to_str().expect("text");
    let told = bench.pvc(&["cluster", "backup", file]).await;
    assert!(told.contains("all of it is there") && told.contains("1 vms"), "{told}");
    bench.pvc(&["cluster", "backup", "--verify", file]).await;
    let before = bench.emulator().await.expect("it runs");

    // Every daemon is killed, and all that they ever wrote is gone. libvirt and the guest stay.
    for host in HOSTS {
        bench.local(&["kill", host, "--hold"]).await;
    }
    for host in HOSTS {
        bench.empty(host, "etc-pvc");
        for leftover in ["store", "incarnation"] {
            let path = bench.disk(host, "var-lib-pvc").join(leftover);
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        bench.local(&["start", host]).await;
    }
    bench.local(&["up"]).await;
    assert_eq!(bench.emulator().await.as_ref(), Some(&before), "a new cluster leaves strangers alone");
    assert!(bench.pvc(&["vm", "list", "-o", "name"]).await.is_empty());

    bench.pvc(&["cluster", "restore", file, "-y"]).await;
    let adopted = async || {
        let info = bench.pvc(&["vm", "list"]).await;
        info.lines().any(|line| line.contains("demo1") && line.contains("running")).then_some(())
    };
    eventually("the guest as a VM of the new cluster", SOON, adopted).await;
    assert_eq!(bench.emulator().await.as_ref(), Some(&before), "the same process on the same host");
    let status = bench.pvc(&["cluster", "status"]).await;
    assert!(!status.contains("Guests not counted"), "{status}");
    // It is the cluster's now: it can be moved, and ended.
    bench.pvc(&["vm", "stop", "demo1", "-y"]).await;
    assert_eq!(bench.emulator().await, None);
    bench.local(&["down"]).await;
    nothing_is_left(&bench);
}
