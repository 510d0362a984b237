//! Client networks, and what is reserved in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use pvc_model::network::acl::Acl;
use pvc_model::network::{
    DhcpRange, LEASE_SECONDS_DEFAULT, Managed, Network, NetworkKind, NetworkSpec, Reservation, Subnet, Vni,
};
use pvc_model::{Rejection, World};

use super::acl::acl;
use super::meta::{meta, subject};
use super::refuse::At;
use crate::v1;

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

impl From<&Subnet> for v1::Subnet {
    fn from(subnet: &Subnet) -> Self {
        v1::Subnet {
            subnet: subnet.subnet.to_string(),
            gateway: text(subnet.gateway),
            dhcp: subnet.dhcp.as_ref().map(|dhcp| v1::DhcpRange {
                first: dhcp.first.to_string(),
                last: dhcp.last.to_string(),
                lease_seconds: dhcp.lease_seconds,
            }),
        }
    }
}

impl From<&NetworkSpec> for v1::NetworkSpec {
    /// Without reservations and rules.
    fn from(spec: &NetworkSpec) -> Self {
        let (managed, bridged) = match &spec.kind {
            NetworkKind::Managed(managed) => {
                let managed = v1::ManagedNetwork {
                    domain: managed.domain.clone(),
                    name_servers: texts(&managed.name_servers),
                    ntp_servers: texts(&managed.ntp_servers),
                    ipv4: managed.ipv4.as_ref().map(Into::into),
                    ipv6: managed.ipv6.as_ref().map(Into::into),
                };
                (Some(managed), None)
            }
            NetworkKind::Bridged { device } => {
                (None, Some(v1::BridgedNetwork { device: device.clone().unwrap_or_default() }))
            }
        };
        v1::NetworkSpec {
            description: spec.description.to_string(),
            mtu: spec.mtu.unwrap_or(0),
            managed,
            bridged,
        }
    }
}

impl From<&Reservation> for v1::Reservation {
    fn from(reservation: &Reservation) -> Self {
        v1::Reservation {
            mac: reservation.mac.to_string(),
            ipv4: text(reservation.ipv4),
            ipv6: text(reservation.ipv6),
            hostname: reservation.hostname.to_string(),
        }
    }
}

impl From<&Network> for v1::Network {
    fn from(network: &Network) -> Self {
        let managed = network.managed();
        v1::Network {
            meta: Some((&network.meta).into()),
            vni: network.vni.get(),
            spec: Some((&network.spec).into()),
            reservations: managed.iter().flat_map(|m| &m.reservations).map(Into::into).collect(),
            acl: managed.iter().flat_map(|m| &m.acl.rules).map(Into::into).collect(),
            users: Vec::new(),
            lease_count: 0,
            reservation_count: 0,
            acl_rule_count: 0,
        }
    }
}

/// A network as it is shown: with who uses it, and how much there is of what.
pub fn network_view(world: &World, network: &Network) -> v1::Network {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let whole = v1::Network::from(network);
    v1::Network {
        users: world.network_users(network.vni).iter().map(ToString::to_string).collect(),
        lease_count: count(world.leases_of(network.vni).count()),
        reservation_count: count(whole.reservations.len()),
        acl_rule_count: count(whole.acl.len()),
        ..whole
    }
}

pub fn vni(at: &At<'_>, number: u32) -> Result<Vni, Rejection> {
    Vni::new(number).map_err(|error| at.refuse("vni-range", error))
}

/// An address, in any spelling of its family.
pub(super) fn address<T: FromStr>(at: &At<'_>, text: &str, like: &str) -> Result<T, Rejection> {
    let shown = || text.chars().take(64).collect::<String>();
    text.parse()
        .map_err(|_| at.refuse("bad-address", format_args!("{:?} is no address like {like}", shown())))
}

pub(super) fn addresses<'a>(
    at: &'a At<'a>,
    field: &'a str,
    texts: &[String],
) -> Result<Vec<IpAddr>, Rejection> {
    texts.iter().enumerate().map(|(i, text)| ip(&at.item(field, i), text)).collect()
}

pub(super) fn ip(at: &At<'_>, text: &str) -> Result<IpAddr, Rejection> {
    address(at, text, "10.1.0.7 or 2001:db8:1::7")
}

