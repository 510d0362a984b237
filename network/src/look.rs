//! One client network as this host has it now: looked at, never changed. For people who ask where things are.
//!
//! What can't be read is left out and said; the rest is still told.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use pvc_model::Name;
use pvc_model::network::host::{HostPlan, Stance};
use pvc_model::network::{Network, Vni};
use pvc_model::vm::Mac;
use tokio::time::timeout;

use crate::dns::zones::zones;
use crate::firewall::{self, RuleCount};
use crate::frr::state::{self, FabricState, PeerState, Place};
use crate::links::bridge_mac;
use crate::netlink::{Address, Device, Kind, Netlink, NetlinkError};
use crate::site::Site;

/// How long each thing may take to tell: somebody waits.
const TELLS_WITHIN: Duration = Duration::from_secs(3);

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub stance: Stance,
    /// The bridge is there and up.
    pub bridge: bool,
    /// What is on the bridge: the gateways, where they are.
    pub addresses: Vec<IpAddr>,
    pub peers: Vec<PeerState>,
    /// Other hosts that carry it.
    pub other_hosts: Vec<IpAddr>,
    /// Where its guests' link addresses are.
    pub macs: BTreeMap<Mac, Place>,
    pub counts: Vec<RuleCount>,
    /// What is served, on the primary: "web1.lan.example A 10.1.0.10".
    pub names: Vec<String>,
    /// What could not be looked at, and why.
    pub problems: Vec<String>,
}

/// Looks at a network of the plan; None: the host is not to carry it.
pub async fn look(site: &Site, plan: &HostPlan, vni: Vni) -> Option<Seen> {
    let network = plan.networks.iter().find(|network| network.vni == vni)?;
    let mut seen = Seen { stance: plan.stance, names: names(plan, network), ..Seen::default() };
    let managed = network.managed().is_some();
    let (bridge, fabric, places, counts) = tokio::join!(
        in_time(on_bridge(vni)),
        in_time(asked(managed, state::read(site, plan))),
        in_time(asked(managed, state::places(site, vni))),
        in_time(asked(managed, firewall::counts(vni))),
    );
    (seen.bridge, seen.addresses) = known(bridge, "its bridge", &mut seen.problems);
    let FabricState { peers, networks, .. } = known(fabric, "the fabric's sessions", &mut seen.problems);
    seen.peers = peers;
    seen.other_hosts =
        networks.into_iter().filter(|of| of.vni == vni.get()).flat_map(|of| of.hosts).collect();
    seen.macs = guests(known(places, "where its guests are", &mut seen.problems), &site.node, plan, vni);
    seen.counts = known(counts, "what its rules have matched", &mut seen.problems);
    Some(seen)
}

/// Of a bridged network there is nothing to ask.
async fn asked<T: Default, E>(managed: bool, answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    if managed { answer.await } else { Ok(T::default()) }
}

async fn in_time<T, E: Display>(answer: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(TELLS_WITHIN, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("there was no answer within {} s", TELLS_WITHIN.as_secs())),
    }
}

/// What was learned, or nothing with its reason.
fn known<T: Default>(answer: Result<T, String>, what: &str, problems: &mut Vec<String>) -> T {
    answer.unwrap_or_else(|why| {
        problems.push(format!("{what}: {why}"));
        T::default()
    })
}

async fn on_bridge(vni: Vni) -> Result<(bool, Vec<IpAddr>), NetlinkError> {
    let netlink = Netlink::open()?;
    Ok(of_bridge(vni, &netlink.devices().await?, netlink.addresses().await?))
}

/// Whether the network's bridge is up, and the addresses on it, in order.
fn of_bridge(vni: Vni, devices: &[Device], addresses: Vec<Address>) -> (bool, Vec<IpAddr>) {
    let is_it = |device: &&Device| device.name == vni.bridge() && matches!(device.kind, Kind::Bridge(_));
    let Some(bridge) = devices.iter().find(is_it) else { return (false, Vec::new()) };
    let mut on_it: Vec<IpAddr> =
        addresses.into_iter().filter(|one| one.device == bridge.index).map(|one| one.address).collect();
    on_it.sort();
    (bridge.up, on_it)
}

/// Without the hosts' own addresses: each coordinator has one on each bridge.
fn guests(mut macs: BTreeMap<Mac, Place>, me: &Name, plan: &HostPlan, vni: Vni) -> BTreeMap<Mac, Place> {
    let coordinators = plan.coordinators.iter().map(|(name, _)| name);
    for host in coordinators.chain([me]) {
        macs.remove(&Mac(bridge_mac(host, vni)));
    }
    // A hypervisor's is known to the others by the device that it is on.
    macs.retain(|_, place| !matches!(place, Place::Here(device) if *device == vni.bridge()));
    macs
}

