//! PowerDNS, its backend and the resolver, asked by `dig`.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use pvc_model::network::host::{HostPlan, Stance};
use pvc_model::network::lease::Lease;
use pvc_network::dns::{Dns, Ports};
use pvc_process::Cmd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UdpSocket, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use crate::lab::{
    LONG, Lab, address, change, in_lab, ip, meta, name, network, plan, reservation, settle, until,
};

const SERVER: &str = "10.99.0.1";
const SECONDARY: &str = "10.99.0.2";
const STRANGER: &str = "10.99.0.3";

/// The cluster's network, with a server, a secondary and a stranger in it.
async fn cluster_network() {
    ip("link add cluster0 type bridge").await;
    ip("link set cluster0 up").await;
    for address in [SERVER, SECONDARY, STRANGER] {
        ip(&format!("address add {address}/24 dev cluster0")).await;
    }
}

async fn dig(args: &str) -> String {
    let cmd = Cmd::new("dig").args(["+time=2", "+tries=2"]).args(args.split(' ')).accept_codes(0..=10);
    cmd.run(LONG).await.unwrap().stdout_text().trim().to_owned()
}

/// Asks until the answer is this.
async fn answers(args: &str, expected: &str) {
    let end = Instant::now() + LONG;
    loop {
        let answer = dig(args).await;
        if answer == expected {
            return;
        }
        assert!(Instant::now() < end, "dig {args}: {answer:?}, not {expected:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

fn lease(vni: u32, host: &str, hostname: &str, revision: u64) -> Arc<Lease> {
    let network = pvc_model::network::Vni::new(vni).unwrap();
    Arc::new(Lease {
        meta: meta(Lease::name(network, address(host)), revision),
        network,
        address: address(host),
        mac: "52:54:00:00:00:77".parse().ok(),
        hostname: hostname.parse().ok(),
        client_id: String::new(),
        iaid: None,
        expires: pvc_model::Timestamp(u64::MAX / 2),
    })
}

fn coordinators(plan: &mut HostPlan) {
    plan.coordinators = vec![(name("hv1"), address(SERVER))];
}

fn dns(lab: &Lab) -> Dns {
    Dns::new(&lab.site("hv1", SERVER), Ports::default())
}

#[test]
fn names_are_answered_both_ways_and_change() {
    in_lab(|lab| async move {
        cluster_network().await;
        let net = change(&network(1001), |managed| {
            managed.reservations = vec![reservation("52:54:00:00:00:01", "10.4.1.7", "db")];
        });
        let mut plan = plan(Stance::Standby, &[&net]);
        coordinators(&mut plan);
        plan.leases = vec![lease(1001, "fd00:3e9::100", "web", 15)];
        plan.revision = 15;
        let mut dns = dns(&lab);
        settle(&mut dns, &plan).await;

        let at = |rest: &str| format!("@{SERVER} +short {rest}");
        answers(&at("db.net1001.test A"), "10.4.1.7").await;
        answers(&at("gateway.net1001.test AAAA"), "fd00:3e9::1").await;
        answers(&at("WEB.net1001.test AAAA"), "fd00:3e9::100").await;
        answers(&at("-x 10.4.1.7"), "db.net1001.test.").await;
        answers(&at("-x fd00:3e9::100"), "web.net1001.test.").await;
        answers(&at("net1001.test NS"), "ns1.net1001.test.").await;
        answers(
            &at("1.4.10.in-addr.arpa SOA"),
            "ns1.net1001.test. hostmaster.net1001.test. 15 300 60 604800 5",
        )
        .await;
        answers(&at("net1001.test SOA"), "ns1.net1001.test. hostmaster.net1001.test. 15 300 60 604800 5")
            .await;
        answers("@127.0.0.1 -p 5300 +short ns1.net1001.test A", SERVER).await;

        // What is not there, is there without such a record, lies between, and is none of ours.
        let full = |rest: &str| format!("@{SERVER} {rest}");
        assert!(dig(&full("nobody.net1001.test A")).await.contains("status: NXDOMAIN"));
        let empty = dig(&full("db.net1001.test AAAA")).await;
        assert!(empty.contains("status: NOERROR") && empty.contains("SOA"), "{empty}");
        let between = dig(&full("0.0.0.0.0.0.0.0.9.e.3.0.0.0.d.f.ip6.arpa PTR")).await;
        assert!(between.contains("status: NOERROR"), "{between}");
        let between = dig(&full("0.0.0.0.0.0.0.0.0.0.9.e.3.0.0.0.d.f.ip6.arpa PTR")).await;
        assert!(between.contains("status: NOERROR"), "{between}");
        assert!(dig(&full("example.org A")).await.contains("status: REFUSED"));

        // A change is seen soon: another lease, one that is gone, and a network that is new.
        let newer = network(1002);
        plan.networks.push(Arc::new(newer));
        plan.leases = vec![lease(1001, "10.4.1.101", "app", 21)];
        plan.revision = 22;
        let changed = Instant::now();
        settle(&mut dns, &plan).await;
        answers(&at("app.net1001.test A"), "10.4.1.101").await;
        answers(&at("web.net1001.test AAAA"), "").await;
        answers(&at("gateway.net1002.test A"), "10.4.2.1").await;
        eprintln!("a changed lease and a new network are answered after {:?}", changed.elapsed());
        answers(&at("net1001.test SOA"), "ns1.net1001.test. hostmaster.net1001.test. 22 300 60 604800 5")
            .await;
    });
}

#[test]
fn secondaries_copy_and_are_told_by_the_primary_only() {
    in_lab(|lab| async move {
        cluster_network().await;
        let net = network(1001);
        let mut plan = plan(Stance::Standby, &[&net]);
        coordinators(&mut plan);
        let secondary = UdpSocket::bind((SECONDARY.parse::<Ipv4Addr>().unwrap(), 53)).await.unwrap();
        let mut dns = dns(&lab);
        settle(&mut dns, &plan).await;
        answers(&format!("@{SERVER} +short gateway.net1001.test A"), "10.4.1.1").await;

        let copy = |from: &str| format!("@{SERVER} -b {from} net1001.test AXFR");
        for who in [SERVER, SECONDARY, STRANGER] {
            let refused = dig(&copy(who)).await;
            assert!(refused.contains("Transfer failed"), "nobody is named: {refused}");
        }
        plan.fabric.zone_secondaries = vec![address(SECONDARY)];
        settle(&mut dns, &plan).await;
        let end = Instant::now() + LONG;
        loop {
            let copied = dig(&copy(SECONDARY)).await;
            if copied.contains("gateway.net1001.test.") && copied.matches("SOA").count() == 2 {
                break;
            }
            assert!(Instant::now() < end, "{copied}");
            sleep(Duration::from_millis(100)).await;
        }
        assert!(dig(&copy(STRANGER)).await.contains("Transfer failed"));

        // A standby tells nobody.
        assert!(timeout(Duration::from_secs(4), notified(&secondary)).await.is_err());
        plan.stance = Stance::Primary;
        settle(&mut dns, &plan).await;
        // The daemon stands still for longer than PowerDNS waits: it ends, and the next one tells.
        std::thread::sleep(Duration::from_secs(12));
        let mut told = std::collections::BTreeSet::new();
        while told.len() < 3 {
            told.insert(next_told(&mut dns, &plan, &secondary).await);
        }
        assert!(told.contains("net1001.test") && told.contains("1.4.10.in-addr.arpa"), "{told:?}");
        // Once; and again when something changes, of the zones that it is in.
        assert!(timeout(Duration::from_secs(4), notified(&secondary)).await.is_err());
        plan.leases = vec![lease(1001, "10.4.1.100", "web", 20)];
        plan.revision = 20;
        let changed = Instant::now();
        settle(&mut dns, &plan).await;
        let mut told = std::collections::BTreeSet::new();
        while told.len() < 2 {
            told.insert(next_told(&mut dns, &plan, &secondary).await);
        }
        eprintln!("a secondary hears of a change after {:?}", changed.elapsed());
        assert!(told.iter().eq(["1.4.10.in-addr.arpa", "net1001.test"]), "{told:?}");
    });
}

/// The zone that the secondary is told of next, while the part is looked after as by its driver.
async fn next_told(dns: &mut Dns, plan: &HostPlan, secondary: &UdpSocket) -> String {
    let end = Instant::now() + LONG;
    loop {
        if let Ok(zone) = timeout(Duration::from_secs(1), notified(secondary)).await {
            return zone;
        }
        assert!(Instant::now() < end, "the primary tells nobody");
        settle(dns, plan).await;
    }
}

/// The zone of the next NOTIFY (RFC 1996), which is acknowledged.
async fn notified(secondary: &UdpSocket) -> String {
    let mut packet = [0; 512];
    loop {
        let (length, from) = secondary.recv_from(&mut packet).await.unwrap();
        if length < 12 || packet[2] >> 3 != 4 {
            continue;
        }
        packet[2] |= 0x80;
        secondary.send_to(&packet[..length], from).await.unwrap();
        return question(&packet[..length]);
    }
}

/// The name that a packet asks for.
fn question(packet: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = 12;
    while packet[at] != 0 {
        let length = usize::from(packet[at]);
        labels.push(String::from_utf8_lossy(&packet[at + 1..at + 1 + length]).into_owned());
        at += length + 1;
    }
    labels.join(".")
}

/// The site's resolver: it knows everybody, at one address.
async fn site_resolver(socket: UdpSocket) {
    let mut packet = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut packet).await {
        let mut answer = packet[..length].to_vec();
        // An answer, recursion available; one record, and nothing besides.
        answer[2] |= 0x80;
        answer[3] = 0x80;
        answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
        answer.truncate(12 + question(&answer).len() + 2 + 4);
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7]);
        let _ = socket.send_to(&answer, from).await;
    }
}

