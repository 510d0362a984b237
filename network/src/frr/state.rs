//! How the fabric is, read back from the daemons: for people, and for faults.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pvc_model::Name;
use pvc_model::network::Vni;
use pvc_model::network::host::HostPlan;
use pvc_model::vm::Mac;
use serde::Serialize;
use serde_json::{Map, Value};

use super::vty::{Vty, VtyError};
use crate::Site;

/// This host's sessions and networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FabricState {
    pub asn: u32,
    pub peers: Vec<PeerState>,
    pub networks: Vec<NetworkState>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerState {
    pub address: IpAddr,
    pub kind: PeerKind,
    /// The host's or the router's name; empty where only its address is known.
    pub name: String,
    /// 0 while it has never answered.
    pub asn: u32,
    pub established: bool,
    /// The protocol's word: "Established", "Active", "Connect", …
    pub state: String,
    /// Since when it is so, in seconds; 0 while it has never answered.
    pub seconds: u64,
    /// Routes received and sent, by family: "ipv4Unicast", "ipv6Unicast", "l2VpnEvpn".
    pub routes: BTreeMap<String, (u64, u64)>,
    /// Whether BFD sees the link as alive; None: it does not watch it.
    pub alive: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerKind {
    Coordinator,
    Hypervisor,
    Upstream,
}

/// What EVPN knows of one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkState {
    pub vni: u32,
    /// Link addresses that are known, here and elsewhere.
    pub macs: u64,
    /// Other hosts that carry it.
    pub hosts: Vec<IpAddr>,
}

/// Where a link address is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On this device of this host.
    Here(String),
    /// On the host with this address.
    At(IpAddr),
}

pub async fn read(site: &Site, plan: &HostPlan) -> Result<FabricState, VtyError> {
    let mut bgpd = Vty::open(&site.frr_run_dir, "bgpd").await?;
    let summary = bgpd.json("show bgp summary json").await?;
    let bfd = Vty::open(&site.frr_run_dir, "bfdd").await?.json("show bfd peers json").await?;
    let vnis = Vty::open(&site.frr_run_dir, "zebra").await?.json("show evpn vni json").await?;
    Ok(FabricState {
        asn: families(&summary).find_map(|(_, family)| number(family, "as")).unwrap_or(0),
        peers: peers(&summary, &bfd, plan),
        networks: networks(&vnis),
    })
}

/// Where the link addresses of a network are, as this host sees it.
pub async fn places(site: &Site, vni: Vni) -> Result<BTreeMap<Mac, Place>, VtyError> {
    let mut zebra = Vty::open(&site.frr_run_dir, "zebra").await?;
    let shown = zebra.json(&format!("show evpn mac vni {vni} json")).await?;
    let macs = shown["macs"].as_object().into_iter().flatten();
    Ok(macs.filter_map(|(mac, found)| Some((mac.parse().ok()?, place(found)?))).collect())
}

fn place(found: &Value) -> Option<Place> {
    match found["type"].as_str()? {
        "local" => Some(Place::Here(found["intf"].as_str().unwrap_or_default().to_owned())),
        "remote" => found["remoteVtep"].as_str()?.parse().ok().map(Place::At),
        _ => None,
    }
}

fn families(summary: &Value) -> impl Iterator<Item = (&String, &Map<String, Value>)> {
    let all = summary.as_object().into_iter().flatten();
    all.filter_map(|(name, family)| Some((name, family.as_object()?)))
}

fn number<T: TryFrom<u64>>(of: &Map<String, Value>, key: &str) -> Option<T> {
    of.get(key)?.as_u64()?.try_into().ok()
}

fn peers(summary: &Value, bfd: &Value, plan: &HostPlan) -> Vec<PeerState> {
    let alive: BTreeMap<IpAddr, bool> = bfd
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|peer| Some((peer["peer"].as_str()?.parse().ok()?, peer["status"] == "up")))
        .collect();
    let mut found: BTreeMap<IpAddr, PeerState> = BTreeMap::new();
    for (name, family) in families(summary) {
        for (address, shown) in family.get("peers").and_then(Value::as_object).into_iter().flatten() {
            let (Ok(address), Some(shown)) = (address.parse::<IpAddr>(), shown.as_object()) else { continue };
            let peer = found.entry(address).or_insert_with(|| peer(address, kind(address, plan), shown));
            peer.alive = alive.get(&address).copied();
            let routes = (number(shown, "pfxRcd").unwrap_or(0), number(shown, "pfxSnt").unwrap_or(0));
            peer.routes.insert(name.clone(), routes);
        }
    }
    found.into_values().collect()
}

fn kind(address: IpAddr, plan: &HostPlan) -> PeerKind {
    let is_of = |hosts: &[(Name, IpAddr)]| hosts.iter().any(|(_, known)| *known == address);
    match (is_of(&plan.coordinators), is_of(&plan.hypervisors)) {
        (true, _) => PeerKind::Coordinator,
        (_, true) => PeerKind::Hypervisor,
        _ => PeerKind::Upstream,
    }
}

fn peer(address: IpAddr, kind: PeerKind, shown: &Map<String, Value>) -> PeerState {
    let text = |key: &str| shown.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let asn = number(shown, "remoteAs").unwrap_or(0);
    let milliseconds: u64 = number(shown, "peerUptimeMsec").unwrap_or(0);
    PeerState {
        address,
        kind,
        name: text("desc"),
        asn,
        established: text("state") == "Established",
        state: text("state"),
        seconds: milliseconds / 1000,
        routes: BTreeMap::new(),
        alive: None,
    }
}

fn networks(vnis: &Value) -> Vec<NetworkState> {
    let mut networks: Vec<NetworkState> = vnis
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, shown)| {
            let shown = shown.as_object()?;
            let hosts = shown.get("remoteVteps").and_then(Value::as_array).into_iter().flatten();
            let address = |host: &Value| {
                let text = host.as_str().or_else(|| host.get("ip")?.as_str())?;
                text.parse().ok()
            };
            Some(NetworkState {
                vni: number(shown, "vni")?,
                macs: number(shown, "numMacs").unwrap_or(0),
                hosts: hosts.filter_map(address).collect(),
            })
        })
        .collect();
    networks.sort_by_key(|network| network.vni);
    networks
}
