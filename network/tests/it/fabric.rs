//! The whole of it: three coordinators, a hypervisor and the site's router with the real routing daemon.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use pvc_model::network::host::Stance;
use pvc_network::frr::state::{self, Place};
use tokio::time::{Instant, sleep};

use crate::lab::{Guest, Lab, can_route, managed, until, vni};

const NETWORKS: [(u32, &[&str]); 2] = [(7, &["10.0.7.1/24", "fd07::1/64"]), (8, &["10.0.8.1/24"])];

async fn lab() -> Lab {
    let networks = NETWORKS.map(|(number, gateways)| managed(number, gateways));
    let lab = Lab::new(&networks).await;
    for host in &lab.hosts {
        until(&format!("{} is as it was told", host.name), || host.is_settled()).await;
    }
    lab
}

/// What is read back of the fabric, for people.
async fn states(lab: &Lab) {
    let site = lab.hosts[0].site.clone();
    let read = || {
        lab.hosts[0].netns.within(|| async {
            let places = state::places(&site, vni(7)).await.expect("zebra answers");
            (state::read(&site, &lab.hosts[0].plan).await.expect("the daemons answer"), places)
        })
    };
    until("BFD watches all", || read().0.peers.iter().all(|peer| peer.alive == Some(true))).await;
    let (state, places) = read();
    let told: Vec<String> = state
        .peers
        .iter()
        .map(|peer| {
            let (address, kind, alive) = (peer.address, peer.kind, peer.alive);
            format!("{address} {kind:?} {} {} {} {alive:?}", peer.name, peer.asn, peer.established)
        })
        .collect();
    assert_eq!(
        told,
        [
            "10.254.0.254 Upstream router4 64999 true Some(true)",
            "10.255.0.2 Coordinator hv2 65500 true Some(true)",
            "10.255.0.3 Coordinator hv3 65500 true Some(true)",
            "10.255.0.4 Hypervisor hv4 65500 true Some(true)",
            "fd54::254 Upstream router6 64999 true Some(true)",
        ]
    );
    assert_eq!(state.asn, 65_500);
    assert_eq!(state.networks.iter().map(|network| network.vni).collect::<Vec<_>>(), [7, 8]);
    let mut hosts = state.networks[0].hosts.clone();
    hosts.sort();
    assert_eq!(
        hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.255.0.2", "10.255.0.3", "10.255.0.4"]
    );
    let place = |mac: &str| places.get(&mac.parse().expect("an address")).cloned();
    assert_eq!(place("52:54:00:00:07:09"), Some(Place::Here("nic525400000709".to_owned())));
    assert_eq!(place("52:54:00:00:07:05"), Some(Place::At("10.255.0.4".parse().expect("an address"))));
}

/// How the router sees a subnet: by whom, with which metric, and whether it is the best.
fn ways(lab: &Lab, family: &str, subnet: &str) -> BTreeMap<String, (u64, bool)> {
    let shown = lab.router_vty().json(&format!("show bgp {family} unicast {subnet} json"));
    let paths = shown["paths"].as_array().cloned().unwrap_or_default();
    let way = |path: &serde_json::Value| {
        let from = path["peer"]["peerId"].as_str()?.to_owned();
        Some((from, (path["metric"].as_u64().unwrap_or(0), path["bestpath"]["overall"] == true)))
    };
    paths.iter().filter_map(way).collect()
}

/// Whether it has the way by all three coordinators, and likes this one best.
fn prefers(lab: &Lab, family: &str, subnet: &str, hosts: &str, best: u32) -> bool {
    let wanted: Vec<String> = (1..=3)
        .map(|host| format!("{hosts}{host} {} {}", if host == best { 0 } else { 100 }, host == best))
        .collect();
    told(&ways(lab, family, subnet)) == wanted
}

fn told(ways: &BTreeMap<String, (u64, bool)>) -> Vec<String> {
    ways.iter().map(|(from, (metric, best))| format!("{from} {metric} {best}")).collect()
}

