//! What `local status` shows: hosts, their power, their processes, and the cables that are cut.

use std::fmt::Write as _;

use serde::Serialize;

use super::plan::{HostName, Net};
use super::power;
use super::processes;
use super::state::ClusterState;

/// Power of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    On,
    Off,
    Frozen,
}

impl Power {
    fn text(self) -> &'static str {
        match self {
            Power::On => "on",
            Power::Off => "off",
            Power::Frozen => "frozen",
        }
    }
}

/// One host.
#[derive(Debug, Clone, Serialize)]
pub struct HostStatus {
    pub host: HostName,
    pub power: Power,
    pub address: std::net::Ipv4Addr,
    /// `voter` for hosts that vote in the cluster as it was asked for, else `hypervisor`.
    pub role: &'static str,
    pub init: Option<i32>,
    pub libvirtd: Option<i32>,
    pub pvcd: Option<i32>,
    /// Emulators that run on it.
    pub guests: usize,
}

/// The whole cluster.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterStatus {
    pub name: String,
    pub cluster_network: String,
    pub vm_network: String,
    pub machine_address: std::net::Ipv4Addr,
    pub hosts: Vec<HostStatus>,
    pub cuts: Vec<String>,
}

/// Looks at the machine.
pub fn look(state: &ClusterState) -> ClusterStatus {
    let addresses = state.addresses();
    let inits = processes::inits(&state.name);
    let hosts = state
        .hosts
        .iter()
        .map(|host| {
            let init = inits.iter().find_map(|(name, init)| (*name == host.name).then_some(init));
            let all = init.map(processes::of_host).unwrap_or_default();
            let service = |name: &str| {
                all.iter()
                    .find(|process| {
                        init.is_some_and(|init| process.parent == init.pid)
                            && process.name == name
                            && process.state != 'Z'
                    })
                    .map(|process| process.pid)
            };
            HostStatus {
                host: host.name,
                power: match init {
                    None => Power::Off,
                    Some(init) if power::is_frozen(init) => Power::Frozen,
                    Some(_) => Power::On,
                },
                address: addresses.host(host.name),
                role: if host.name.number() <= state.voters { "voter" } else { "hypervisor" },
                init: init.map(|init| init.pid),
                libvirtd: service("libvirtd"),
                pvcd: service("pvcd"),
                guests: all
                    .iter()
                    .filter(|process| process.name.starts_with("qemu-system-") && process.state != 'Z')
                    .count(),
            }
        })
        .collect();
    ClusterStatus {
        name: state.name.to_string(),
        cluster_network: format!("{}/24", addresses.network(Net::Cluster)),
        vm_network: format!("{}/24", addresses.network(Net::Vm)),
        machine_address: addresses.machine(Net::Cluster),
        hosts,
        cuts: state.cuts.iter().map(ToString::to_string).collect(),
    }
}

impl ClusterStatus {
    /// The status as a table for people.
    pub fn table(&self) -> String {
        let pid = |pid: Option<i32>| pid.map_or("-".to_owned(), |pid| pid.to_string());
        // writing to a String cannot fail
        let mut text = String::new();
        let _ = writeln!(
            text,
            "local cluster {}: cluster network {}, VM network {}",
            self.name, self.cluster_network, self.vm_network
        );
        let _ = writeln!(
            text,
            "{:<5} {:<7} {:<13} {:<11} {:>8} {:>9} {:>7}",
            "HOST", "POWER", "ADDRESS", "ROLE", "PVCD", "LIBVIRTD", "GUESTS"
        );
        for host in &self.hosts {
            let _ = writeln!(
                text,
                "{:<5} {:<7} {:<13} {:<11} {:>8} {:>9} {:>7}",
                host.host.to_string(),
                host.power.text(),
                host.address.to_string(),
                host.role,
                pid(host.pvcd),
                pid(host.libvirtd),
                host.guests
            );
        }
        for cut in &self.cuts {
            let _ = writeln!(text, "cut: {cut}");
        }
        text
    }
}