#[test]
fn guests_are_answered_by_their_gateway_whoever_has_it() {
    in_lab(|lab| async move {
        cluster_network().await;
        let net = network(1001);
        lab.bridge(&net).await;
        let guest = lab.guest(&net, "web1", "52:54:00:00:00:01").await;
        for address in ["10.4.1.50/24", "fd00:3e9::50/64"] {
            guest.cmd().args(["ip", "address", "add", address, "dev", "eth0"]).run(LONG).await.unwrap();
        }
        let site = UdpSocket::bind((STRANGER.parse::<Ipv4Addr>().unwrap(), 53)).await.unwrap();
        let site = tokio::spawn(site_resolver(site));
        let mut plan = plan(Stance::Standby, &[&net]);
        coordinators(&mut plan);
        plan.leases = vec![lease(1001, "10.4.1.100", "app", 20)];
        let mut dns = dns(&lab);
        settle(&mut dns, &plan).await;
        answers("@127.0.0.1 -p 5300 +short app.net1001.test A", "10.4.1.100").await;

        let ask = async |args: &str| {
            let cmd =
                guest.cmd().args(["dig", "+time=1", "+tries=1"]).args(args.split(' ')).accept_codes(0..=10);
            cmd.run(LONG).await.unwrap().stdout_text().trim().to_owned()
        };
        assert!(ask("@10.4.1.1 +short app.net1001.test A").await.contains("no servers could be reached"));
        // The gateway's address comes: nothing else needs to happen.
        let came = Instant::now();
        lab.gateways(&net).await;
        while ask("@10.4.1.1 +short app.net1001.test A").await != "10.4.1.100" {
            assert!(came.elapsed() < LONG);
        }
        eprintln!("a gateway that has come answers after {:?}", came.elapsed());
        assert_eq!(ask("@fd00:3e9::1 +short app.net1001.test A").await, "10.4.1.100");
        assert_eq!(ask("@10.4.1.1 +short -x 10.4.1.100").await, "app.net1001.test.");
        assert_eq!(ask("@10.4.1.1 +tcp +short gateway.net1001.test AAAA").await, "fd00:3e9::1");

        // Names outside: nobody to ask, and then the site's resolver, without a restart.
        assert!(!ask("@10.4.1.1 www.example.org A").await.contains("status: NOERROR"));
        let resolver = dns.processes()[1];
        plan.fabric.forwarders = vec![address(STRANGER)];
        settle(&mut dns, &plan).await;
        let end = Instant::now() + LONG;
        while ask("@10.4.1.1 +short www.example.org A").await != "192.0.2.7" {
            assert!(Instant::now() < end);
        }
        assert_eq!(dns.processes()[1], resolver);
        // What is ours is asked of nobody else, known or not.
        assert!(ask("@10.4.1.1 nobody.net1001.test A").await.contains("status: NXDOMAIN"));
        site.abort();
    });
}

