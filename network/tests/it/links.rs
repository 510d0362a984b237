//! Bridges and what carries them, on a real kernel.

use std::time::Duration;

use pvc_model::network::host::Stance;
use pvc_model::network::{Attachment, HostNetwork};
use pvc_network::links::Links;
use pvc_network::{Outcome, Part, Wake};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::lab::{Netns, bridged, can_run, managed, plan, port, site, until};

/// A host whose cluster network is a cable to nowhere.
fn host() -> (Netns, tempfile::TempDir) {
    let netns = Netns::new("links");
    netns.ip(&["link", "add", "name", "cluster0", "mtu", "9000", "type", "veth", "peer", "name", "far"]);
    netns.ip(&["link", "set", "cluster0", "up"]);
    netns.ip(&["link", "set", "far", "up"]);
    netns.ip(&["addr", "add", "10.255.0.1/24", "dev", "cluster0"]);
    (netns, tempfile::tempdir().expect("a directory"))
}

fn show(netns: &Netns, device: &str) -> Option<Value> {
    let text = netns.run("ip", &["-d", "-j", "link", "show", device])?;
    serde_json::from_str::<Value>(&text).ok()?.get(0).cloned()
}

fn setting(netns: &Netns, setting: &str) -> String {
    netns.run("sysctl", &["-n", setting]).unwrap_or_default().trim().to_owned()
}

/// Passes until nothing is left to do.
async fn settle(links: &mut Links, plan: &pvc_model::network::host::HostPlan) {
    for _ in 0..3 {
        if links.pass(plan).await.expect("it can be done") == Outcome::Settled {
            return;
        }
    }
    panic!("each pass changes something: {:?}", links.pass(plan).await);
}

/// What a pass can't make: it is blocked by that at first, and complains of it from then on.
async fn cannot(links: &mut Links, plan: &pvc_model::network::host::HostPlan) -> String {
    match links.pass(plan).await {
        Ok(_) => links.complaint(),
        Err(blocked) => blocked.reason,
    }
}

