//! What this host sees of a client network, as it is told to coordinators.

use std::net::IpAddr;

use pvc_model::network::Vni;
use pvc_model::network::host::Stance;
use pvc_network::Site;
use pvc_network::firewall::RuleCount;
use pvc_network::frr::state::{PeerKind, PeerState, Place};
use pvc_network::look::{Seen, look};
use pvc_proto::v1;

use super::SharedPlan;

/// MACs and names of one network that are told, each: what people can read.
const TOLD_MAX: usize = 1000;

/// Looks when it is asked. Clones are cheap enough for each call.
#[derive(Clone)]
pub struct Looker {
    pub site: Site,
    pub plan: SharedPlan,
}

impl Looker {
    pub async fn look(&self, vni: Vni) -> v1::HostNetworkState {
        let node = self.site.node.to_string();
        let plan = self.plan.borrow().clone();
        let unknown = |problem: &str| v1::HostNetworkState {
            node: node.clone(),
            problem: problem.to_owned(),
            ..Default::default()
        };
        let Some(plan) = plan else { return unknown("it was told nothing of the cluster yet") };
        match look(&self.site, &plan, vni).await {
            Some(seen) => v1::HostNetworkState { node, ..told(seen) },
            None => unknown("it is not to carry the network, as far as it was told"),
        }
    }
}

fn told(seen: Seen) -> v1::HostNetworkState {
    let Seen { stance, bridge, addresses, peers, other_hosts, macs, counts, mut names, problems } = seen;
    let (mac_count, name_count) = (count(macs.len()), count(names.len()));
    names.truncate(TOLD_MAX);
    v1::HostNetworkState {
        unknown: problems,
        stance: wire_stance(stance).into(),
        bridge,
        gateways: texts(&addresses),
        peers: peers.into_iter().map(peer).collect(),
        other_hosts: texts(&other_hosts),
        macs: macs.into_iter().take(TOLD_MAX).map(|(mac, place)| wire_mac(mac.to_string(), place)).collect(),
        mac_count,
        counts: counts.into_iter().map(rule_count).collect(),
        names,
        name_count,
        ..Default::default()
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn texts(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn wire_stance(stance: Stance) -> v1::NetworkStance {
    match stance {
        Stance::Hypervisor => v1::NetworkStance::Hypervisor,
        Stance::Standby => v1::NetworkStance::Standby,
        Stance::Ready => v1::NetworkStance::Ready,
        Stance::Primary => v1::NetworkStance::Primary,
        Stance::CutOff => v1::NetworkStance::CutOff,
        Stance::Leaving => v1::NetworkStance::Leaving,
    }
}

fn wire_mac(mac: String, place: Place) -> v1::NetworkMac {
    match place {
        Place::Here(device) => v1::NetworkMac { mac, device, ..Default::default() },
        Place::At(host) => v1::NetworkMac { mac, host: host.to_string(), ..Default::default() },
    }
}

fn peer(peer: PeerState) -> v1::FabricPeer {
    let kind = match peer.kind {
        PeerKind::Coordinator => v1::FabricPeerKind::Coordinator,
        PeerKind::Hypervisor => v1::FabricPeerKind::Hypervisor,
        PeerKind::Upstream => v1::FabricPeerKind::Upstream,
    };
    let routes = peer.routes.into_iter();
    v1::FabricPeer {
        address: peer.address.to_string(),
        name: peer.name,
        kind: kind.into(),
        state: peer.state,
        seconds: peer.seconds,
        alive: peer.alive,
        routes: routes
            .map(|(family, (received, sent))| v1::FabricRoutes { family, received, sent })
            .collect(),
    }
}

fn rule_count(count: RuleCount) -> v1::RuleCount {
    let RuleCount { direction, rule, packets, bytes } = count;
    let direction = v1::AclDirection::from(direction).into();
    v1::RuleCount { direction, rule: rule.to_string(), packets, bytes }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pvc_model::network::host::HostPlan;
    use pvc_model::vm::Mac;
    use tokio::sync::watch;

    use super::*;

    #[test]
    fn what_nobody_could_read_is_cut_and_counted() {
        let mac = |number: u16| Mac([0x52, 0x54, 0, 0, (number >> 8) as u8, number as u8]);
        let seen = Seen {
            stance: Stance::CutOff,
            macs: (0..1001).map(|number| (mac(number), Place::Here("nic525400000000".into()))).collect(),
            names: (0..1002).map(|number| format!("g{number}.lan.example A 10.1.0.1")).collect(),
            ..Seen::default()
        };
        let told = told(seen);
        assert_eq!((told.macs.len(), told.mac_count), (1000, 1001));
        assert_eq!((told.names.len(), told.name_count), (1000, 1002));
        assert_eq!(told.stance(), v1::NetworkStance::CutOff);
        assert_eq!((told.macs[0].device.as_str(), told.macs[0].host.as_str()), ("nic525400000000", ""));
    }

    #[tokio::test]
    async fn a_host_that_was_not_told_of_the_network_says_so() {
        let site = Site {
            node: "hv1".parse().unwrap(),
            address: "192.0.2.1".parse().unwrap(),
            cluster_device: "eth0".into(),
            upstream_device: None,
            storage_device: None,
            bridge_device: None,
            state_dir: "/nowhere".into(),
            run_dir: "/nowhere".into(),
            frr_dir: "/nowhere".into(),
            frr_run_dir: "/nowhere".into(),
            frr_snippets_dir: "/nowhere".into(),
            program: "/nowhere".into(),
        };
        let (plans, plan) = watch::channel(None);
        let looker = Looker { site, plan };
        let vni = Vni::new(7).unwrap();
        let before = looker.look(vni).await;
        assert_eq!((before.node.as_str(), before.problem.contains("nothing of the cluster")), ("hv1", true));
        plans.send_replace(Some(Arc::new(HostPlan::default())));
        assert!(looker.look(vni).await.problem.contains("not to carry"));
    }
}
