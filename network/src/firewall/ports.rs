//! `bridge pvc`: what guests' NICs may send. Each is found by its device, and asked in the chains of its network for its MAC and
//! its addresses, before the bridge learns anything of the frame: what is dropped here never reaches the overlay.
//!
//! ```text
//! prerouting ─by device─▶ net-1001 ─┬▶ arp-1001        who it says it is
//!                                   ├▶ v4-1001         its source, and that it serves no DHCP
//!                                   └▶ v6-1001 ─▶ na-1001
//! ```
//! What a NIC owns stands in sets (`macs`, `owned4`, `owned6`): a lease that comes or goes is one element.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;
use pvc_model::network::host::{HostPlan, Port};
use pvc_model::network::{Attachment, Managed, Subnet, Vni};
use pvc_model::vm::Mac;

use crate::gateway::ROUTER_LINK_LOCAL;

use super::acl::one_of;
use super::table::{Chain, Family, Rule, Set, Table};

/// Before all that others may have there, and before the bridge learns the sender.
const HOOK: &str = "type filter hook prerouting priority -300";
/// The chains of a NIC that is attached to what the cluster does not manage.
const OUTSIDE: &str = "outside";
/// The same, where its addresses are given.
const OUTSIDE_OWNED: &str = "owned";

/// Which sources of one family a network takes from its guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sources {
    /// Those that the NIC was lent, that are reserved for it, or that are given with it.
    Owned,
    /// Besides, all of the subnet that are nobody else's.
    Within(IpNet),
    Any,
}

/// What one group of chains is about.
struct Rules<'a> {
    name: String,
    v4: Sources,
    v6: Sources,
    /// Nobody's but the cluster's.
    gateways: Vec<IpAddr>,
    /// Others' than those who own them.
    reserved: Vec<IpAddr>,
    /// Lent to somebody of the network of whom it is not known who it is.
    of_somebody: &'a [IpAddr],
    /// DHCP servers and routers are the cluster's.
    is_served: bool,
}

pub fn table(plan: &HostPlan) -> Table {
    let mut table = Table::new(Family::Bridge);
    let mut devices = Set::map("type ifname : verdict");
    let mut macs = Set::of("type ifname . ether_addr");
    let mut owned_v4 = Set::of("type ifname . ipv4_addr");
    let mut owned_v6 = Set::of("type ifname . ipv6_addr");
    // The target of a neighbour advertisement: this nft has no name for that field.
    let mut targets = Set::of("typeof iifname . @th,64,128");
    let owned = Owned::of(plan);
    let networks: HashMap<Vni, Rules<'_>> = plan
        .networks
        .iter()
        .filter_map(|network| {
            let managed = network.managed()?;
            Some((network.vni, Rules::of(network.vni, managed, owned.of_somebody(network.vni))))
        })
        .collect();
    let given = Rules::outside();

    for port in plan.ports.iter().filter(|port| port.spoof_check) {
        let device = format!("\"{}\"", port.device());
        macs.insert(format!("{device} . {}", port.mac));
        let managed = match port.attachment {
            Attachment::Network(vni) => networks.get(&vni),
            Attachment::Host(_) | Attachment::Bridge(_) => None,
        };
        let rules = managed.or((!port.addresses.is_empty()).then_some(&given));
        let chain = rules.map_or(OUTSIDE.to_owned(), |rules| format!("net-{}", rules.name));
        devices.elements.insert(device.clone(), format!("goto {chain}"));
        for address in owned.by(port) {
            match address {
                IpAddr::V4(v4) => owned_v4.insert(format!("{device} . {v4}")),
                IpAddr::V6(v6) => {
                    owned_v6.insert(format!("{device} . {v6}"));
                    targets.insert(format!("{device} . 0x{:032x}", v6.to_bits()));
                }
            }
        }
        match rules {
            _ if table.chains.contains_key(&chain) => {}
            Some(rules) => table.chains.extend(rules.chains()),
            None => {
                table.chains.insert(chain, Chain::of(outside()));
            }
        }
    }
    let sets = [
        ("nics", devices),
        ("macs", macs),
        ("owned4", owned_v4),
        ("owned6", owned_v6),
        ("targets6", targets),
    ];
    table.sets.extend(sets.into_iter().map(|(name, set)| (name.to_owned(), set)));
    let begin = vec![Rule::new("iifname vmap @nics", "")];
    table.chains.insert("prerouting".to_owned(), Chain::hooked(HOOK, begin));
    table
}

/// Which addresses are whose.
struct Owned {
    by_mac: HashMap<(Vni, Mac), BTreeSet<IpAddr>>,
    of_somebody: HashMap<Vni, Vec<IpAddr>>,
}