#[test]
fn a_network_is_made_kept_and_taken_away() {
    if !can_run() {
        return;
    }
    let (netns, dir) = host();
    let site = site("hv1", "10.255.0.1", dir.path());
    netns.within(|| async {
        let mut links = Links::new(site);
        let coordinator = plan(
            Stance::Standby,
            &[managed(7, &["10.0.7.1/24", "fd07::1/64"]), managed(8, &["10.0.8.1/24"])],
        );
        settle(&mut links, &coordinator).await;
        let tunnel = show(&netns, "vxlan7").expect("a tunnel");
        let data = &tunnel["linkinfo"]["info_data"];
        assert_eq!(
            (&data["id"], &data["local"], &data["port"]),
            (&7.into(), &"10.255.0.1".into(), &4789.into())
        );
        assert_eq!(data["learning"], false);
        assert_eq!((&tunnel["master"], &tunnel["mtu"]), (&"vmbr7".into(), &8950.into()));
        let port = &tunnel["linkinfo"]["info_slave_data"];
        assert_eq!((&port["learning"], &port["neigh_suppress"]), (&false.into(), &false.into()));
        let bridge = show(&netns, "vmbr7").expect("a bridge");
        let data = &bridge["linkinfo"]["info_data"];
        assert_eq!(
            (&data["stp_state"], &data["forward_delay"], &data["mcast_snooping"]),
            (&0.into(), &0.into(), &0.into())
        );
        assert_eq!(bridge["mtu"], 8950);
        for (name, value) in [
            ("net.ipv4.conf.vmbr7.forwarding", "1"),
            ("net.ipv4.conf.vmbr7.arp_ignore", "1"),
            ("net.ipv4.conf.vmbr7.arp_announce", "2"),
            ("net.ipv4.conf.cluster0.forwarding", "1"),
            ("net.ipv4.conf.cluster0.rp_filter", "2"),
            ("net.ipv6.conf.vmbr7.disable_ipv6", "0"),
            ("net.ipv6.conf.vmbr7.accept_ra", "0"),
            ("net.ipv6.conf.vmbr8.disable_ipv6", "1"),
            ("net.ipv6.conf.vxlan7.disable_ipv6", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
            ("net.ipv6.conf.cluster0.accept_ra", "2"),
            ("net.bridge.bridge-nf-call-iptables", "0"),
        ] {
            assert_eq!(setting(&netns, name), value, "{name}");
        }
        assert!(
            netns.ip(&["-6", "addr", "show", "dev", "vmbr7"]).is_empty(),
            "no address of the kernel's making"
        );

        // Whatever somebody does to them is put right.
        netns.ip(&["link", "set", "vxlan7", "nomaster", "mtu", "1400", "down"]);
        netns.ip(&["link", "set", "vmbr7", "type", "bridge", "stp_state", "1"]);
        netns.ip(&["link", "del", "vmbr8"]);
        netns.set("net.ipv4.conf.vmbr7.arp_ignore", "0");
        let Outcome::Progressed(done) = links.pass(&coordinator).await.expect("it can be done") else {
            panic!("nothing was seen")
        };
        assert!(done.contains(&"made vmbr8".to_owned()), "{done:?}");
        settle(&mut links, &coordinator).await;
        let tunnel = show(&netns, "vxlan7").expect("a tunnel");
        assert_eq!((&tunnel["master"], &tunnel["mtu"]), (&"vmbr7".into(), &8950.into()));
        assert_eq!(show(&netns, "vmbr7").expect("a bridge")["linkinfo"]["info_data"]["stp_state"], 0);
        assert_eq!(show(&netns, "vxlan8").expect("a tunnel")["master"], "vmbr8");
        assert_eq!(setting(&netns, "net.ipv4.conf.vmbr7.arp_ignore"), "1");

        // A tunnel that begins elsewhere can't be changed: it is made anew, and nobody leaves the bridge.
        netns.ip(&["link", "del", "vxlan7"]);
        netns.ip(&[
            "link",
            "add",
            "name",
            "vxlan7",
            "type",
            "vxlan",
            "id",
            "7",
            "local",
            "10.255.0.9",
            "dstport",
            "4789",
        ]);
        settle(&mut links, &coordinator).await;
        assert_eq!(show(&netns, "vxlan7").expect("a tunnel")["linkinfo"]["info_data"]["local"], "10.255.0.1");

        // What is not ours stays, whatever it is called. A bridge with a guest in it stays too.
        netns.ip(&["link", "add", "name", "vmbr9", "type", "bridge"]);
        netns.ip(&["link", "add", "name", "nic525400000007", "type", "veth", "peer", "name", "guest"]);
        netns.ip(&["link", "set", "nic525400000007", "master", "vmbr7"]);
        let empty = plan(Stance::Standby, &[]);
        links.pass(&empty).await.expect("it can be done");
        until("the network without guests is gone", || show(&netns, "vmbr8").is_none()).await;
        assert!(show(&netns, "vxlan8").is_none());
        for device in ["vmbr9", "vmbr7", "vxlan7"] {
            assert!(show(&netns, device).is_some(), "{device}");
        }
        netns.ip(&["link", "set", "nic525400000007", "nomaster"]);
        links.pass(&empty).await.expect("it can be done");
        until("the guest's network is gone too", || show(&netns, "vmbr7").is_none()).await;
        assert!(show(&netns, "vmbr9").is_some());
    });
}

#[test]
fn a_hypervisor_answers_and_forwards_nothing() {
    if !can_run() {
        return;
    }
    let (netns, dir) = host();
    let site = site("hv4", "10.255.0.1", dir.path());
    netns.within(|| async {
        netns.set("net.ipv4.conf.default.forwarding", "1");
        let mut links = Links::new(site);
        settle(&mut links, &plan(Stance::Hypervisor, &[managed(7, &["10.0.7.1/24", "fd07::1/64"])])).await;
        for (name, value) in [
            ("net.ipv4.conf.vmbr7.forwarding", "0"),
            ("net.ipv6.conf.vmbr7.disable_ipv6", "1"),
            ("net.ipv6.conf.all.forwarding", "0"),
            ("net.ipv4.conf.cluster0.forwarding", "0"),
        ] {
            assert_eq!(setting(&netns, name), value, "{name}");
        }
    });
}

#[test]
fn what_can_not_be_had_is_said_and_holds_up_nothing_else() {
    if !can_run() {
        return;
    }
    let (netns, dir) = host();
    let site = site("hv1", "10.255.0.1", dir.path());
    netns.within(|| async {
        let mut links = Links::new(site);
        let mut large = managed(6, &["10.0.6.1/24"]);
        std::sync::Arc::make_mut(&mut large).spec.mtu = Some(9000);
        let mut plan = plan(
            Stance::Hypervisor,
            &[large, managed(7, &["10.0.7.1/24"]), bridged(20, Some("eth7")), bridged(30, None)],
        );
        plan.ports = vec![port("web1", Attachment::Host(HostNetwork::Cluster))];
        let mut reason = String::new();
        for _ in 0..3 {
            reason = cannot(&mut links, &plan).await;
        }
        assert_eq!(links.pass(&plan).await, Ok(Outcome::Settled), "the others are served all the same");
        assert!(reason.contains("no device eth7 to carry network 20"), "{reason}");
        assert!(
            reason
                .contains("network 6 is to have MTU 9000, but cluster0 (MTU 9000) carries no more than 8950"),
            "{reason}"
        );
        assert!(reason.contains("a NIC of web1 is to be in the cluster network"), "{reason}");
        assert_eq!(show(&netns, "vxlan7").expect("a tunnel")["master"], "vmbr7");
        assert_eq!(show(&netns, "vmbr6").expect("a bridge")["mtu"], 8950);
        // The kernel of a test machine may lack VLANs: then that is said, and else they are there.
        match show(&netns, "vlan30") {
            Some(vlan) => assert_eq!(vlan["master"], "vmbr30"),
            None => assert!(
                reason.contains("could not: made vlan30: this host's kernel has no VLAN devices"),
                "{reason}"
            ),
        }
        // The site's device is a bridge now: the NIC finds it, and no address has moved.
        netns.ip(&["link", "add", "name", "br0", "type", "bridge"]);
        netns.ip(&["link", "set", "cluster0", "master", "br0"]);
        for _ in 0..3 {
            reason = cannot(&mut links, &plan).await;
        }
        assert!(!reason.contains("web1"), "{reason}");
        assert_eq!(show(&netns, "brcluster").expect("a bridge by another name")["ifname"], "br0");
    });
}

#[test]
fn a_thousand_networks_are_made_in_seconds_and_looked_at_in_no_time() {
    if !can_run() {
        return;
    }
    let (netns, dir) = host();
    let site = site("hv1", "10.255.0.1", dir.path());
    let networks: Vec<_> = (1..=1000)
        .map(|number| managed(number, &[&format!("10.{}.{}.1/24", number / 250, number % 250)]))
        .collect();
    netns.within(|| async {
        let mut links = Links::new(site);
        let plan = plan(Stance::Standby, &networks);
        let began = Instant::now();
        settle(&mut links, &plan).await;
        let made = began.elapsed();
        let began = Instant::now();
        assert_eq!(links.pass(&plan).await, Ok(Outcome::Settled));
        let looked = began.elapsed();
        println!("1,000 networks: made in {made:.2?}, looked at in {looked:.2?}");
        assert!(made < Duration::from_secs(30), "{made:?}");
        assert!(looked < Duration::from_secs(2), "{looked:?}");
    });
}

#[test]
fn the_kernel_says_when_something_changes() {
    if !can_run() {
        return;
    }
    let netns = Netns::new("wake");
    netns.within(|| async {
        let mut wake = Wake::open().expect("a socket");
        let soon = Duration::from_secs(10);
        assert!(timeout(Duration::from_millis(300), wake.changed()).await.is_err(), "nothing has changed");
        netns.ip(&["link", "add", "name", "br0", "type", "bridge"]);
        assert!(timeout(soon, wake.changed()).await.expect("a device is told of"));
        netns.ip(&["addr", "add", "10.0.0.1/24", "dev", "br0"]);
        assert!(timeout(soon, wake.changed()).await.expect("an address is told of"));
    });
}
