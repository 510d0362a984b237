//! Three coordinators, a hypervisor, and the site's router, as hosts of a cluster.
//!
//! ```text
//! hv1 hv2 hv3 (coordinators), hv4 ── cluster0 10.255.0.0/24 ── switch
//! hv1 hv2 hv3, router             ── up0      10.254.0.0/24, fd54::/64 ── switch
//! ```

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use pvc_model::network::Network;
use pvc_model::network::fabric::{Fabric, Peer};
use pvc_model::network::host::{HostPlan, Stance};
use pvc_network::drive::{Drivers, Health};
use pvc_network::{Site, Wake, frr, gateway, links};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard, Notify, watch};

use super::frr::{Frr, Vty};
use super::{Netns, cable, name, site};

const MTU: u32 = 1600;
const ROUTER: &str = "frr defaults datacenter
router bgp 64999
 bgp router-id 10.254.0.254
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
 neighbor CLUSTER peer-group
 neighbor CLUSTER remote-as 65500
 neighbor CLUSTER bfd
 neighbor CLUSTER bfd profile pvc
 bgp listen range 10.254.0.0/24 peer-group CLUSTER
 bgp listen range fd54::/64 peer-group CLUSTER
 address-family ipv4 unicast
  network 198.51.100.0/24
  network 10.0.7.128/25
  neighbor CLUSTER activate
  maximum-paths 4
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:51::/64
  neighbor CLUSTER activate
 exit-address-family
exit
bfd
 profile pvc
  transmit-interval 250
  receive-interval 250
 exit
exit
";

pub struct Host {
    pub name: String,
    pub address: String,
    pub netns: Netns,
    pub site: Site,
    pub frr: Frr,
    pub plan: HostPlan,
    told: watch::Sender<Option<Arc<HostPlan>>>,
    pub health: watch::Receiver<Health>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
    _dir: TempDir,
}

pub struct Lab {
    pub hosts: Vec<Host>,
    pub router: Netns,
    switch: Netns,
    _router_frr: Frr,
    router_dir: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// One lab at a time: several would starve each other's BFD.
static ALONE: Mutex<()> = Mutex::const_new(());

impl Host {
    async fn new(node: &str, address: &str, switch: &Netns, upstream: Option<[&str; 2]>) -> Host {
        let netns = Netns::new(node);
        let dir = tempfile::tempdir().expect("a directory");
        cable(&netns, "cluster0", switch, &format!("{node}-cl"), MTU);
        switch.ip(&["link", "set", &format!("{node}-cl"), "master", "sw-cl"]);
        netns.ip(&["addr", "add", &format!("{address}/24"), "dev", "cluster0"]);
        if let Some(addresses) = upstream {
            cable(&netns, "up0", switch, &format!("{node}-up"), MTU);
            switch.ip(&["link", "set", &format!("{node}-up"), "master", "sw-up"]);
            addresses
                .iter()
                .for_each(|address| drop(netns.ip(&["addr", "add", address, "dev", "up0", "nodad"])));
        }
        let site = site(node, address, dir.path());
        let frr = Frr::start(&netns, dir.path()).await;
        let (told, plan) = watch::channel(None);
        let stop = Arc::new(Notify::new());
        let (thread, health) = drive(&netns, site.clone(), plan, stop.clone());
        let plan = HostPlan::default();
        Host {
            name: node.to_owned(),
            address: address.to_owned(),
            netns,
            site,
            frr,
            plan,
            told,
            health,
            stop,
            thread: Some(thread),
            _dir: dir,
        }
    }

    pub fn tell(&mut self, change: impl FnOnce(&mut HostPlan)) {
        change(&mut self.plan);
        self.plan.epoch += 1;
        self.told.send_replace(Some(Arc::new(self.plan.clone())));
    }

    /// Whether all parts have found the host to be as it was told last.
    pub fn is_settled(&self) -> bool {
        let told = Some((self.plan.stance, self.plan.epoch));
        self.health.borrow().parts.values().all(|part| part.settled == told)
    }