impl Owned {
    fn of(plan: &HostPlan) -> Self {
        let mut owned = Owned { by_mac: HashMap::new(), of_somebody: HashMap::new() };
        for lease in &plan.leases {
            match lease.mac {
                Some(mac) => {
                    owned.by_mac.entry((lease.network, mac)).or_default().insert(lease.address);
                }
                None => owned.of_somebody.entry(lease.network).or_default().push(lease.address),
            }
        }
        for network in &plan.networks {
            for reservation in network.managed().into_iter().flat_map(|managed| &managed.reservations) {
                let addresses = owned.by_mac.entry((network.vni, reservation.mac)).or_default();
                addresses.extend(reservation.ipv4.map(IpAddr::V4));
                addresses.extend(reservation.ipv6.map(IpAddr::V6));
            }
        }
        owned.of_somebody.values_mut().for_each(|addresses| addresses.sort_unstable());
        owned
    }

    fn by(&self, port: &Port) -> BTreeSet<IpAddr> {
        let mut addresses: BTreeSet<IpAddr> = port.addresses.iter().copied().collect();
        if let Attachment::Network(vni) = port.attachment {
            addresses.extend(self.by_mac.get(&(vni, port.mac)).into_iter().flatten());
        }
        addresses
    }

    fn of_somebody(&self, vni: Vni) -> &[IpAddr] {
        self.of_somebody.get(&vni).map_or(&[], Vec::as_slice)
    }
}

impl<'a> Rules<'a> {
    fn of(vni: Vni, managed: &Managed, of_somebody: &'a [IpAddr]) -> Self {
        let sources = |subnet: &Option<Subnet>| match subnet {
            // Neither family has a subnet: the guests' addresses are their own affair.
            None if managed.subnets().next().is_none() => Sources::Any,
            None => Sources::Owned,
            Some(subnet) if subnet.dhcp.is_some() => Sources::Owned,
            Some(subnet) => Sources::Within(subnet.subnet),
        };
        let reserved = managed
            .reservations
            .iter()
            .flat_map(|kept| [kept.ipv4.map(IpAddr::V4), kept.ipv6.map(IpAddr::V6)].into_iter().flatten());
        Rules {
            name: vni.to_string(),
            v4: sources(&managed.ipv4),
            v6: sources(&managed.ipv6),
            gateways: gateways(managed),
            reserved: reserved.collect(),
            of_somebody,
            is_served: true,
        }
    }

    fn outside() -> Self {
        Rules {
            name: OUTSIDE_OWNED.to_owned(),
            v4: Sources::Owned,
            v6: Sources::Owned,
            gateways: Vec::new(),
            reserved: Vec::new(),
            of_somebody: &[],
            is_served: false,
        }
    }

    fn chains(&self) -> Vec<(String, Chain)> {
        let chain = |kind: &str, rules| (format!("{kind}-{}", self.name), Chain::of(rules));
        vec![
            chain("net", self.frames()),
            chain("arp", self.arp()),
            chain("v4", self.v4()),
            chain("v6", self.v6()),
            chain("na", self.neighbour_advertisements()),
        ]
    }

    fn frames(&self) -> Vec<Rule> {
        let name = &self.name;
        vec![
            dropped("iifname . ether saddr != @macs", "another's MAC"),
            Rule::new("ether type 0x0800", format!("goto v4-{name}")),
            Rule::new("ether type 0x86dd", format!("goto v6-{name}")),
            Rule::new("ether type 0x0806", format!("goto arp-{name}")),
            // How a hypervisor announces a guest that has arrived.
            Rule::new("ether type 0x8035", "accept"),
            dropped("", "neither IP nor ARP"),
        ]
    }

    fn arp(&self) -> Vec<Rule> {
        let mut rules = vec![
            dropped("iifname . arp saddr ether != @macs", "ARP with another's MAC"),
            // A probe before an address is taken (RFC 5227) has no sender yet.
            Rule::new("arp operation request arp saddr ip 0.0.0.0", "accept"),
        ];
        rules.extend(self.gateways_are_not_had(true, "arp saddr ip"));
        rules.extend(self.sources(true, "arp saddr ip", "owned4", "ARP with another's address"));
        rules
    }

    fn v4(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        if self.is_served {
            rules.push(dropped("udp sport 67", "a DHCP server"));
        }
        rules
            .push(Rule::new("ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67", "accept"));
        rules.extend(self.gateways_are_not_had(true, "ip saddr"));
        rules.extend(self.sources(true, "ip saddr", "owned4", "another's IPv4 address"));
        rules
    }

