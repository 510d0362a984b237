//! A guest that moves between hosts stays in reach, however it and the host that it leaves behave.

use std::time::Duration;

use pvc_model::network::Attachment;
use tokio::time::{Instant, sleep};

use crate::lab::{Guest, Lab, Netns, cable, can_route, managed, port, until, vni};

const MAC: &str = "52:54:00:00:00:77";
const NIC: &str = "nic525400000077";
const MOVES: usize = 21;

/// What a guest that arrives says, and how the host that it has left behaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// One frame, and the old device goes a moment later: in 3 of 40 cases the daemons then agree on the wrong host.
    Speaks,
    /// Not a word; the old device goes.
    Silent,
    /// Not a word, and the old device stays for now.
    Left,
}

/// A guest with a leg on each of two hosts, of which one is alive.
struct Mover {
    netns: Netns,
    hosts: [usize; 2],
    at: usize,
}

impl Mover {
    fn new(lab: &Lab, hosts: [usize; 2]) -> Mover {
        let netns = Netns::new("mover");
        netns.ip(&["link", "add", "name", "inner", "address", MAC, "type", "bridge", "mcast_snooping", "0"]);
        for family in ["iptables", "ip6tables", "arptables"] {
            let _ = netns.run("sysctl", &["-qw", &format!("net.bridge.bridge-nf-call-{family}=0")]);
        }
        netns.set("net.ipv6.conf.all.disable_ipv6", "1");
        for (leg, host) in hosts.iter().enumerate() {
            cable(&lab.hosts[*host].netns, NIC, &netns, &format!("leg{leg}"), 1550);
            netns.ip(&["link", "set", &format!("leg{leg}"), "master", "inner"]);
        }
        netns.ip(&["link", "set", "inner", "up"]);
        netns.ip(&["addr", "add", "10.0.7.77/24", "dev", "inner"]);
        let mover = Mover { netns, hosts, at: 0 };
        mover.alive(0);
        mover
    }

    /// Only this leg carries anything.
    fn alive(&self, leg: usize) {
        for (number, state) in [(1 - leg, "0"), (leg, "3")] {
            let device = format!("leg{number}");
            self.netns
                .run("bridge", &["link", "set", "dev", &device, "state", state])
                .expect("a bridge's port");
        }
    }

    fn attach(&self, lab: &Lab, leg: usize, attached: bool) {
        let how: &[&str] = if attached { &["master", "vmbr7"] } else { &["nomaster"] };
        lab.hosts[self.hosts[leg]].netns.ip(&[&["link", "set", NIC], how].concat());
    }

    async fn go(&mut self, lab: &mut Lab, manner: Manner) {
        let (from, to) = (self.at, 1 - self.at);
        self.attach(lab, to, true);
        self.alive(to);
        if matches!(manner, Manner::Speaks) {
            let _ = self.netns.run("arping", &["-U", "-c1", "-w1", "-I", "inner", "10.0.7.77"]);
        }
        lab.hosts[self.hosts[from]].tell(|plan| plan.ports.clear());
        let mut here = port("mover", Attachment::Network(vni(7)));
        here.mac = MAC.parse().expect("an address");
        lab.hosts[self.hosts[to]].tell(|plan| plan.ports = vec![here]);
        sleep(Duration::from_millis(250)).await;
        if !matches!(manner, Manner::Left) {
            self.attach(lab, from, false);
        }
        self.at = to;
    }
}

#[tokio::test]
async fn a_guest_that_moves_to_and_fro_stays_in_reach() {
    if !can_route() {
        return;
    }
    let mut lab = Lab::new(&[managed(7, &["10.0.7.1/24"])]).await;
    for host in &lab.hosts {
        until(&format!("{} is as it was told", host.name), || host.is_settled()).await;
    }
    let mut mover = Mover::new(&lab, [3, 2]);
    mover.attach(&lab, 0, true);
    let other = Guest::new(&lab.hosts[1].netns, "vmbr7", "52:54:00:00:00:02", 1550);
    other.has("10.0.7.2/24", "10.0.7.1");
    until("it is in reach", || other.reaches("10.0.7.77")).await;
    let mut longest = Duration::ZERO;
    for number in 0..MOVES {
        let manner = [Manner::Speaks, Manner::Silent, Manner::Left][number % 3];
        mover.go(&mut lab, manner).await;
        let began = Instant::now();
        // It says nothing of its own; so it is reached only if the way leads to it.
        let answered = other.netns.run("ping", &["-n", "-c1", "-i0.05", "-w8", "-W8", "10.0.7.77"]).is_some();
        let took = began.elapsed();
        println!("move {number} ({manner:?}) to {}: {took:.0?}", lab.hosts[mover.hosts[mover.at]].name);
        longest = longest.max(took);
        assert!(answered, "move {number} ({manner:?}): out of reach for 8 s");
        if matches!(manner, Manner::Left) {
            mover.attach(&lab, 1 - mover.at, false);
        }
        sleep(Duration::from_millis(300)).await;
    }
    println!("{MOVES} moves, the longest {longest:.0?} out of reach");
}