/// The network's own zone, where it is served to guests.
fn names(plan: &HostPlan, network: &Network) -> Vec<String> {
    let Some(managed) = network.managed().filter(|_| plan.stance == Stance::Primary) else {
        return Vec::new();
    };
    let zones = zones(plan);
    let records = zones.get(&managed.domain).into_iter().flat_map(|zone| &zone.records);
    records
        .flat_map(|(name, contents)| {
            contents.iter().map(move |(kind, content)| format!("{name} {} {content}", kind.as_str()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pvc_model::network::{Managed, NetworkKind, NetworkSpec, Reservation, Subnet};
    use pvc_model::{Meta, Timestamp, name::Uid};

    use super::*;
    use crate::netlink::Bridge;

    fn vni() -> Vni {
        Vni::new(7).unwrap()
    }

    fn address(device: u32, address: &str) -> Address {
        Address { device, address: address.parse().unwrap(), prefix: 24 }
    }

    fn bridge(index: u32, name: &str, up: bool) -> Device {
        Device { index, name: name.into(), up, kind: Kind::Bridge(Bridge::default()), ..Device::default() }
    }

    fn network(vni: u32, domain: &str, subnet: &str) -> Arc<Network> {
        let vni = Vni::new(vni).unwrap();
        let reserved = Reservation {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            ipv4: subnet.replace("0/24", "10").parse().ok(),
            ipv6: None,
            hostname: "web1".parse().unwrap(),
        };
        let kind = NetworkKind::Managed(Managed {
            domain: domain.into(),
            name_servers: vec![],
            ntp_servers: vec![],
            ipv4: Some(Subnet { subnet: subnet.parse().unwrap(), gateway: None, dhcp: None }),
            ipv6: None,
            reservations: vec![reserved],
            acl: Default::default(),
        });
        let at = Timestamp(1);
        let meta = Meta { name: vni.name(), uid: Uid::from_random(1), revision: 1, created: at, updated: at };
        let spec = NetworkSpec { description: "a".parse().unwrap(), mtu: None, kind };
        Arc::new(Network { meta, vni, spec })
    }

    #[test]
    fn only_what_is_on_its_own_bridge_is_told() {
        let devices = [bridge(3, "vmbr70", true), bridge(4, "vmbr7", true)];
        let addresses = vec![address(3, "10.7.0.1"), address(4, "fe80::1"), address(4, "10.1.0.1")];
        let found = of_bridge(vni(), &devices, addresses.clone());
        assert_eq!(found, (true, vec!["10.1.0.1".parse().unwrap(), "fe80::1".parse().unwrap()]));
        assert!(!of_bridge(vni(), &[bridge(4, "vmbr7", false)], vec![]).0, "it is down");
        let other = Device { kind: Kind::Other, ..bridge(4, "vmbr7", true) };
        assert_eq!(of_bridge(vni(), &[other], addresses), (false, vec![]), "it is no bridge");
    }

    #[test]
    fn hosts_are_no_guests() {
        let [hv1, hv2]: [Name; 2] = ["hv1", "hv2"].map(|name| name.parse().unwrap());
        let remote: IpAddr = "192.0.2.2".parse().unwrap();
        let guest: Mac = "52:54:00:00:00:01".parse().unwrap();
        let macs = BTreeMap::from([
            (Mac(bridge_mac(&hv1, vni())), Place::Here("vmbr7".into())),
            (Mac(bridge_mac(&hv2, vni())), Place::At(remote)),
            (guest, Place::At(remote)),
        ]);
        let plan = HostPlan { coordinators: vec![(hv2, remote)], ..HostPlan::default() };
        assert_eq!(guests(macs, &hv1, &plan, vni()), BTreeMap::from([(guest, Place::At(remote))]));
    }

    #[test]
    fn names_are_of_the_network_and_the_primary_s() {
        let networks =
            vec![network(7, "lan.example", "10.1.0.0/24"), network(8, "dmz.example", "10.2.0.0/24")];
        let mut plan =
            HostPlan { stance: Stance::Primary, networks: networks.clone(), ..HostPlan::default() };
        let expected = ["lan.example NS ns1.lan.example", "web1.lan.example A 10.1.0.10"];
        assert_eq!(names(&plan, &networks[0]), expected);
        plan.stance = Stance::Standby;
        assert!(names(&plan, &networks[0]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_answer_in_time_is_said_and_holds_up_nothing() {
        let mut problems = Vec::new();
        let never = in_time(std::future::pending::<Result<u32, String>>()).await;
        assert_eq!(known(never, "the fabric's sessions", &mut problems), 0);
        assert_eq!(problems, ["the fabric's sessions: there was no answer within 3 s"]);
    }
}
