//! One DHCP server: its files, and its process.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvc_model::network::host::HostPlan;
use pvc_process::Cmd;
use tokio::time::sleep;

use super::config::{Place, Rendered, render};
use super::hook::{SERVER_VARIABLE, SOCKET_VARIABLE};
use super::hosts::Hosts;
use super::wire::Family;
use crate::Blocked;
use crate::files::{account, write_atomic, write_if_changed};
use crate::kept::{Kept, Seen};

/// A server that changes is started anew, with all networks: not more often than this, however many are changed.
const RESTART_PAUSE: Duration = Duration::from_secs(2);
const TEST_WITHIN: Duration = Duration::from_secs(10);
const USER: &str = "dnsmasq";

pub(super) struct Server {
    family: Family,
    dir: PathBuf,
    hosts: Hosts,
    pub kept: Kept,
    /// The digest of the configuration that dnsmasq has found to be right.
    tested: Option<String>,
    /// It is to forget what it has lent, and begin again with what `init` says.
    afresh: bool,
}

/// What is to become of it in this pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Its files are to be right, so that it starts at once.
    Prepared,
    Running,
    Stopped,
}

impl Server {
    pub fn new(family: Family, dir: &Path) -> Server {
        let marker = format!("--conf-file={}", dir.join(format!("{}.conf", family.name())).display());
        Server {
            family,
            dir: dir.to_owned(),
            hosts: Hosts::new(dir.join(format!("{}-hosts", family.name()))),
            kept: Kept::new(family.name(), dir, marker),
            tested: None,
            afresh: false,
        }
    }

    pub fn serves(&self, address: IpAddr) -> bool {
        self.family.has(address)
    }

    /// A lease was taken back that it goes by.
    pub fn begin_afresh(&mut self) {
        self.afresh = true;
    }

    fn conf(&self) -> PathBuf {
        self.dir.join(format!("{}.conf", self.family.name()))
    }

    /// What was done, in words.
    pub async fn pass(
        &mut self,
        plan: &HostPlan,
        wanted: Wanted,
        script: &Path,
        mtus: &HashMap<String, u32>,
    ) -> Result<Vec<String>, Blocked> {
        let name = self.family.name();
        if wanted == Wanted::Stopped {
            let stopped = self.kept.stop().await?;
            return Ok(stopped.then(|| format!("stopped {name}")).into_iter().collect());
        }
        let user = account(USER).map(|_| USER);
        let place = Place { hosts_dir: &self.hosts.dir, script, user, mtus };
        let rendered = render(self.family, plan, &place);
        let done = if rendered.networks == 0 {
            let stopped = self.kept.stop().await?;
            stopped.then(|| format!("stopped {name}: no network needs it")).into_iter().collect()
        } else {
            self.keep(&rendered, wanted).await?
        };
        // The others are served all the same.
        if rendered.complaints.is_empty() {
            Ok(done)
        } else {
            Err(Blocked::new(rendered.complaints.join("; ")))
        }
    }

    async fn keep(&mut self, rendered: &Rendered, wanted: Wanted) -> Result<Vec<String>, Blocked> {
        let name = self.family.name();
        let failed = |error: std::io::Error| Blocked::new(format!("{}: {error}", self.dir.display()));
        let synced = self.hosts.sync(&rendered.hosts).map_err(failed)?;
        let digest = blake3::hash(rendered.conf.as_bytes()).to_hex().to_string();
        let mut done = Vec::new();
        if self.tested.as_ref() != Some(&digest) {
            self.test(&rendered.conf).await?;
            self.tested = Some(digest.clone());
        }
        let written = write_if_changed(&self.conf(), rendered.conf.as_bytes());
        let written = written.map_err(|error| Blocked::new(format!("{}: {error}", self.conf().display())))?;
        if wanted == Wanted::Prepared {
            let stopped = self.kept.stop().await?;
            done.extend(stopped.then(|| format!("stopped {name}")));
            done.extend(written.then(|| format!("prepared {name} for {} networks", rendered.networks)));
            return Ok(done);
        }
        match self.kept.look()? {
            Seen::Running { digest: running, adopted } if running == digest && !self.afresh => {
                // What was lent while nobody listened is told anew.
                if synced.changed > 0 || adopted {
                    self.kept.hang_up().await?;
                    done.push(if adopted {
                        format!("took over {name}")
                    } else {
                        format!("changed {name}'s reservations")
                    });
                } else if synced.added > 0 {
                    done.push(format!("added to {name}'s reservations"));
                }
                return Ok(done);
            }
            Seen::Running { .. } => {
                if let Some(pause) = self.kept.age().and_then(|age| RESTART_PAUSE.checked_sub(age)) {
                    sleep(pause).await;
                }
                self.kept.stop().await?;
                done.push(format!("restarted {name} for {} networks", rendered.networks));
            }
            Seen::Absent => done.push(format!("started {name} for {} networks", rendered.networks)),
        }
        let socket = socket(&self.dir);
        let env = [(SOCKET_VARIABLE, socket.as_path()), (SERVER_VARIABLE, Path::new(name))];
        let args = ["--keep-in-foreground".to_owned(), format!("--conf-file={}", self.conf().display())];
        self.kept.start("dnsmasq", &args, &env, &digest)?;
        self.afresh = false;
        Ok(done)
    }

    /// Asks dnsmasq whether it would take it: one that runs goes on with what it has until then.
    async fn test(&self, conf: &str) -> Result<(), Blocked> {
        let new = self.dir.join(format!("{}.conf.test", self.family.name()));
        let name = self.family.name();
        write_atomic(&new, conf.as_bytes())
            .map_err(|error| Blocked::new(format!("{}: {error}", new.display())))?;
        let cmd = Cmd::new("dnsmasq").arg("--test").arg(format!("--conf-file={}", new.display()));
        cmd.run(TEST_WITHIN).await.map(drop).map_err(|error| Blocked::new(format!("{name}: {error}")))
    }
}

pub(super) fn socket(dir: &Path) -> PathBuf {
    dir.join("events.sock")
}
