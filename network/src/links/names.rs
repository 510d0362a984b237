//! Which devices are ours, and what they are called.

use pvc_model::Name;
use pvc_model::network::Vni;

use crate::netlink::{Device, Kind};

/// The Ethernet address of a network's bridge on a host: its own on each host, the same for ever, locally administered
/// (IEEE 802 clause 8.4: second bit of the first byte).
///
/// Fixed on all hosts: else a bridge takes the lowest address of its ports, which changes as guests come and go, and
/// the routing daemon would look all its routes over each time. Distinct on each coordinator: an address that moves
/// between hosts is what EVPN takes longest to agree on, so the gateways' IP addresses move, and these never.
pub fn bridge_mac(node: &Name, vni: Vni) -> [u8; 6] {
    let hash = blake3::hash(format!("{node}/{vni}").as_bytes());
    let mut mac = [0x02, 0, 0, 0, 0, 0];
    mac[1..].copy_from_slice(&hash.as_bytes()[..5]);
    mac
}

/// What is written on each device that this room has made (`ip link` shows it as alias).
pub(crate) fn mark(vni: Vni) -> String {
    format!("pvc network {vni}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    // In the order in which they are taken away: what carries the network first.
    Tunnel,
    Vlan,
    Bridge,
}

/// Whose network's device this is, by its name and its kind.
pub(crate) fn role(device: &Device) -> Option<(Role, Vni)> {
    let (role, digits) = match &device.kind {
        Kind::Bridge(_) => (Role::Bridge, device.name.strip_prefix("vmbr")?),
        Kind::Tunnel(_) => (Role::Tunnel, device.name.strip_prefix("vxlan")?),
        Kind::Vlan(_) => (Role::Vlan, device.name.strip_prefix("vlan")?),
        Kind::Other => return None,
    };
    Some((role, number(digits)?))
}

/// The network whose bridge has this name.
pub(crate) fn of_bridge(name: &str) -> Option<Vni> {
    number(name.strip_prefix("vmbr")?)
}

/// A number as we write it: no sign, no zeros in front.
fn number(digits: &str) -> Option<Vni> {
    let vni: Vni = digits.parse().ok()?;
    (vni.to_string() == digits).then_some(vni)
}

/// Whether this room has made it, so that it may take it away. A `vlan20` that the administrator has made is not ours.
pub(crate) fn is_ours(device: &Device) -> bool {
    role(device).is_some_and(|(_, vni)| device.alias == mark(vni))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Bridge;

    fn device(name: &str, kind: Kind, alias: &str) -> Device {
        Device { name: name.to_owned(), kind, alias: alias.to_owned(), ..Device::default() }
    }

    #[test]
    fn only_what_has_our_name_our_kind_and_our_mark_is_ours() {
        let bridge = || Kind::Bridge(Bridge::default());
        assert!(is_ours(&device("vmbr7", bridge(), "pvc network 7")));
        for (name, kind, alias) in [
            ("vmbr7", bridge(), ""),
            ("vmbr7", bridge(), "pvc network 8"),
            ("vmbr07", bridge(), "pvc network 7"),
            ("vmbr0", bridge(), "pvc network 0"),
            ("vmbr+7", bridge(), "pvc network 7"),
            ("br7", bridge(), "pvc network 7"),
            ("vmbr7", Kind::Other, "pvc network 7"),
            ("vlan7", Kind::Vlan(7), ""),
        ] {
            assert!(!is_ours(&device(name, kind, alias)), "{name} {alias:?}");
        }
    }

    #[test]
    fn a_bridges_address_is_its_own_unicast_and_locally_administered() {
        let mac =
            |node: &str, vni| bridge_mac(&node.parse().expect("a name"), Vni::new(vni).expect("a number"));
        assert_eq!(mac("hv1", 7), mac("hv1", 7));
        assert_ne!(mac("hv1", 7), mac("hv2", 7));
        assert_ne!(mac("hv1", 7), mac("hv1", 8));
        assert_eq!(mac("hv1", 7)[0] & 3, 2);
    }
}