#[tokio::test]
async fn guests_reach_each_other_and_the_world_whoever_carries_the_gateway() {
    if !can_route() {
        return;
    }
    let began = Instant::now();
    let mut lab = lab().await;
    println!("all hosts as told after {:.1?}", began.elapsed());
    until("the router knows the way over every coordinator, and likes the primary best", || {
        prefers(&lab, "ipv4", "10.0.7.0/24", "10.254.0.", 1)
            && prefers(&lab, "ipv6", "fd07::/64", "fd54::", 1)
    })
    .await;
    println!("the router knows all after {:.1?}", began.elapsed());
    // Only client networks are told to the outside, and of the outside nothing that is inside.
    for subnet in ["10.255.0.0/24", "10.254.0.0/24"] {
        assert!(ways(&lab, "ipv4", subnet).is_empty(), "{subnet}");
    }
    let learnt = lab.hosts[1].vty("bgpd").json("show bgp ipv4 unicast json");
    assert!(learnt["routes"]["198.51.100.0/24"].is_array(), "{learnt}");
    assert!(learnt["routes"]["10.0.7.128/25"].is_null(), "{learnt}");

    // On the hypervisor, on a coordinator that stands by, and on the primary.
    let guests: Vec<Guest> = [(3, 5), (1, 6), (0, 9)]
        .iter()
        .map(|(host, number)| {
            let mac = format!("52:54:00:00:07:{number:02x}");
            let guest = Guest::new(&lab.hosts[*host].netns, "vmbr7", &mac, 1550);
            guest.has(&format!("10.0.7.{number}/24"), "10.0.7.1");
            guest.netns.ip(&["addr", "add", &format!("fd07::{number}/64"), "dev", "eth0", "nodad"]);
            guest.netns.ip(&["route", "add", "default", "via", "fd07::1"]);
            guest
        })
        .collect();
    for address in
        ["10.0.7.6", "10.0.7.9", "10.0.7.1", "198.51.100.1", "fd07::6", "fd07::1", "2001:db8:51::1"]
    {
        until(&format!("the hypervisor's guest reaches {address}"), || guests[0].reaches(address)).await;
    }
    states(&lab).await;

    // As much as one frame carries, and no more.
    let fits =
        |bytes: &str| guests[0].netns.run("ping", &["-n", "-c1", "-W2", "-Mdo", "-s", bytes, "10.0.7.9"]);
    assert!(fits("1522").is_some(), "1550 bytes with the header fit in 1600 less 50");
    assert!(fits("1523").is_none());

    // A planned hand-over: the new one takes the gateways first.
    let prober = Prober::start(&lab, "10.0.7.5", Duration::from_secs(3));
    sleep(Duration::from_millis(800)).await;
    lab.hosts[1].tell(|plan| plan.stance = Stance::Primary);
    sleep(Duration::from_millis(150)).await;
    lab.hosts[0].tell(|plan| plan.stance = Stance::Standby);
    let gap = prober.gap();
    println!("planned hand-over: {gap:.0?} without an answer");
    until("the router prefers the new one", || {
        prefers(&lab, "ipv4", "10.0.7.0/24", "10.254.0.", 2)
            && prefers(&lab, "ipv6", "fd07::/64", "fd54::", 2)
    })
    .await;
    for address in ["10.0.7.1", "198.51.100.1", "fd07::1", "2001:db8:51::1"] {
        until(&format!("the hypervisor's guest reaches {address} over the new one"), || {
            guests[0].reaches(address)
        })
        .await;
    }

    // Cut off: it steps back.
    lab.hosts[1].tell(|plan| plan.stance = Stance::CutOff);
    lab.hosts[2].tell(|plan| plan.stance = Stance::Primary);
    until("the router likes the one that was cut off least", || {
        told(&ways(&lab, "ipv4", "10.0.7.0/24"))
            == ["10.254.0.1 100 false", "10.254.0.2 200 false", "10.254.0.3 0 true"]
    })
    .await;
}