#[test]
fn servers_are_kept_and_adopted() {
    in_lab(|lab| async move {
        let mut plan = plan(Stance::Primary, &[&network(1001)]);
        coordinators(&mut plan);
        let mut first = dns(&lab);
        settle(&mut first, &plan).await;
        answers("@127.0.0.1 -p 5300 +short gateway.net1001.test A", "10.4.1.1").await;
        // The host's address may come later.
        cluster_network().await;
        settle(&mut first, &plan).await;
        let ask = format!("@{SERVER} +short gateway.net1001.test A");
        answers(&ask, "10.4.1.1").await;
        let processes = first.processes();
        drop(first);
        // A daemon that starts anew: PowerDNS comes back to it.
        let mut second = dns(&lab);
        let done = settle(&mut second, &plan).await;
        assert_eq!(done, ["took over dnsmasq", "took over pdns_server"]);
        assert_eq!(second.processes(), processes);
        plan.networks.push(Arc::new(network(1002)));
        settle(&mut second, &plan).await;
        answers(&format!("@{SERVER} +short gateway.net1002.test A"), "10.4.2.1").await;

        for process in processes.into_iter().flatten() {
            process.signal(9).unwrap();
            until("it is dead", || !process.is_running()).await;
        }
        let done = settle(&mut second, &plan).await;
        assert_eq!(done, ["started dnsmasq", "started pdns_server"]);
        answers(&ask, "10.4.1.1").await;

        // Garbage at the backend harms nobody.
        let socket = lab.site("hv1", SERVER).run_dir.join("dns/backend.sock");
        for garbage in [&b"\n\n{}\n[1]\n{\"method\":7}\n"[..], &[0xff; 100_000], b"{\"method\":\"lookup\"}\n"]
        {
            let mut stream = UnixStream::connect(&socket).await.unwrap();
            let _ = stream.write_all(garbage).await;
            let _ = stream.shutdown().await;
            let mut answer = String::new();
            let _ = timeout(LONG, stream.read_to_string(&mut answer)).await.expect("an end");
            assert!(answer.lines().all(|line| line == "{\"result\":false}"), "{answer}");
        }
        sleep(Duration::from_millis(1100)).await;
        answers(&ask, "10.4.1.1").await;

        let processes = second.processes();
        plan.stance = Stance::Hypervisor;
        settle(&mut second, &plan).await;
        assert!(processes.into_iter().flatten().all(|process| !process.is_running()));
    });
}
