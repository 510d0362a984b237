//! Plans and sites as tests want them.

use std::path::Path;
use std::sync::Arc;

use pvc_model::network::host::{HostPlan, Port, Stance};
use pvc_model::network::{Attachment, Managed, Network, NetworkKind, NetworkSpec, Subnet, Vni};
use pvc_model::{Meta, Name, Timestamp, Uid};
use pvc_network::Site;

pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub fn vni(number: u32) -> Vni {
    Vni::new(number).expect("a number")
}

pub fn site(node: &str, address: &str, dir: &Path) -> Site {
    Site {
        node: name(node),
        address: address.parse().expect("an address"),
        cluster_device: "cluster0".to_owned(),
        upstream_device: Some("up0".to_owned()),
        storage_device: None,
        bridge_device: Some("cluster0".to_owned()),
        state_dir: dir.to_owned(),
        run_dir: dir.to_owned(),
        frr_dir: dir.to_owned(),
        frr_run_dir: dir.to_owned(),
        frr_snippets_dir: dir.join("frr.conf.d"),
        program: "/bin/false".into(),
    }
}

fn network(number: u32, kind: NetworkKind) -> Arc<Network> {
    let vni = vni(number);
    let meta = Meta {
        name: vni.name(),
        uid: Uid::from_random(u128::from(number)),
        revision: 0,
        created: Timestamp(0),
        updated: Timestamp(0),
    };
    let spec = NetworkSpec { description: name(&format!("net{number}")), mtu: None, kind };
    Arc::new(Network { meta, vni, spec })
}

/// A managed network with these gateways, each with the length of its prefix.
pub fn managed(number: u32, gateways: &[&str]) -> Arc<Network> {
    let subnet = |v4: bool| {
        let mut gateways = gateways.iter().map(|gateway| gateway.parse::<ipnet::IpNet>().expect("a gateway"));
        let gateway = gateways.find(|gateway| gateway.addr().is_ipv4() == v4)?;
        Some(Subnet { subnet: gateway.trunc(), gateway: Some(gateway.addr()), dhcp: None })
    };
    network(
        number,
        NetworkKind::Managed(Managed {
            domain: format!("net{number}.test"),
            name_servers: vec![],
            ntp_servers: vec![],
            ipv4: subnet(true),
            ipv6: subnet(false),
            reservations: vec![],
            acl: Default::default(),
        }),
    )
}

pub fn bridged(number: u32, device: Option<&str>) -> Arc<Network> {
    network(number, NetworkKind::Bridged { device: device.map(str::to_owned) })
}

pub fn port(vm: &str, attachment: Attachment) -> Port {
    Port {
        vm: name(vm),
        mac: "52:54:00:00:00:01".parse().expect("an address"),
        attachment,
        spoof_check: false,
        addresses: vec![],
        moving: false,
    }
}

pub fn plan(stance: Stance, networks: &[Arc<Network>]) -> HostPlan {
    HostPlan { stance, epoch: 1, networks: networks.to_vec(), ..HostPlan::default() }
}