#[tokio::test]
async fn cables_and_hosts_that_fail_are_got_round() {
    if !can_route() {
        return;
    }
    let mut lab = lab().await;
    until("the router likes the primary best", || prefers(&lab, "ipv4", "10.0.7.0/24", "10.254.0.", 1)).await;
    let guest = Guest::new(&lab.hosts[3].netns, "vmbr7", "52:54:00:00:07:05", 1550);
    guest.has("10.0.7.5/24", "10.0.7.1");
    until("the guest reaches the world", || guest.reaches("198.51.100.1")).await;

    until("BFD watches all", || (0..4).all(|host| watched(&lab, host))).await;

    // The primary's cable to the router: BFD finds out, and another coordinator forwards, both ways.
    let prober = Prober::start(&lab, "10.0.7.5", Duration::from_secs(5));
    sleep(Duration::from_millis(800)).await;
    lab.cut(0, "up", true);
    let gap = prober.gap();
    println!("the primary's cable to the router is cut: {gap:.0?} without an answer");
    until("the guest reaches the world by another coordinator", || guest.reaches("198.51.100.1")).await;
    lab.cut(0, "up", false);
    until("the router likes the primary best again", || prefers(&lab, "ipv4", "10.0.7.0/24", "10.254.0.", 1))
        .await;

    // Somebody deletes the bridge with the gateway: it comes back with all that was on it.
    let began = Instant::now();
    lab.hosts[0].netns.ip(&["link", "del", "vmbr7"]);
    until("the guest reaches the world again", || guest.reaches("198.51.100.1")).await;
    println!("the gateway's bridge was deleted: {:.0?} until all was as before", began.elapsed());

    // The primary is gone at once; half a second later another host is told to be it.
    let prober = Prober::start(&lab, "10.0.7.5", Duration::from_secs(6));
    sleep(Duration::from_millis(800)).await;
    lab.cut(0, "up", true);
    lab.cut(0, "cl", true);
    sleep(Duration::from_millis(500)).await;
    lab.hosts[2].tell(|plan| plan.stance = Stance::Primary);
    let gap = prober.gap();
    println!("the primary is gone, another one after 0.5 s: {gap:.0?} without an answer");
    until("the guest reaches the world by the new primary", || guest.reaches("198.51.100.1")).await;
}

/// Whether BFD watches all of a host's peers: it takes up to some seconds after the session, and what fails before
/// is found only when the session's own time is out.
fn watched(lab: &Lab, host: usize) -> bool {
    let peers =
        lab.hosts[host].vty("bfdd").json("show bfd peers json").as_array().cloned().unwrap_or_default();
    let wanted = if host < 3 { 5 } else { 3 };
    peers.len() == wanted && peers.iter().all(|peer| peer["status"] == "up")
}

/// The world behind the router asks an address each 5 ms.
struct Prober(std::thread::JoinHandle<Duration>);

impl Prober {
    fn start(lab: &Lab, address: &'static str, lasts: Duration) -> Prober {
        let netns = lab.router.name.clone();
        Prober(std::thread::spawn(move || probe(&netns, address, lasts)))
    }

    /// The longest time without an answer.
    fn gap(self) -> Duration {
        self.0.join().expect("it ends")
    }
}

fn probe(netns: &str, address: &str, lasts: Duration) -> Duration {
    let seconds = lasts.as_secs().to_string();
    let ends = SystemTime::now() + lasts;
    let output = pvc_process::Cmd::new("ping")
        .args(["-n", "-D", "-i0.005", "-W1", "-I198.51.100.1", "-w", &seconds, address])
        .in_netns(netns)
        .accept_codes([0, 1])
        .run_blocking(lasts * 4)
        .expect("ping runs");
    let mut times: Vec<f64> = output
        .stdout_text()
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.split(']').next()?.parse().ok())
        .collect();
    times.push(ends.duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_secs_f64());
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(times.len() > 20, "hardly an answer: {}", output.stdout_text());
    Duration::from_secs_f64(gap)
}
