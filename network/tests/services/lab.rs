//! A host and its guests as network namespaces that vanish with the test, and plans for them.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pvc_model::network::host::{HostPlan, Stance};
use pvc_model::network::lease::{Lease, LeaseReport};
use pvc_model::network::{DhcpRange, Managed, Network, NetworkKind, NetworkSpec, Reservation, Subnet, Vni};
use pvc_model::{Meta, Name, Timestamp, name::Uid};
use pvc_network::{Outcome, Part, Site};
use pvc_process::{Cmd, Daemon, DaemonId, DaemonLogs};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Nobody would wait longer; a loaded machine may need much of it.
pub const LONG: Duration = Duration::from_secs(60);

/// This test's own directory. What still runs when it ends is ended.
pub struct Lab {
    pub dir: TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let dir = self.dir.path().display().to_string();
        let Ok(processes) = fs::read_dir("/proc") else { return };
        for pid in processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()) {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&dir) && pid != std::process::id() {
                let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
                let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
            }
        }
    }
}

/// Runs a test in a network namespace of its own.
pub fn in_lab<F: Future<Output = ()>>(test: impl FnOnce(Lab) -> F + Send + 'static) {
    let run = move || {
        // SAFETY: takes a number; this thread is ours alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            eprintln!("skipped, no network namespaces here: {}", std::io::Error::last_os_error());
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::Builder::new().prefix("pvct-").tempdir().unwrap();
            // Servers without privileges read in it.
            fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            ip("link set lo up").await;
            test(Lab { dir }).await;
        });
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

pub async fn ip(args: &str) {
    Cmd::new("ip").args(args.split(' ')).run(LONG).await.unwrap();
}

/// A file of /proc/sys, by `sysctl`, which is of the namespace that the program is in.
async fn sysctl(place: Option<u32>, setting: &str) {
    let cmd = place.map_or_else(|| Cmd::new("sysctl"), |pid| nsenter(pid).arg("sysctl"));
    cmd.args(["-q", "-w", setting]).run(LONG).await.unwrap();
}

fn nsenter(pid: u32) -> Cmd {
    Cmd::new("nsenter").arg(format!("--net=/proc/{pid}/ns/net")).arg("--")
}

impl Lab {
    pub fn site(&self, node: &str, address: &str) -> Site {
        let dir = self.dir.path().join(node);
        Site {
            node: name(node),
            address: address.parse().unwrap(),
            cluster_device: "lo".into(),
            upstream_device: None,
            storage_device: None,
            bridge_device: None,
            state_dir: dir.join("state"),
            run_dir: dir.join("run"),
            frr_dir: dir.join("frr"),
            frr_run_dir: dir.join("frr-run"),
            frr_snippets_dir: dir.join("frr.conf.d"),
            program: PathBuf::from(env!("CARGO_BIN_EXE_pvc-dhcp-event")),
        }
    }

    /// A network's bridge; nothing in it yet.
    pub async fn bridge(&self, network: &Network) {
        let bridge = network.vni.bridge();
        for setting in ["iptables", "ip6tables", "arptables"] {
            // Where it is on, it would be in the way; where it is not, there is no such setting.
            let setting = format!("net.bridge.bridge-nf-call-{setting}=0");
            let _ = Cmd::new("sysctl").args(["-q", "-w", &setting]).run(LONG).await;
        }
        sysctl(None, "net.ipv6.conf.default.accept_dad=0").await;
        ip(&format!("link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")).await;
        // Set so, it does not follow its ports'.
        ip(&format!("link set {bridge} mtu 1450 up")).await;
    }

    pub async fn gateways(&self, network: &Network) {
        for gateway in network.managed().unwrap().gateways() {
            let nodad = if gateway.addr().is_ipv6() { " nodad" } else { "" };
            ip(&format!("address replace {gateway} dev {}{nodad}", network.vni.bridge())).await;
        }
    }

    /// A guest on the bridge, with this MAC.
    pub async fn guest(&self, network: &Network, label: &str, mac: &str) -> Guest {
        let dir = self.dir.path().join(label);
        fs::create_dir_all(&dir).unwrap();
        // It ends by itself should nobody end it.
        let holder = Cmd::new("unshare").args(["--net", "sleep", "300"]);
        let holder = holder.spawn_daemon(&DaemonLogs::joined(dir.join("holder.log"))).unwrap();
        let pid = holder.pid();
        let ours = fs::read_link("/proc/thread-self/ns/net").unwrap();
        until("the guest's namespace", || {
            fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|its| its != ours)
        })
        .await;
        ip(&format!("link add nic{label} type veth peer name eth{label}")).await;
        ip(&format!("link set nic{label} master {} up", network.vni.bridge())).await;
        ip(&format!("link set eth{label} netns {pid} name eth0 address {mac}")).await;
        sysctl(Some(pid), "net.ipv6.conf.eth0.accept_dad=0").await;
        nsenter(pid).args(["ip", "link", "set", "eth0", "up"]).run(LONG).await.unwrap();
        Guest { holder, dir, label: label.to_owned() }
    }
}

pub struct Guest {
    holder: Daemon,
    pub dir: PathBuf,
    label: String,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.holder.id().signal(9);
        let _ = self.holder.exited();
    }
}

impl Guest {
    pub fn cmd(&self) -> Cmd {
        nsenter(self.holder.pid())
    }

    /// Its IPv6 addresses, as `ip` shows them.
    pub async fn addresses6(&self) -> String {
        let cmd = self.cmd().args(["ip", "-6", "-brief", "address", "show", "dev", "eth0"]);
        cmd.run(LONG).await.unwrap().stdout_text().into_owned()
    }