fn optional_ip(at: &At<'_>, text: &str) -> Result<Option<IpAddr>, Rejection> {
    (!text.is_empty()).then(|| ip(at, text)).transpose()
}

fn subnet(at: &At<'_>, wire: &v1::Subnet) -> Result<Subnet, Rejection> {
    let shown: String = wire.subnet.chars().take(64).collect();
    let bad = |_| {
        let detail = format_args!("{shown:?} is no subnet like 10.1.0.0/24 or 2001:db8:1::/64");
        at.field("subnet").refuse("bad-subnet", detail)
    };
    let subnet: IpNet = wire.subnet.parse().map_err(bad)?;
    let range = |wire: &v1::DhcpRange| {
        let at = at.field("dhcp");
        Ok(DhcpRange {
            first: ip(&at.field("first"), &wire.first)?,
            last: ip(&at.field("last"), &wire.last)?,
            lease_seconds: if wire.lease_seconds == 0 { LEASE_SECONDS_DEFAULT } else { wire.lease_seconds },
        })
    };
    Ok(Subnet {
        subnet,
        gateway: optional_ip(&at.field("gateway"), &wire.gateway)?,
        dhcp: wire.dhcp.as_ref().map(range).transpose()?,
    })
}

/// `at` is the spec itself. It has no reservations and no rules.
pub fn network_spec(at: &At<'_>, wire: &v1::NetworkSpec) -> Result<NetworkSpec, Rejection> {
    let kind = match (&wire.managed, &wire.bridged) {
        (Some(managed), None) => {
            let at = at.field("managed");
            let family = |field: &'static str, wire: &Option<v1::Subnet>| {
                wire.as_ref().map(|wire| subnet(&at.field(field), wire)).transpose()
            };
            NetworkKind::Managed(Managed {
                domain: managed.domain.clone(),
                name_servers: addresses(&at, "name_servers", &managed.name_servers)?,
                ntp_servers: addresses(&at, "ntp_servers", &managed.ntp_servers)?,
                ipv4: family("ipv4", &managed.ipv4)?,
                ipv6: family("ipv6", &managed.ipv6)?,
                reservations: Vec::new(),
                acl: Acl::default(),
            })
        }
        (None, Some(bridged)) => {
            let device = &bridged.device;
            NetworkKind::Bridged { device: (!device.is_empty()).then(|| device.clone()) }
        }
        _ => {
            return Err(
                at.refuse("network-kind", "a network is either managed or bridged: one of both is set")
            );
        }
    };
    Ok(NetworkSpec {
        description: at.field("description").name(&wire.description)?,
        mtu: (wire.mtu != 0).then_some(wire.mtu),
        kind,
    })
}

/// `at` is the reservation itself.
pub fn reservation(at: &At<'_>, wire: &v1::Reservation) -> Result<Reservation, Rejection> {
    let v4 = |text: &str| address::<Ipv4Addr>(&at.field("ipv4"), text, "10.1.0.7");
    let v6 = |text: &str| address::<Ipv6Addr>(&at.field("ipv6"), text, "2001:db8:1::7");
    Ok(Reservation {
        mac: wire.mac.parse().map_err(|error| at.field("mac").refuse("bad-mac", error))?,
        ipv4: (!wire.ipv4.is_empty()).then(|| v4(&wire.ipv4)).transpose()?,
        ipv6: (!wire.ipv6.is_empty()).then(|| v6(&wire.ipv6)).transpose()?,
        hostname: at.field("hostname").name(&wire.hostname)?,
    })
}

impl TryFrom<&v1::Network> for Network {
    type Error = Rejection;

    fn try_from(wire: &v1::Network) -> Result<Self, Rejection> {
        let subject = subject("network", wire.meta.as_ref());
        let at = At::new(&subject);
        let of_spec = at.field("spec");
        let mut spec = network_spec(&of_spec, of_spec.present(wire.spec.as_ref())?)?;
        if let NetworkKind::Managed(managed) = &mut spec.kind {
            let reservations = wire.reservations.iter().enumerate();
            managed.reservations = reservations
                .map(|(i, one)| reservation(&at.item("reservations", i), one))
                .collect::<Result<_, _>>()?;
            managed.acl = acl(&at, "acl", &wire.acl)?;
        }
        Ok(Network { meta: meta(&at, wire.meta.as_ref())?, vni: vni(&at.field("vni"), wire.vni)?, spec })
    }
}
