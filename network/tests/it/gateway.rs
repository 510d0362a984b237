//! Addresses of gateways, on a real kernel.

use std::time::Duration;

use pvc_model::network::host::Stance;
use pvc_network::gateway::Gateway;
use pvc_network::links::{Links, bridge_mac};
use pvc_network::{Outcome, Part};
use tokio::time::Instant;

use crate::lab::{Guest, Netns, can_run, managed, plan, site, until, vni};

fn addresses(netns: &Netns, device: &str) -> Vec<String> {
    let text = netns.run("ip", &["-j", "addr", "show", "dev", device]).unwrap_or_default();
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let infos = shown[0]["addr_info"].as_array().cloned().unwrap_or_default();
    let mut found: Vec<String> = infos
        .iter()
        .map(|info| format!("{}/{}", info["local"].as_str().unwrap_or_default(), info["prefixlen"]))
        .collect();
    found.sort();
    found
}

#[test]
fn a_gateway_is_where_the_stance_says_and_nowhere_else() {
    if !can_run() {
        return;
    }
    let netns = Netns::new("gateway");
    netns.ip(&["link", "add", "name", "cluster0", "type", "veth", "peer", "name", "far"]);
    netns.ip(&["link", "set", "cluster0", "up"]);
    netns.ip(&["addr", "add", "10.255.0.1/24", "dev", "cluster0"]);
    let dir = tempfile::tempdir().expect("a directory");
    let site = site("hv1", "10.255.0.1", dir.path());
    let networks = [managed(7, &["10.0.7.1/24", "fd07::1/64"]), managed(8, &["10.0.8.1/24"])];
    netns.within(|| async {
        let mut links = Links::new(site.clone());
        let mut gateway = Gateway::new(site);
        let primary = plan(Stance::Primary, &networks);
        assert!(gateway.pass(&primary).await.is_err(), "there are no bridges yet");
        links.pass(&primary).await.expect("it can be done");
        let guest = Guest::new(&netns, "vmbr7", "52:54:00:00:00:07", 1450);
        guest.netns.ip(&["addr", "add", "10.0.7.5/24", "dev", "eth0"]);
        // It believes in another host's gateway.
        guest.netns.ip(&[
            "neigh",
            "add",
            "10.0.7.1",
            "lladdr",
            "02:00:00:00:00:99",
            "nud",
            "stale",
            "dev",
            "eth0",
        ]);

        assert!(matches!(gateway.pass(&primary).await, Ok(Outcome::Progressed(_))));
        assert_eq!(gateway.pass(&primary).await, Ok(Outcome::Settled));
        assert_eq!(addresses(&netns, "vmbr7"), ["10.0.7.1/24", "fd07::1/64", "fe80::1/64"]);
        assert_eq!(addresses(&netns, "vmbr8"), ["10.0.8.1/24"]);
        let [a, b, c, d, e, f] = bridge_mac(&"hv1".parse().expect("a name"), vni(7));
        let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        until("the guest has heard of the new gateway", || {
            guest.netns.ip(&["neigh", "show", "10.0.7.1"]).contains(&mac)
        })
        .await;

        // What does not belong is taken off, what was taken off comes back, and the host's own addresses stay.
        netns.ip(&["addr", "add", "10.0.7.99/24", "dev", "vmbr7"]);
        netns.ip(&["addr", "del", "10.0.8.1/24", "dev", "vmbr8"]);
        assert!(matches!(gateway.pass(&primary).await, Ok(Outcome::Progressed(_))));
        assert_eq!(addresses(&netns, "vmbr7"), ["10.0.7.1/24", "fd07::1/64", "fe80::1/64"]);
        assert_eq!(addresses(&netns, "vmbr8"), ["10.0.8.1/24"]);
        for stance in [Stance::CutOff, Stance::Standby] {
            gateway.pass(&plan(stance, &networks)).await.expect("it can be done");
            assert_eq!(addresses(&netns, "vmbr7").len(), if stance == Stance::CutOff { 3 } else { 0 });
        }
        assert!(addresses(&netns, "cluster0").contains(&"10.255.0.1/24".to_owned()));
    });
}

#[test]
fn two_hundred_gateways_are_taken_over_in_well_under_a_second() {
    if !can_run() {
        return;
    }
    let netns = Netns::new("many");
    netns.ip(&["link", "add", "name", "cluster0", "type", "veth", "peer", "name", "far"]);
    netns.ip(&["link", "set", "cluster0", "up"]);
    netns.ip(&["addr", "add", "10.255.0.1/24", "dev", "cluster0"]);
    let dir = tempfile::tempdir().expect("a directory");
    let site = site("hv1", "10.255.0.1", dir.path());
    let networks: Vec<_> = (1..=200)
        .map(|number| managed(number, &[&format!("10.1.{number}.1/24"), &format!("fd00:{number:x}::1/64")]))
        .collect();
    netns.within(|| async {
        let mut links = Links::new(site.clone());
        let mut gateway = Gateway::new(site);
        let primary = plan(Stance::Primary, &networks);
        links.pass(&primary).await.expect("it can be done");
        let began = Instant::now();
        gateway.pass(&primary).await.expect("it can be done");
        let taken = began.elapsed();
        assert_eq!(gateway.pass(&primary).await, Ok(Outcome::Settled));
        let began = Instant::now();
        gateway.pass(&plan(Stance::Standby, &networks)).await.expect("it can be done");
        println!("200 networks' gateways: taken over in {taken:.2?}, let go in {:.2?}", began.elapsed());
        assert!(taken < Duration::from_secs(5), "{taken:?}");
        assert!(addresses(&netns, "vmbr200").is_empty());
    });
}
