//! FRRouting's configuration of a host. It follows from the membership, the upstream routers and the subnets; which host carries the
//! gateways does not change it, so a hand-over waits for no route map.
//!
//! ```text
//!              eBGP, BFD: client subnets out, all but those in
//!   routers ◀──────────────▶ coordinators ◀──── iBGP, EVPN, BFD: full mesh ────▶ coordinators
//!                                  ▲ route reflectors
//!                                  └── iBGP, EVPN, BFD ──▶ hypervisors
//! ```
//! A subnet is announced by whoever has its gateway, because that is the address of a device of its; the other coordinators
//! learn it from there, announce it too with a worse metric, and forward what comes to them. Written as `show running-config`
//! prints it, so that nothing seems to differ that does not.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;
use pvc_model::Name;
use pvc_model::network::fabric::Peer;
use pvc_model::network::host::{HostPlan, Stance};

use crate::Site;

/// The first line of a file that is ours.
pub(super) const MARK: &str =
    "! Written by pvcd; it is written anew when it differs. Settings of your own belong in ";

/// Milliseconds between two packets of BFD; three missing are a dead link.
const BFD_INTERVAL: u32 = 250;
/// Ways that are used at a time to where several lead.
const WAYS_MAX: u32 = 8;
/// Written on what was learnt from another coordinator; taken off before it leaves the cluster.
const PASSED_ON: &str = "65500:2";
/// The metric (MED) to the outside of subnets whose gateway is here, is elsewhere, and is here on a host that was cut off.
const METRIC_HERE: u32 = 0;
const METRIC_PASSED_ON: u32 = 100;
const METRIC_CUT_OFF: u32 = 200;
/// How much the other coordinators like the way to a gateway here; 100 is the default.
const PREFERENCE_HERE: u32 = 200;
const PREFERENCE_CUT_OFF: u32 = 50;
/// Of a network's entries in lists: a place of its own, so that none moves when another one goes. What is before them is ours.
const SEQUENCE_FIRST: u32 = 100;

