//! Where the servers stand: three hosts, each a network namespace, on a bridge in a namespace of this
//! process's own, from which the load comes. Nothing else can reach them, and all of it goes with the process.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use pvc_process::Cmd;

const DEADLINE: Duration = Duration::from_secs(20);

pub const HOSTS: usize = 3;

/// The hosts of one run. Dropping it takes them away.
pub struct Ground {
    tag: String,
}

/// Moves this process into a network namespace of its own. To be called before any thread is started: a
/// namespace belongs to a thread.
pub fn step_aside() -> Result<()> {
    // SAFETY: plain system call without pointers.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        let error = std::io::Error::last_os_error();
        bail!("a network namespace of its own is needed for the servers ({error}): run this as root");
    }
    Ok(())
}

fn ip(args: &str) -> Result<()> {
    Cmd::new("ip").args(args.split(' ')).run_blocking(DEADLINE)?;
    Ok(())
}

impl Ground {
    pub fn make() -> Result<Ground> {
        let ground = Ground { tag: format!("pvcb{}", std::process::id()) };
        ip("link set lo up")?;
        ip("link add hub type bridge")?;
        ip("addr add 10.211.0.254/24 dev hub")?;
        ip("link set hub up")?;
        for host in 1..=HOSTS {
            let name = ground.name(host);
            ip(&format!("netns add {name}")).context("making a host")?;
            ip(&format!("link add h{host} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set h{host} master hub up"))?;
            for args in [
                format!("addr add {}/24 dev eth0", address(host)),
                "link set eth0 up".into(),
                "link set lo up".into(),
            ] {
                Cmd::new("ip").args(args.split(' ')).in_netns(&name).run_blocking(DEADLINE)?;
            }
        }
        Ok(ground)
    }

    /// The name of a host's network namespace.
    pub fn name(&self, host: usize) -> String {
        format!("{}-{host}", self.tag)
    }

    /// Cuts a host off, without a word to anybody: what it sends and what is sent to it vanishes.
    pub fn cut(&self, host: usize) -> Result<()> {
        ip(&format!("link set h{host} nomaster"))
    }

    pub fn heal(&self, host: usize) -> Result<()> {
        ip(&format!("link set h{host} master hub"))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for host in 1..=HOSTS {
            // One that was never made can't be removed.
            let _ = ip(&format!("netns del {}", self.name(host)));
        }
    }
}

pub fn address(host: usize) -> String {
    format!("10.211.0.{host}")
}