    /// What DHCP gives it: the variables of the client's script.
    pub async fn dhcp4(&self, wish: Option<&str>) -> Result<BTreeMap<String, String>, String> {
        let (script, told) = self.script("env > $TOLD; [ \"$1\" != bound ] || mv $TOLD $TOLD.bound");
        let _ = fs::remove_file(told.with_extension("bound"));
        let mut cmd = self.cmd().args(["udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "8", "-T", "1", "-s"]);
        cmd = cmd
            .arg(&script)
            .arg("-x")
            .arg(format!("hostname:{}", self.label))
            .args(["-O", "mtu", "-O", "ntpsrv"]);
        if let Some(wish) = wish {
            cmd = cmd.args(["-r", wish]);
        }
        cmd.run(LONG).await.map_err(|error| error.to_string())?;
        Ok(variables(&fs::read_to_string(told.with_extension("bound")).map_err(|error| error.to_string())?))
    }

    pub async fn dhcp6(&self) -> Result<BTreeMap<String, String>, String> {
        let (script, told) =
            self.script("[ \"$reason\" != BOUND6 ] || { env > $TOLD; mv $TOLD $TOLD.bound; }");
        let file = |name: &str| self.dir.join(name).display().to_string();
        for name in ["told.bound", "leases6"] {
            let _ = fs::remove_file(self.dir.join(name));
        }
        fs::write(self.dir.join("conf6"), format!("send fqdn.fqdn \"{}\";\n", self.label)).unwrap();
        let args = [
            "-6".to_owned(),
            "-1".into(),
            "-D".into(),
            "LL".into(),
            "-sf".into(),
            script.display().to_string(),
            "-lf".into(),
            file("leases6"),
            "-pf".into(),
            file("pid6"),
            "-cf".into(),
            file("conf6"),
            "eth0".into(),
        ];
        self.cmd().arg("dhclient").args(&args).run(LONG).await.map_err(|error| error.to_string())?;
        // It has gone into the background; without a release.
        let pid = fs::read_to_string(self.dir.join("pid6")).unwrap_or_default().trim().parse().ok();
        if let Some(id) = pid.and_then(DaemonId::of_running) {
            let pid = i32::try_from(id.pid()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        Ok(variables(&fs::read_to_string(told.with_extension("bound")).map_err(|error| error.to_string())?))
    }

    /// Touches nothing of the machine's own.
    fn script(&self, body: &str) -> (PathBuf, PathBuf) {
        let (script, told) = (self.dir.join("script"), self.dir.join("told"));
        fs::write(&script, format!("#!/bin/sh\nTOLD={}\n{body}\n", told.display())).unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        (script, told)
    }
}

fn variables(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().filter_map(pair).collect()
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {LONG:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Passes until all is as it should be; what was done on the way.
pub async fn settle(part: &mut impl Part, plan: &HostPlan) -> Vec<String> {
    let mut done = Vec::new();
    let end = Instant::now() + LONG;
    loop {
        match part.pass(plan).await {
            Ok(Outcome::Settled) => return done,
            Ok(Outcome::Progressed(words)) => done.extend(words),
            Err(blocked) => assert!(Instant::now() < end, "{blocked}"),
        }
        assert!(Instant::now() < end, "it does not settle: {done:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn meta(name: Name, revision: u64) -> Meta {
    Meta {
        name,
        uid: Uid::from_random(u128::from(revision)),
        revision,
        created: Timestamp(revision),
        updated: Timestamp(revision),
    }
}

/// A network with both families: 10.V.0.0/24 and fd00:V::/64, the gateway first, .100 and upwards lent.
pub fn network(vni: u32) -> Network {
    let (high, low) = (vni / 250, vni % 250);
    let subnet = |net: &str, gateway: &str, first: &str, last: &str| Subnet {
        subnet: net.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        dhcp: Some(DhcpRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            lease_seconds: 3600,
        }),
    };
    let v4 = format!("10.{high}.{low}");
    let v6 = format!("fd00:{vni:x}::");
    let managed = Managed {
        domain: format!("net{vni}.test"),
        name_servers: vec![],
        ntp_servers: vec![],
        ipv4: Some(subnet(
            &format!("{v4}.0/24"),
            &format!("{v4}.1"),
            &format!("{v4}.100"),
            &format!("{v4}.199"),
        )),
        ipv6: Some(subnet(&format!("{v6}/64"), &format!("{v6}1"), &format!("{v6}100"), &format!("{v6}1ff"))),
        reservations: vec![],
        acl: Default::default(),
    };
    let vni = Vni::new(vni).unwrap();
    let spec = NetworkSpec {
        description: name(&format!("net{vni}")),
        mtu: None,
        kind: NetworkKind::Managed(managed),
    };
    Network { meta: meta(vni.name(), 10), vni, spec }
}

pub fn change(network: &Network, change: impl FnOnce(&mut Managed)) -> Network {
    let mut network = network.clone();
    network.meta.revision += 1;
    if let NetworkKind::Managed(managed) = &mut network.spec.kind {
        change(managed);
    }
    network
}

pub fn reservation(mac: &str, ipv4: &str, hostname: &str) -> Reservation {
    Reservation { mac: mac.parse().unwrap(), ipv4: ipv4.parse().ok(), ipv6: None, hostname: name(hostname) }
}

pub fn plan(stance: Stance, networks: &[&Network]) -> HostPlan {
    let networks: Vec<_> = networks.iter().map(|network| Arc::new((*network).clone())).collect();
    let revision = networks.iter().map(|network| network.meta.revision).max().unwrap_or(0);
    HostPlan { stance, cluster: 7, revision, networks, ..HostPlan::default() }
}

/// As the store has it.
pub fn stored(lent: &LeaseReport, revision: u64) -> Arc<Lease> {
    Arc::new(Lease::of(meta(Lease::name(lent.network, lent.address), revision), lent))
}

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}
