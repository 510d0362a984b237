//! The zones that follow from a plan: the names of each network's gateway and guests, and the reverse.
//!
//! Pure. A name belongs to one: to the name servers and the gateway first, then to the NIC that it is reserved for, then to
//! the guest that has had it longest. Who comes later has an address, and no name.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pvc_model::network::Managed;
use pvc_model::network::host::HostPlan;
use pvc_model::network::lease::Lease;
use pvc_model::vm::Mac;

use super::reverse;

/// Seconds for which an answer may be kept: guests come and go, and asking again costs little.
pub(super) const TTL: u32 = 10;
/// The same for "there is no such name" (RFC 2308).
const TTL_NEGATIVE: u32 = 5;
/// How often secondaries ask by themselves, ask again, and for how long they answer without us.
const REFRESH: u32 = 300;
const RETRY: u32 = 60;
const EXPIRE: u32 = 604_800;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Ns,
    A,
    Aaaa,
    Ptr,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Ns => "NS",
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Ptr => "PTR",
        }
    }
}

/// What a zone holds. Names are lower case, and have no dot at their end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// By their names.
    pub records: BTreeMap<String, BTreeSet<(Kind, String)>>,
    /// The first name server.
    pub server: String,
    /// The one to write to: its first dot is a mailbox's '@'.
    pub mailbox: String,
}

impl Content {
    /// All but the serial; equal for equal zones, on each coordinator.
    pub fn digest(&self) -> String {
        let mut hash = blake3::Hasher::new();
        hash.update(format!("{} {}\n", self.server, self.mailbox).as_bytes());
        for (name, records) in &self.records {
            for (kind, content) in records {
                hash.update(format!("{name} {} {content}\n", kind.as_str()).as_bytes());
            }
        }
        hash.finalize().to_hex()[..32].to_owned()
    }

    /// What a SOA record says.
    pub fn authority(&self, serial: u32) -> String {
        format!("{}. {}. {serial} {REFRESH} {RETRY} {EXPIRE} {TTL_NEGATIVE}", self.server, self.mailbox)
    }

    fn add(&mut self, name: &str, kind: Kind, content: String) {
        self.records.entry(name.to_owned()).or_default().insert((kind, content));
    }
}

/// Whose a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Cluster,
    Nic(Mac),
    /// Of a client that did not show its MAC.
    Client(String),
}

impl Owner {
    fn of(lease: &Lease) -> Owner {
        lease.mac.map_or_else(|| Owner::Client(lease.client_id.clone()), Owner::Nic)
    }
}

/// All zones, by their names.
pub fn zones(plan: &HostPlan) -> BTreeMap<String, Content> {
    let mut book = Book { servers: servers(plan), ..Book::default() };
    let managed = || plan.networks.iter().filter_map(|network| Some((network, network.managed()?)));
    for (_, managed) in managed() {
        book.network(managed);
    }
    for (_, managed) in managed() {
        for reservation in &managed.reservations {
            let addresses = [reservation.ipv4.map(IpAddr::V4), reservation.ipv6.map(IpAddr::V6)];
            let owner = Owner::Nic(reservation.mac);
            for address in addresses.into_iter().flatten() {
                book.host(managed, reservation.hostname.as_str(), &owner, address);
            }
        }
    }
    let networks: BTreeMap<_, &Managed> =
        managed().map(|(network, managed)| (network.vni, managed)).collect();
    let mut leases: Vec<&Lease> = plan.leases.iter().map(|lease| &**lease).collect();
    // The order must be the same whoever asks, and not change as leases are renewed.
    leases.sort_by_key(|lease| (lease.meta.created, lease.address));
    for lease in leases {
        let Some(managed) = networks.get(&lease.network) else { continue };
        if let Some(hostname) = &lease.hostname {
            book.host(managed, hostname.as_str(), &Owner::of(lease), lease.address);
        }
    }
    book.zones
}

/// The coordinators' addresses, first the one whose name is first: all make the same zones.
fn servers(plan: &HostPlan) -> Vec<IpAddr> {
    let by_name: BTreeMap<_, _> = plan.coordinators.iter().map(|(name, address)| (name, *address)).collect();
    by_name.into_values().collect()
}

#[derive(Default)]
struct Book {
    servers: Vec<IpAddr>,
    zones: BTreeMap<String, Content>,
    owners: BTreeMap<String, Owner>,
    pointers: BTreeSet<IpAddr>,
}

impl Book {
    fn network(&mut self, managed: &Managed) {
        let domain = &managed.domain;
        self.zone(domain, domain);
        for (number, address) in (1..).zip(self.servers.clone()) {
            let name = format!("ns{number}.{domain}");
            self.owners.insert(name.clone(), Owner::Cluster);
            self.address(domain, &name, address);
        }
        for subnet in managed.subnets() {
            for reverse in reverse::zones(subnet.subnet) {
                self.zone(&reverse, domain);
            }
        }
        for gateway in managed.gateways() {
            self.host(managed, "gateway", &Owner::Cluster, gateway.addr());
        }
    }

    /// Makes the zone, unless another network has.
    fn zone(&mut self, name: &str, domain: &str) {
        let servers = 1..=self.servers.len().max(1);
        if let Entry::Vacant(place) = self.zones.entry(name.to_owned()) {
            let (server, mailbox) = (format!("ns1.{domain}"), format!("hostmaster.{domain}"));
            let zone = place.insert(Content { server, mailbox, ..Content::default() });
            for number in servers {
                zone.add(name, Kind::Ns, format!("ns{number}.{domain}"));
            }
        }
    }

    /// Gives a name to an address, and the address to the name, as far as neither is another's.
    fn host(&mut self, managed: &Managed, label: &str, owner: &Owner, address: IpAddr) {
        let name = format!("{label}.{}", managed.domain);
        // A lease may have been lent under another range, and a label that holds a dot would be in another zone.
        let ours = managed.subnets().any(|subnet| subnet.subnet.contains(&address)) && !label.contains('.');
        if !ours || *self.owners.entry(name.clone()).or_insert_with(|| owner.clone()) != *owner {
            return;
        }
        self.address(&managed.domain, &name, address);
        if self.pointers.insert(address) {
            let pointer = reverse::pointer(address);
            if let Some(zone) = zone_of(&mut self.zones, &pointer) {
                zone.add(&pointer, Kind::Ptr, name);
            }
        }
    }

    fn address(&mut self, zone: &str, name: &str, address: IpAddr) {
        let kind = if address.is_ipv4() { Kind::A } else { Kind::Aaaa };
        if let Some(zone) = self.zones.get_mut(zone) {
            zone.add(name, kind, address.to_string());
        }
    }
}

/// The zone that a name is in: the longest that it ends in.
fn zone_of<'a>(zones: &'a mut BTreeMap<String, Content>, name: &str) -> Option<&'a mut Content> {
    let mut rest = name;
    while !zones.contains_key(rest) {
        rest = rest.split_once('.')?.1;
    }
    zones.get_mut(rest)
}
