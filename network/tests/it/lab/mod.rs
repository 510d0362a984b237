//! Hosts in network namespaces, joined by switches.

mod frr;
mod guest;
mod plan;
mod whole;

use std::fs::File;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use pvc_process::Cmd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use frr::{Frr, Vty};
pub use guest::Guest;
pub use plan::{bridged, managed, name, plan, port, site, vni};
pub use whole::Lab;

/// How long programs that end at once may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const PREFIX: &str = "pvct-";

/// Whether such tests can be run here; says why not.
pub fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: making network namespaces needs root");
    }
    root
}

/// Whether those with the routing daemon can.
pub fn can_route() -> bool {
    let there = std::path::Path::new("/usr/lib/frr/bgpd").exists();
    if !there {
        eprintln!("skipped: FRRouting is not installed (scripts/install-deps.sh test)");
    }
    can_run() && there
}

/// A network namespace; gone with this value.
pub struct Netns {
    pub name: String,
}

impl Netns {
    pub fn new(label: &str) -> Netns {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        clear_left_behind();
        let name =
            format!("{PREFIX}{}-{}-{label}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let netns = Netns { name };
        netns.ip(&["link", "set", "lo", "up"]);
        netns
    }

    /// `ip` in it.
    pub fn ip(&self, args: &[&str]) -> String {
        ip(&[&["-n", &self.name], args].concat())
    }

    /// Any program in it; None: it failed.
    pub fn run(&self, program: &str, args: &[&str]) -> Option<String> {
        let output = Cmd::new(program).args(args).in_netns(&self.name).run_blocking(SOON);
        output.ok().map(|output| output.stdout_text().into_owned())
    }

    pub fn set(&self, setting: &str, value: &str) {
        let set = format!("{setting}={value}");
        assert!(self.run("sysctl", &["-qw", &set]).is_some(), "{set}");
    }

    /// Runs code of ours in it, on a thread of its own: a thread's sockets belong to the namespace that it was in.
    pub fn within<T, F>(&self, code: impl FnOnce() -> F + Send) -> T
    where
        T: Send,
        F: Future<Output = T>,
    {
        let netns = File::open(format!("/run/netns/{}", self.name)).expect("the namespace is there");
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                use std::os::fd::AsFd;
                move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(code())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Cmd::new("ip").args(["netns", "del", &self.name]).run_blocking(SOON);
    }
}

/// A cable between two namespaces.
pub fn cable(a: &Netns, a_device: &str, b: &Netns, b_device: &str, mtu: u32) {
    let mtu = mtu.to_string();
    let one = ["link", "add", "name", a_device, "mtu", &mtu, "netns", &a.name, "type", "veth"];
    ip(&[&one[..], &["peer", "name", b_device, "mtu", &mtu, "netns", &b.name]].concat());
    a.ip(&["link", "set", a_device, "up"]);
    b.ip(&["link", "set", b_device, "up"]);
}

fn ip(args: &[&str]) -> String {
    let output = Cmd::new("ip").args(args).run_blocking(SOON).unwrap_or_else(|error| panic!("{error}"));
    output.stdout_text().into_owned()
}

/// Namespaces of a run that was killed.
fn clear_left_behind() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = Cmd::new("ip").args(["netns", "del", &name]).run_blocking(SOON);
        }
    }
}

/// Waits until something holds; for as long as a person would.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = tokio::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(40), "not within 40 s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