pub(super) fn render(site: &Site, plan: &HostPlan, cluster: IpNet) -> String {
    let mut text = format!("{MARK}{}\nfrr defaults traditional\n!\n", site.frr_snippets_dir.display());
    // Fewer interim states are sent on where many lines change in a row; at most one second.
    line(&mut text, "bgp route-map delay-timer 1");
    if plan.stance.is_coordinator() {
        lists(&mut text, plan, cluster);
        maps(&mut text, plan.stance);
    }
    router(&mut text, site, plan);
    let _ = write!(
        text,
        "!\nbfd\n profile pvc\n  transmit-interval {BFD_INTERVAL}\n  receive-interval {BFD_INTERVAL}\n exit\n !\nexit\n"
    );
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// PVC-CLIENTS: what is announced. PVC-INSIDE: what nobody outside may tell us the way to.
fn lists(text: &mut String, plan: &HostPlan, cluster: IpNet) {
    for (family, not_outside) in [
        ("ip", ["127.0.0.0/8 le 32", "169.254.0.0/16 le 32", "224.0.0.0/3 le 32"]),
        ("ipv6", ["::1/128", "fe80::/10 le 128", "ff00::/8 le 128"]),
    ] {
        let of_family = |net: &IpNet| matches!(net, IpNet::V4(_)) == (family == "ip");
        let most = if family == "ip" { 32 } else { 128 };
        line(text, "!");
        for network in &plan.networks {
            let Some(managed) = network.managed() else { continue };
            for subnet in managed.subnets().map(|subnet| subnet.subnet).filter(of_family) {
                let sequence = SEQUENCE_FIRST + network.vni.get();
                line(text, &format!("{family} prefix-list PVC-CLIENTS seq {sequence} permit {subnet}"));
                let longer = longer(subnet, most);
                line(
                    text,
                    &format!("{family} prefix-list PVC-INSIDE seq {sequence} permit {subnet}{longer}"),
                );
            }
        }
        // A list that is not there would let through all that is asked of it.
        line(text, &format!("{family} prefix-list PVC-CLIENTS seq {} deny any", u32::MAX));
        for (sequence, net) in (1..).zip(not_outside) {
            line(text, &format!("{family} prefix-list PVC-INSIDE seq {sequence} permit {net}"));
        }
        if of_family(&cluster) {
            let longer = longer(cluster, most);
            line(text, &format!("{family} prefix-list PVC-INSIDE seq 10 permit {cluster}{longer}"));
        }
    }
    line(text, "!");
    line(text, &format!("bgp community-list standard PVC-PASSED-ON seq 5 permit {PASSED_ON}"));
}

/// And all within it.
fn longer(net: IpNet, most: u8) -> String {
    if net.prefix_len() < most { format!(" le {most}") } else { String::new() }
}

fn maps(text: &mut String, stance: Stance) {
    let (metric, preference) = match stance {
        Stance::CutOff => (METRIC_CUT_OFF, PREFERENCE_CUT_OFF),
        _ => (METRIC_HERE, PREFERENCE_HERE),
    };
    let clients = ["ip", "ipv6"].map(|family| format!("match {family} address prefix-list PVC-CLIENTS"));
    let inside = ["ip", "ipv6"].map(|family| format!("match {family} address prefix-list PVC-INSIDE"));
    let [v4, v6] = &clients;
    map(text, "PVC-CONNECTED permit 10", &[v4]);
    map(text, "PVC-CONNECTED permit 20", &[v6]);
    map(text, "PVC-FROM-COORDINATOR permit 10", &[&format!("set community {PASSED_ON} additive")]);
    let preference = format!("set local-preference {preference}");
    map(text, "PVC-TO-COORDINATOR permit 10", &[v4, &preference]);
    map(text, "PVC-TO-COORDINATOR permit 20", &[v6, &preference]);
    map(text, "PVC-TO-COORDINATOR permit 30", &[]);
    map(text, "PVC-FROM-UPSTREAM deny 10", &[&inside[0]]);
    map(text, "PVC-FROM-UPSTREAM deny 20", &[&inside[1]]);
    map(text, "PVC-FROM-UPSTREAM permit 30", &[]);
    let passed_on = format!("set metric {METRIC_PASSED_ON}");
    let taken_off = "set comm-list PVC-PASSED-ON delete";
    for (sequence, clients) in [(10, v4), (20, v6)] {
        let name = format!("PVC-TO-UPSTREAM permit {sequence}");
        map(text, &name, &["match community PVC-PASSED-ON", clients, taken_off, &passed_on]);
    }
    let here = format!("set metric {metric}");
    map(text, "PVC-TO-UPSTREAM permit 30", &[v4, &here]);
    map(text, "PVC-TO-UPSTREAM permit 40", &[v6, &here]);
}

fn map(text: &mut String, name: &str, lines: &[&str]) {
    let _ = writeln!(text, "!\nroute-map {name}");
    for within in lines {
        line(text, &format!(" {within}"));
    }
    line(text, "exit");
}

fn router(text: &mut String, site: &Site, plan: &HostPlan) {
    let coordinator = plan.stance.is_coordinator();
    let _ = writeln!(text, "!\nrouter bgp {}", plan.fabric.asn);
    let mut put = |lines: &[String]| lines.iter().for_each(|within| line(text, &format!(" {within}")));
    put(&[
        format!("bgp router-id {}", site.address),
        "no bgp default ipv4-unicast".to_owned(),
        "bgp bestpath as-path multipath-relax".to_owned(),
        "timers bgp 3 9".to_owned(),
    ]);
    put(&group(site, "PVC-COORDINATOR", "timers connect 1"));
    put(&members(site, "PVC-COORDINATOR", &plan.coordinators));
    if coordinator {
        // They come by themselves: one that is off is not called for.
        put(&group(site, "PVC-HYPERVISOR", "passive"));
        // Each by name, not whoever comes from the cluster's network: FRRouting 8.4.4 forgets such a one when its link is cut before
        // BFD has watched it, and nobody else is to be taken for a hypervisor.
        put(&members(site, "PVC-HYPERVISOR", &plan.hypervisors));
    }
    let upstream: &[Peer] = if coordinator { &plan.fabric.peers } else { &[] };
    upstream.iter().for_each(|peer| put(&peer_lines(peer)));
    if coordinator {
        unicast(text, "ipv4", upstream.iter().map(|peer| peer.address).filter(IpAddr::is_ipv4));
        unicast(text, "ipv6", upstream.iter().map(|peer| peer.address).filter(IpAddr::is_ipv6));
    }
    evpn(text, coordinator);
    line(text, "exit");
}

fn group(site: &Site, name: &str, more: &str) -> [String; 7] {
    // Of several addresses on the device (the cluster's own floating one) it is the host's that the others expect.
    let source = format!("update-source {}", site.address);
    ["peer-group", "remote-as internal", "bfd", "bfd profile pvc", &source, "advertisement-interval 0", more]
        .map(|what| format!("neighbor {name} {what}"))
}

fn members(site: &Site, group: &str, hosts: &[(Name, IpAddr)]) -> Vec<String> {
    let others = hosts.iter().filter(|(_, address)| *address != site.address);
    others
        .flat_map(|(name, address)| {
            [format!("peer-group {group}"), format!("description {name}")]
                .map(|what| format!("neighbor {address} {what}"))
        })
        .collect()
}

fn peer_lines(peer: &Peer) -> Vec<String> {
    let mut lines = vec![format!("remote-as {}", peer.asn), format!("description {}", peer.name)];
    if peer.bfd {
        lines.extend(["bfd".to_owned(), "bfd profile pvc".to_owned()]);
    }
    lines.extend(["advertisement-interval 0", "timers connect 1"].map(str::to_owned));
    lines.into_iter().map(|line| format!("neighbor {} {line}", peer.address)).collect()
}

fn unicast(text: &mut String, family: &str, upstream: impl Iterator<Item = IpAddr>) {
    let _ = writeln!(text, " !\n address-family {family} unicast");
    let mut put = |within: &str| line(text, &format!("  {within}"));
    put("redistribute connected route-map PVC-CONNECTED");
    for what in
        ["activate", "next-hop-self", "route-map PVC-FROM-COORDINATOR in", "route-map PVC-TO-COORDINATOR out"]
    {
        put(&format!("neighbor PVC-COORDINATOR {what}"));
    }
    for peer in upstream {
        for what in ["activate", "route-map PVC-FROM-UPSTREAM in", "route-map PVC-TO-UPSTREAM out"] {
            put(&format!("neighbor {peer} {what}"));
        }
    }
    put(&format!("maximum-paths {WAYS_MAX}"));
    line(text, " exit-address-family");
}

fn evpn(text: &mut String, coordinator: bool) {
    line(text, " !\n address-family l2vpn evpn\n  neighbor PVC-COORDINATOR activate");
    if coordinator {
        line(text, "  neighbor PVC-HYPERVISOR activate\n  neighbor PVC-HYPERVISOR route-reflector-client");
    }
    line(text, "  advertise-all-vni");
    if coordinator {
        // Else no other host knows where the gateway's link address is, and floods all that is sent to it.
        line(text, "  advertise-svi-ip");
    }
    line(text, " exit-address-family");
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use pvc_model::network::fabric::Fabric;
    use pvc_model::network::{Managed, Network, NetworkKind, NetworkSpec, Subnet, Vni};
    use pvc_model::{Meta, Name, Timestamp, Uid};

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn site() -> Site {
        Site {
            node: name("hv1"),
            address: "10.255.0.1".parse().expect("an address"),
            cluster_device: "eth0".to_owned(),
            upstream_device: None,
            storage_device: None,
            bridge_device: None,
            state_dir: PathBuf::new(),
            run_dir: PathBuf::new(),
            frr_dir: PathBuf::new(),
            frr_run_dir: PathBuf::new(),
            frr_snippets_dir: "/etc/pvc/frr.conf.d".into(),
            program: PathBuf::new(),
        }
    }

    fn network(number: u32, subnets: [&str; 2]) -> Arc<Network> {
        let [ipv4, ipv6] = subnets.map(|subnet| {
            Some(Subnet { subnet: subnet.parse().expect("a subnet"), gateway: None, dhcp: None })
        });
        let vni = Vni::new(number).expect("a number");
        let managed = Managed {
            domain: "a.test".to_owned(),
            name_servers: vec![],
            ntp_servers: vec![],
            ipv4,
            ipv6,
            reservations: vec![],
            acl: Default::default(),
        };
        let spec = NetworkSpec { description: name("a"), mtu: None, kind: NetworkKind::Managed(managed) };
        let (uid, never) = (Uid::from_random(1), Timestamp(0));
        let meta = Meta { name: vni.name(), uid, revision: 0, created: never, updated: never };
        Arc::new(Network { meta, vni, spec })
    }

    fn plan(stance: Stance) -> HostPlan {
        let at = |number: u8| IpAddr::from([10, 255, 0, number]);
        let peer = |label: &str, address: &str, bfd| Peer {
            name: name(label),
            address: address.parse().expect("an address"),
            asn: 64_999,
            bfd,
        };
        HostPlan {
            stance,
            fabric: Fabric {
                peers: vec![peer("router1", "10.254.0.254", true), peer("router2", "fd54::254", false)],
                ..Fabric::default()
            },
            coordinators: vec![(name("hv1"), at(1)), (name("hv2"), at(2)), (name("hv3"), at(3))],
            hypervisors: vec![(name("hv4"), at(4))],
            networks: vec![network(1001, ["10.100.0.0/24", "fd00:100::/64"])],
            ..HostPlan::default()
        }
    }

    fn rendered(stance: Stance) -> String {
        let mut site = site();
        if stance == Stance::Hypervisor {
            site.address = "10.255.0.4".parse().expect("an address");
        }
        render(&site, &plan(stance), "10.255.0.0/24".parse().expect("a network"))
    }

    /// `UPDATE_GOLDENS=1` writes them anew.
    #[test]
    fn a_configuration_is_as_it_was_looked_over() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/frr/testdata");
        for (stance, file) in [(Stance::Primary, "coordinator.conf"), (Stance::Hypervisor, "hypervisor.conf")]
        {
            let (path, text) = (dir.join(file), rendered(stance));
            if std::env::var_os("UPDATE_GOLDENS").is_some() {
                std::fs::write(&path, &text).expect("a file");
            }
            assert_eq!(text, std::fs::read_to_string(&path).expect("a file"), "{file}");
        }
    }

    #[test]
    fn a_hand_over_changes_nothing_and_being_cut_off_only_the_preference() {
        assert_eq!(rendered(Stance::Primary), rendered(Stance::Standby));
        assert_eq!(rendered(Stance::Primary), rendered(Stance::Ready));
        let (before, after) = (rendered(Stance::Primary), rendered(Stance::CutOff));
        let changed: Vec<&str> = after
            .lines()
            .zip(before.lines())
            .filter(|(after, before)| after != before)
            .map(|(after, _)| after)
            .collect();
        let preference = " set local-preference 50";
        assert_eq!(changed, [preference, preference, " set metric 200", " set metric 200"]);
    }

    #[test]
    fn frrouting_understands_it() {
        if !Path::new("/usr/bin/vtysh").exists() {
            eprintln!("skipped: FRRouting is not installed (scripts/install-deps.sh test)");
            return;
        }
        for stance in [Stance::Primary, Stance::CutOff, Stance::Hypervisor] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("frr.conf");
            std::fs::write(&path, rendered(stance)).expect("a file");
            let checked = pvc_process::Cmd::new("vtysh").args(["-C", "-f"]).arg(&path);
            checked.run_blocking(std::time::Duration::from_secs(30)).expect("it is understood");
        }
    }
}
