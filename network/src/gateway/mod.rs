//! The gateways of client networks: their addresses on the bridges of the host that carries them, and of no other.
//!
//! An address is moved by adding it here and telling all guests at once whose link address it has now; the host that had it takes
//! it off when it learns of that. Link addresses never move (see `links::bridge_mac`).
//!
//! What may never happen here: an address on a host whose stance does not carry the gateways; an address taken from a
//! device that is no bridge of ours.

mod repeat;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::network::Vni;
use pvc_model::network::host::HostPlan;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};

use crate::announce::Announcer;
use crate::links::of_bridge;
use crate::netlink::{Address, Device, Kind, Netlink, NetlinkError, said};
use crate::part::{Blocked, Outcome, Part};
use crate::words;
use repeat::{Announced, Repeater};

/// The router's address on each link with IPv6, besides the network's own gateway: guests send to the address that the router's
/// advertisements come from, which is of this kind. The same on whoever carries the gateways, so it moves with them.
pub const ROUTER_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const LINK_LOCAL_PREFIX: u8 = 64;

/// When it is said again, after the first time: a guest, or a queue on the way, may have missed it.
const AGAIN_AFTER: [Duration; 4] =
    [Duration::from_millis(300), Duration::from_millis(700), Duration::from_secs(2), Duration::from_secs(7)];

#[derive(Default)]
pub struct Gateway {
    repeater: Repeater,
}

/// What differs from how it should be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    add: Vec<(Vni, Address)>,
    remove: Vec<(Vni, Address)>,
    /// Networks whose bridge is not there, or not up.
    no_bridge: Vec<Vni>,
}

impl Gateway {
    pub fn new(_site: crate::Site) -> Self {
        Gateway::default()
    }

    async fn put_right(&mut self, plan: &HostPlan) -> Result<(Vec<String>, Vec<String>), NetlinkError> {
        let netlink = Netlink::open()?;
        let devices = netlink.devices().await?;
        let bridges = bridges(&devices);
        let difference = difference(plan, &bridges, &netlink.addresses().await?);
        let mut done = Vec::new();
        let mut problems: Vec<String> = Vec::new();
        // First off, then on: an address with another length of prefix is another address to us, and the same to the kernel.
        let gone = netlink.each(addresses(&difference.remove), remove).await;
        for ((vni, address), outcome) in difference.remove.iter().zip(gone) {
            match outcome {
                Ok(()) => done.push(format!("took {} off {}", address.address, vni.bridge())),
                Err(error) => problems.push(format!(
                    "{} can't be taken off {}: {}",
                    address.address,
                    vni.bridge(),
                    said(&error)
                )),
            }
        }
        let added = netlink.each(addresses(&difference.add), add).await;
        let mut announced = Vec::new();
        for ((vni, address), outcome) in difference.add.iter().zip(added) {
            match outcome {
                Ok(()) => {
                    done.push(format!("put {} on {}", address.address, vni.bridge()));
                    let mac = bridges.get(vni).map(|bridge| bridge.mac.as_slice());
                    if let Some(mac) = mac.and_then(|mac| mac.try_into().ok()) {
                        announced.push(Announced { index: address.device, mac, address: address.address });
                    }
                }
                Err(error) => problems.push(format!(
                    "{} can't be put on {}: {}",
                    address.address,
                    vni.bridge(),
                    said(&error)
                )),
            }
        }
        let held = wanted(plan, &bridges).into_iter().map(|(_, address)| (address.device, address.address));
        self.repeater.hold(held.collect());
        if !announced.is_empty() {
            match Announcer::open() {
                Ok(announcer) => self.repeater.announce(announcer, announced, &AGAIN_AFTER),
                Err(error) => problems.push(format!("gateways can't be announced: {error}")),
            }
        }
        problems.extend(difference.no_bridge.iter().map(|vni| format!("{} is not there yet", vni.bridge())));
        Ok((done, problems))
    }
}

fn addresses(some: &[(Vni, Address)]) -> Vec<Address> {
    some.iter().map(|(_, address)| address.clone()).collect()
}

fn bridges(devices: &[Device]) -> BTreeMap<Vni, &Device> {
    let bridges = devices.iter().filter(|device| matches!(device.kind, Kind::Bridge(_)));
    bridges.filter_map(|device| Some((of_bridge(&device.name)?, device))).collect()
}

/// The addresses that are to be on bridges that are there.
fn wanted(plan: &HostPlan, bridges: &BTreeMap<Vni, &Device>) -> BTreeSet<(Vni, Address)> {
    let mut wanted = BTreeSet::new();
    for network in &plan.networks {
        let (Some(managed), Some(bridge)) = (network.managed(), bridges.get(&network.vni)) else { continue };
        if !plan.stance.has_gateways() || !bridge.up {
            continue;
        }
        let mut put = |address: IpAddr, prefix: u8| {
            wanted.insert((network.vni, Address { device: bridge.index, address, prefix }));
        };
        managed.gateways().for_each(|gateway| put(gateway.addr(), gateway.prefix_len()));
        if managed.ipv6.as_ref().is_some_and(|subnet| subnet.gateway.is_some() || subnet.dhcp.is_some()) {
            put(ROUTER_LINK_LOCAL.into(), LINK_LOCAL_PREFIX);
        }
    }
    wanted
}

fn difference(plan: &HostPlan, bridges: &BTreeMap<Vni, &Device>, addresses: &[Address]) -> Difference {
    let wanted = wanted(plan, bridges);
    let of_index: BTreeMap<u32, Vni> = bridges.iter().map(|(vni, bridge)| (bridge.index, *vni)).collect();
    let there: BTreeSet<(Vni, Address)> = addresses
        .iter()
        .filter_map(|address| Some((*of_index.get(&address.device)?, address.clone())))
        .collect();
    let with_gateways = plan.networks.iter().filter(|network| {
        plan.stance.has_gateways()
            && network.managed().is_some_and(|managed| managed.gateways().next().is_some())
    });
    let missing = with_gateways.map(|network| network.vni);
    Difference {
        add: wanted.difference(&there).cloned().collect(),
        remove: there.difference(&wanted).cloned().collect(),
        no_bridge: missing.filter(|vni| bridges.get(vni).is_none_or(|bridge| !bridge.up)).collect(),
    }
}

async fn add(handle: rtnetlink::Handle, address: Address) -> Result<(), rtnetlink::Error> {
    let mut request = handle.address().add(address.device, address.address, address.prefix);
    if address.address.is_ipv6() {
        // The host that had it may still have it for a moment: it is ours all the same, and at once.
        let message = request.message_mut();
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    request.execute().await
}

async fn remove(handle: rtnetlink::Handle, address: Address) -> Result<(), rtnetlink::Error> {
    // A request to add it says the same: which device, which address.
    let mut request = handle.address().add(address.device, address.address, address.prefix);
    let message = request.message_mut().clone();
    handle.address().del(message).execute().await
}

#[async_trait]
impl Part for Gateway {
    fn name(&self) -> &'static str {
        "gateway"
    }

    async fn pass(&mut self, plan: &HostPlan) -> Result<Outcome, Blocked> {
        let (done, problems) = self.put_right(plan).await.map_err(|error| Blocked::new(error.to_string()))?;
        match () {
            () if !problems.is_empty() => Err(Blocked::new(words::some(&problems, "; "))),
            () if !done.is_empty() => Ok(Outcome::Progressed(done)),
            () => Ok(Outcome::Settled),
        }
    }
}