    fn v6(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        if self.is_served {
            rules.push(dropped("icmpv6 type { nd-router-advert, nd-redirect }", "a router"));
            rules.push(dropped("udp sport 547", "a DHCPv6 server"));
        }
        rules.push(Rule::new("icmpv6 type nd-neighbor-advert", format!("jump na-{}", self.name)));
        // Before it has an address: is it taken (RFC 4862), who is the router, which groups it listens to.
        let first = "nd-neighbor-solicit, nd-router-solicit, mld-listener-report, mld2-listener-report";
        rules.push(Rule::new(format!("ip6 saddr :: icmpv6 type {{ {first} }}"), "accept"));
        rules.extend(self.gateways_are_not_had(false, "ip6 saddr"));
        // ND and DHCPv6 come from there, and whose it is follows from no lease.
        rules.push(Rule::new("ip6 saddr fe80::/10", "accept"));
        rules.extend(self.sources(false, "ip6 saddr", "owned6", "another's IPv6 address"));
        rules
    }

    /// An advertisement may speak for addresses that its sender may use; it returns to the question of its own source.
    fn neighbour_advertisements(&self) -> Vec<Rule> {
        const TARGET: &str = "@th,64,128";
        let number = |address: &IpAddr| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(format!("0x{:032x}", v6.to_bits())),
        };
        let one_of = |addresses: &[IpAddr]| -> Option<String> {
            let numbers: Vec<String> = addresses.iter().filter_map(number).collect();
            (!numbers.is_empty()).then(|| format!("{TARGET} {}", one_of(&numbers)))
        };
        let others = |matches: String| dropped(matches, "another's neighbour advertisement");
        let mut rules = Vec::new();
        rules.extend(one_of(&self.gateways).map(others));
        if self.v6 == Sources::Any {
            return rules;
        }
        rules.push(Rule::new("@th,64,10 0x3fa", "return"));
        rules.push(Rule::new(format!("iifname . {TARGET} @targets6"), "return"));
        if let Sources::Within(IpNet::V6(subnet)) = self.v6 {
            rules.extend(one_of(&self.reserved).map(others));
            let length = subnet.prefix_len();
            let prefix = subnet.network().to_bits().checked_shr(128 - u32::from(length)).unwrap_or(0);
            rules.push(Rule::new(format!("@th,64,{length} 0x{prefix:x}"), "return"));
        }
        rules.extend(one_of(self.of_somebody).map(|matches| Rule::new(matches, "return")));
        rules.push(others(String::new()));
        rules
    }

    fn gateways_are_not_had(&self, v4: bool, field: &str) -> Option<Rule> {
        let gateways = of_family(&self.gateways, v4);
        (!gateways.is_empty())
            .then(|| dropped(format!("{field} {}", one_of(&gateways)), "a gateway's address"))
    }

    /// Lets through what the NIC may use of one family, by that field of the packet, and drops the rest.
    fn sources(&self, v4: bool, field: &str, owned: &str, what: &str) -> Vec<Rule> {
        let mut rules = vec![Rule::new(format!("iifname . {field} @{owned}"), "accept")];
        match if v4 { self.v4 } else { self.v6 } {
            Sources::Any => return vec![Rule::new("", "accept")],
            Sources::Owned => {}
            Sources::Within(subnet) => {
                let taken = of_family(&self.reserved, v4);
                if !taken.is_empty() {
                    rules.push(dropped(format!("{field} {}", one_of(&taken)), what));
                }
                rules.push(Rule::new(format!("{field} {subnet}"), "accept"));
            }
        }
        let somebodys = of_family(self.of_somebody, v4);
        if !somebodys.is_empty() {
            rules.push(Rule::new(format!("{field} {}", one_of(&somebodys)), "accept"));
        }
        rules.push(dropped("", what));
        rules
    }
}

/// The addresses that guests know as their router's.
fn gateways(managed: &Managed) -> Vec<IpAddr> {
    let has_router =
        managed.ipv6.as_ref().is_some_and(|subnet| subnet.gateway.is_some() || subnet.dhcp.is_some());
    let of_the_link = has_router.then_some(IpAddr::V6(ROUTER_LINK_LOCAL));
    managed.gateways().map(|gateway| gateway.addr()).chain(of_the_link).collect()
}

fn of_family(addresses: &[IpAddr], v4: bool) -> Vec<IpAddr> {
    addresses.iter().copied().filter(|address| address.is_ipv4() == v4).collect()
}

fn outside() -> Vec<Rule> {
    vec![
        dropped("iifname . ether saddr != @macs", "another's MAC"),
        dropped("ether type 0x0806 iifname . arp saddr ether != @macs", "ARP with another's MAC"),
    ]
}

fn dropped(matches: impl Into<String>, what: impl Display) -> Rule {
    Rule::new(matches, format!("counter drop comment \"{what}\""))
}
