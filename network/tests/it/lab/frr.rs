//! FRRouting in a namespace, with everything of it in one directory.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvc_process::{Cmd, Daemon, DaemonLogs};
use tokio::time::sleep;

use super::{Netns, SOON};

pub struct Frr {
    netns: String,
    dir: PathBuf,
    daemons: Vec<Daemon>,
}

impl Frr {
    /// Starts its daemons. They read `frr.conf` of the directory, as its start script lets them.
    pub async fn start(netns: &Netns, dir: &Path) -> Frr {
        let mut frr = Frr { netns: netns.name.clone(), dir: dir.to_owned(), daemons: Vec::new() };
        frr.own();
        if !dir.join("frr.conf").exists() {
            fs::write(dir.join("frr.conf"), "frr defaults traditional\n").expect("a file");
        }
        for daemon in ["zebra", "bgpd", "bfdd"] {
            frr.start_daemon(daemon).await;
        }
        frr.boot();
        frr
    }

    pub async fn start_daemon(&mut self, daemon: &str) {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let socket = self.dir.join(format!("{daemon}.vty"));
        let _ = fs::remove_file(&socket);
        let program = format!("/usr/lib/frr/{daemon}");
        let mut cmd = Cmd::new(program).in_netns(&self.netns).args(["-u", "frr", "-g", "frr", "-P", "0"]);
        cmd = cmd.args([
            "--vty_socket",
            &self.dir.display().to_string(),
            "-i",
            &path(&format!("{daemon}.pid")),
        ]);
        cmd = cmd.args(["-z", &path("zserv.api"), "-f", &path("none.conf")]);
        cmd = match daemon {
            "zebra" => cmd.args(["-s", "90000000"]),
            "bfdd" => cmd.args(["--bfdctl", &path("bfdd.ctl")]),
            _ => cmd,
        };
        let logs = DaemonLogs::joined(self.dir.join(format!("{daemon}.log")));
        self.daemons.push(cmd.spawn_daemon(&logs).expect("it starts"));
        while UnixStream::connect(&socket).is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets the daemons read their configuration.
    pub fn boot(&self) {
        let dir = self.dir.display().to_string();
        fs::write(self.dir.join("vtysh.conf"), "").expect("a file");
        let args = ["--vty_socket", &dir, "--config_dir", &dir, "-b"];
        Cmd::new("vtysh").args(args).run_blocking(SOON).expect("vtysh reads the configuration");
    }

    /// Ends one at once, and starts it without a configuration.
    pub async fn restart_daemon(&mut self, daemon: &str) {
        let number = ["zebra", "bgpd", "bfdd"].iter().position(|one| *one == daemon).expect("one of them");
        let old = self.daemons.remove(number);
        old.id().stop(Duration::ZERO).await.expect("it ends");
        self.start_daemon(daemon).await;
        let new = self.daemons.pop().expect("it was started");
        self.daemons.insert(number, new);
    }

    pub async fn stop(&mut self) {
        for daemon in self.daemons.drain(..).rev() {
            daemon.id().stop(Duration::from_secs(5)).await.expect("it ends");
        }
    }

    fn own(&self) {
        let owner = |file: &str| {
            let text = fs::read_to_string(file).expect("there is one");
            let line =
                text.lines().find(|line| line.starts_with("frr:")).expect("FRRouting's user").to_owned();
            line.split(':').nth(2).and_then(|number| number.parse().ok()).expect("a number")
        };
        fs::create_dir_all(&self.dir).expect("a directory");
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o755)).expect("ours");
        chown(&self.dir, Some(owner("/etc/passwd")), Some(owner("/etc/group"))).expect("root may");
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        for daemon in &self.daemons {
            let _ = daemon.id().signal(9);
        }
    }
}

/// A daemon's own socket.
pub struct Vty(UnixStream);

impl Vty {
    pub fn open(dir: &Path, daemon: &str) -> Vty {
        let stream = UnixStream::connect(dir.join(format!("{daemon}.vty"))).expect("the daemon runs");
        stream.set_read_timeout(Some(SOON)).expect("a time");
        let mut vty = Vty(stream);
        vty.say("enable");
        vty
    }

    pub fn say(&mut self, command: &str) -> String {
        self.0.write_all(format!("{command}\0").as_bytes()).expect("it listens");
        let mut answer = Vec::new();
        let mut buffer = [0; 65536];
        while answer.len() < 4 || !answer[..answer.len() - 1].ends_with(&[0; 3]) {
            let length = self.0.read(&mut buffer).expect("it answers");
            assert!(length > 0, "the daemon is gone");
            answer.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8_lossy(&answer[..answer.len() - 4]).into_owned()
    }

    pub fn json(&mut self, command: &str) -> serde_json::Value {
        serde_json::from_str(&self.say(command)).unwrap_or_default()
    }
}