    pub fn vty(&self, daemon: &str) -> Vty {
        Vty::open(&self.site.frr_run_dir, daemon)
    }
}

/// Runs the parts as the daemon does, in the host's namespace.
fn drive(
    netns: &Netns,
    site: Site,
    plan: watch::Receiver<Option<Arc<HostPlan>>>,
    stop: Arc<Notify>,
) -> (JoinHandle<()>, watch::Receiver<Health>) {
    let namespace = File::open(format!("/run/netns/{}", netns.name)).expect("it is there");
    let (health, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut drivers = Drivers::new(plan);
            let wakes = [(); 3].map(|()| Arc::new(Notify::new()));
            drivers.add(Box::new(links::Links::new(site.clone())), wakes[0].clone());
            drivers.add(Box::new(gateway::Gateway::new(site.clone())), wakes[1].clone());
            drivers.add(Box::new(frr::Frr::new(site)), wakes[2].clone());
            health.send(drivers.health()).expect("it is waited for");
            let mut wake = Wake::open().expect("a socket");
            loop {
                tokio::select! {
                    () = stop.notified() => return,
                    heard = wake.changed() => assert!(heard),
                }
                wakes.iter().for_each(|wake| wake.notify_one());
            }
        });
    });
    (thread, told.recv().expect("the thread runs"))
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Lab {
    /// The first host is the primary, the second and third stand by, the fourth is a hypervisor.
    pub async fn new(networks: &[Arc<Network>]) -> Lab {
        let alone = ALONE.lock().await;
        let switch = Netns::new("switch");
        for bridge in ["sw-cl", "sw-up"] {
            switch.ip(&[
                "link",
                "add",
                "name",
                bridge,
                "mtu",
                &MTU.to_string(),
                "type",
                "bridge",
                "mcast_snooping",
                "0",
            ]);
            switch.ip(&["link", "set", bridge, "up"]);
        }
        for family in ["iptables", "ip6tables", "arptables"] {
            let _ = switch.run("sysctl", &["-qw", &format!("net.bridge.bridge-nf-call-{family}=0")]);
        }
        let router = Netns::new("router");
        cable(&router, "up0", &switch, "router-up", MTU);
        switch.ip(&["link", "set", "router-up", "master", "sw-up"]);
        for address in ["10.254.0.254/24", "fd54::254/64"] {
            router.ip(&["addr", "add", address, "dev", "up0", "nodad"]);
        }
        for address in ["198.51.100.1/24", "2001:db8:51::1/64"] {
            router.ip(&["addr", "add", address, "dev", "lo"]);
        }
        router.set("net.ipv4.ip_forward", "1");
        router.set("net.ipv6.conf.all.forwarding", "1");
        let router_dir = tempfile::tempdir().expect("a directory");
        std::fs::write(router_dir.path().join("frr.conf"), ROUTER).expect("a file");
        let router_frr = Frr::start(&router, router_dir.path()).await;
        let mut hosts = Vec::new();
        for number in 1..=3 {
            let upstream = [format!("10.254.0.{number}/24"), format!("fd54::{number}/64")];
            let upstream = [upstream[0].as_str(), upstream[1].as_str()];
            let (node, address) = (format!("hv{number}"), format!("10.255.0.{number}"));
            hosts.push(Host::new(&node, &address, &switch, Some(upstream)).await);
        }
        hosts.push(Host::new("hv4", "10.255.0.4", &switch, None).await);
        let coordinators: Vec<_> = hosts[..3]
            .iter()
            .map(|host| (name(&host.name), host.address.parse().expect("an address")))
            .collect();
        for (number, host) in hosts.iter_mut().enumerate() {
            host.tell(|plan| {
                plan.stance = [Stance::Primary, Stance::Standby, Stance::Standby, Stance::Hypervisor][number];
                plan.coordinators = coordinators.clone();
                if number < 3 {
                    plan.hypervisors = vec![(name("hv4"), [10, 255, 0, 4].into())];
                }
                plan.networks = networks.to_vec();
                plan.fabric = fabric();
            });
        }
        Lab { hosts, router, switch, _router_frr: router_frr, router_dir, _alone: alone }
    }

    pub fn router_vty(&self) -> Vty {
        Vty::open(self.router_dir.path(), "bgpd")
    }

    /// Cuts a cable of a host's, or mends it: "cl" to the cluster's network, "up" to the router's. Nothing passes, and nobody is told.
    pub fn cut(&self, host: usize, cable: &str, cut: bool) {
        let device = format!("{}-{cable}", self.hosts[host].name);
        let state = if cut { "0" } else { "3" };
        self.switch.run("bridge", &["link", "set", "dev", &device, "state", state]).expect("a bridge's port");
    }
}

fn fabric() -> Fabric {
    let peer = |label: &str, address: &str| Peer {
        name: name(label),
        address: address.parse().expect("an address"),
        asn: 64_999,
        bfd: true,
    };
    Fabric { peers: vec![peer("router4", "10.254.0.254"), peer("router6", "fd54::254")], ..Fabric::default() }
}
