//! Many networks with many leases: how long guests wait after a take-over. `PVC_MANY_NETWORKS=1000` says how many.

use std::sync::Arc;
use std::time::Duration;

use pvc_model::Timestamp;
use pvc_model::network::Network;
use pvc_model::network::host::Stance;
use pvc_model::network::lease::{Lease, LeaseReport};
use pvc_network::dhcp::Dhcp;
use pvc_network::dns::{Dns, Ports};
use tokio::time::{Instant, timeout};

use crate::lab::{LONG, address, in_lab, ip, network, plan, settle, stored};

const NETWORKS_DEFAULT: u32 = 200;
const LEASES_EACH: u32 = 5;

#[test]
fn a_take_over_of_many_networks_serves_guests_soon() {
    in_lab(|lab| async move {
        let count = std::env::var("PVC_MANY_NETWORKS").ok().and_then(|count| count.parse().ok());
        let networks: Vec<Network> = (1..=count.unwrap_or(NETWORKS_DEFAULT)).map(network).collect();
        devices(&networks, lab.dir.path()).await;
        let mut plan = plan(Stance::Standby, &networks.iter().collect::<Vec<_>>());
        plan.coordinators = vec![("hv1".parse().unwrap(), address("127.0.0.1"))];
        plan.leases = networks.iter().flat_map(leases).collect();
        let site = lab.site("hv1", "127.0.0.1");
        let mut dns = Dns::new(&site, Ports { public: 5301, loopback: 5300 });
        let begun = Instant::now();
        settle(&mut dns, &plan).await;
        eprintln!("{} networks: names after {:?}", networks.len(), begun.elapsed());
        let (mut dhcp, mut events) = Dhcp::new(&site);
        plan.stance = Stance::Ready;
        let begun = Instant::now();
        settle(&mut dhcp, &plan).await;
        eprintln!("prepared after {:?}", begun.elapsed());
        let last = networks.last().unwrap();
        lab.bridge(last).await;
        lab.gateways(last).await;
        let guest = lab.guest(last, "web1", "52:54:00:00:00:01").await;

        plan.stance = Stance::Primary;
        let begun = Instant::now();
        settle(&mut dhcp, &plan).await;
        eprintln!("settled after {:?}", begun.elapsed());
        guest.dhcp4(None).await.unwrap();
        let four = begun.elapsed();
        eprintln!("a guest has IPv4 after {four:?}");
        guest.dhcp6().await.unwrap();
        eprintln!("and IPv6 after {:?}", begun.elapsed());
        // What was known is told again by the servers, and is no news: the guest's two leases are all.
        for _ in 0..2 {
            let (_, event) = timeout(LONG, events.next()).await.expect("a report").unwrap();
            assert_eq!(event.lease.mac, "52:54:00:00:00:01".parse().ok());
        }
        eprintln!("both are reported after {:?}", begun.elapsed());
        for process in dhcp.processes().into_iter().chain(dns.processes()).flatten() {
            eprintln!("{}", usage(process.pid()));
        }
        assert!(timeout(Duration::from_secs(3), events.next()).await.is_err());
        assert!(four < LONG / 2, "{four:?}");
    });
}

/// One call for all: a thousand of them would be the whole test.
async fn devices(networks: &[Network], dir: &std::path::Path) {
    let mut batch = String::new();
    for network in &networks[..networks.len() - 1] {
        let bridge = network.vni.bridge();
        batch += &format!("link add {bridge} type bridge\nlink set {bridge} up\n");
        // With a port it has a carrier, as in earnest.
        let tunnel = network.vni.tunnel();
        batch += &format!("link add {tunnel} type vxlan id {} dstport 4789 local 127.0.0.1\n", network.vni);
        batch += &format!("link set {tunnel} master {bridge} up\n");
        for gateway in network.managed().unwrap().gateways() {
            let nodad = if gateway.addr().is_ipv6() { " nodad" } else { "" };
            batch += &format!("address add {gateway} dev {bridge}{nodad}\n");
        }
    }
    let file = dir.join("batch");
    std::fs::write(&file, batch).unwrap();
    ip(&format!("-batch {}", file.display())).await;
}

fn leases(network: &Network) -> Vec<Arc<Lease>> {
    let (vni, managed) = (network.vni, network.managed().unwrap());
    let first = managed.ipv4.as_ref().unwrap().dhcp.as_ref().unwrap().first;
    let std::net::IpAddr::V4(first) = first else { return vec![] };
    let lease = |number: u32| {
        let [_, a, b, c] = vni.get().to_be_bytes();
        let mac = pvc_model::vm::Mac([0x52, a, b, c, 0, u8::try_from(number).unwrap()]);
        let lent = LeaseReport {
            network: vni,
            address: std::net::Ipv4Addr::from(u32::from(first) + number).into(),
            mac: Some(mac),
            hostname: format!("guest{number}").parse().ok(),
            client_id: format!("01:{mac}"),
            iaid: None,
            expires: Timestamp(4_000_000_000_000),
        };
        stored(&lent, 20)
    };
    (0..LEASES_EACH).map(lease).collect()
}

/// Memory and time, as /proc has it.
fn usage(pid: u32) -> String {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let rollup = read("smaps_rollup");
    let pss = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default();
    let stat = read("stat");
    let ticks: u64 = stat.split(' ').skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    format!("{} {}, {} ms of a processor", read("comm").trim(), pss.replace(' ', ""), ticks * 10)
}
