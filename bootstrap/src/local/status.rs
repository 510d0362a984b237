//! What `local status` shows: hosts, their power, their processes, what the cluster says of them, and the cables that are
//! cut.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::bmc;
use super::cluster::{self, Standing};
use super::frr;
use super::plan::{HostName, Net};
use super::power;
use super::processes::{self, Process};
use super::router;
use super::state::{ClusterDir, ClusterState};

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
    pub bmc: Option<i32>,
    pub bmc_address: std::net::Ipv4Addr,
    pub upstream_address: std::net::Ipv4Addr,
    pub upstream_address_v6: std::net::Ipv6Addr,
    pub bgpd: Option<i32>,
    /// Whether the cluster hears it; nothing when the cluster does not say.
    pub reachability: Option<&'static str>,
    /// What it is in Raft: leader, voter, learner or `-`; nothing when the cluster does not say.
    pub raft: Option<&'static str>,
    /// Emulators that run on it.
    pub guests: usize,
}

/// The upstream router.
#[derive(Debug, Clone, Serialize)]
pub struct RouterStatus {
    pub namespace: String,
    pub address: std::net::Ipv4Addr,
    pub address_v6: std::net::Ipv6Addr,
    pub asn: u32,
    /// What is behind it, as its name server at these addresses knows it.
    pub name: &'static str,
    pub behind: [&'static str; 2],
    /// Folder with its daemons' sockets, as `vtysh --vty_socket` takes it.
    pub vty_socket: std::path::PathBuf,
    pub bgpd: Option<i32>,
}

/// The whole cluster.
#[derive(Debug, Clone, Serialize)]
pub struct LocalStatus {
    pub name: String,
    pub cluster_network: String,
    pub vm_network: String,
    pub upstream_network: String,
    pub upstream_network_v6: String,
    pub router: RouterStatus,
    pub machine_address: std::net::Ipv4Addr,
    pub hosts: Vec<HostStatus>,
    /// Why the cluster says nothing of its hosts; absent when it does, or when there are no daemons.
    pub silence: Option<String>,
    pub cuts: Vec<String>,
}

/// Looks at the machine, and asks the cluster if there are daemons that make one.
pub async fn look(dir: &ClusterDir, state: &ClusterState) -> LocalStatus {
    if state.pvcd.is_none() {
        return describe(dir, state, &Ok(BTreeMap::new()));
    }
    let asked = match cluster::client(dir, state) {
        Ok(client) => cluster::standings(&client).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    describe(dir, state, &asked)
}

fn describe(
    dir: &ClusterDir,
    state: &ClusterState,
    asked: &Result<BTreeMap<String, Standing>, String>,
) -> LocalStatus {
    let addresses = state.addresses();
    let inits = processes::inits(&state.name);
    let hosts = state
        .hosts
        .iter()
        .map(|host| {
            let init = inits.iter().find_map(|(name, init)| (*name == host.name).then_some(init));
            let all = init.map(processes::of_host).unwrap_or_default();
            let service = |name: &str| service_of(init?, &all, name);
            let standing = asked.as_ref().ok().and_then(|known| known.get(&host.name.to_string()));
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
                bmc: bmc::running(dir, host.name).map(|process| process.pid),
                bmc_address: addresses.bmc(host.name),
                upstream_address: addresses.host_in(Net::Upstream, host.name),
                upstream_address_v6: addresses.host_upstream_v6(host.name),
                bgpd: service(frr::BGPD),
                reachability: standing.map(|standing| standing.reachability),
                raft: standing.map(|standing| standing.raft),
                guests: all
                    .iter()
                    .filter(|process| process.name.starts_with("qemu-system-") && process.state != 'Z')
                    .count(),
            }
        })
        .collect();
    LocalStatus {
        name: state.name.to_string(),
        cluster_network: format!("{}/24", addresses.network(Net::Cluster)),
        vm_network: format!("{}/24", addresses.network(Net::Vm)),
        upstream_network: format!("{}/24", addresses.network(Net::Upstream)),
        upstream_network_v6: format!("{}/64", addresses.upstream_network_v6()),
        router: router_status(state),
        machine_address: addresses.machine(Net::Cluster),
        hosts,
        silence: asked.as_ref().err().cloned(),
        cuts: state.cuts.iter().map(ToString::to_string).collect(),
    }
}

fn router_status(state: &ClusterState) -> RouterStatus {
    let (name, addresses) = (&state.name, state.addresses());
    RouterStatus {
        namespace: name.router_netns(),
        address: addresses.router(),
        address_v6: addresses.router_v6(),
        asn: router::ASN,
        name: router::NAME,
        behind: router::BEHIND,
        vty_socket: router::folder(name),
        bgpd: router::running(name, frr::BGPD).map(|process| process.pid),
    }
}

fn service_of(init: &Process, all: &[Process], name: &str) -> Option<i32> {
    all.iter()
        .find(|process| process.parent == init.pid && process.name == name && process.state != 'Z')
        .map(|process| process.pid)
}

impl LocalStatus {
    /// The status as a table for people.
    pub fn table(&self) -> String {
        let pid = |pid: Option<i32>| pid.map_or("-".to_owned(), |pid| pid.to_string());
        // writing to a String cannot fail
        let mut text = String::new();
        let _ = writeln!(
            text,
            "local cluster {}: cluster network {}, VM network {}, upstream network {}",
            self.name, self.cluster_network, self.vm_network, self.upstream_network
        );
        let router = match self.router.bgpd {
            Some(_) => format!("at {} (AS {})", self.router.address, self.router.asn),
            None => "is down, `pvc-bootstrap local up` makes it anew".to_owned(),
        };
        let _ = writeln!(
            text,
            "upstream router {router}; behind it is {} ({})",
            self.router.name,
            self.router.behind.join(", ")
        );
        let _ = writeln!(
            text,
            "{:<5} {:<7} {:<13} {:>8} {:>9} {:>8} {:>8}  {:<12} {:<8} {:>6}",
            "HOST", "POWER", "ADDRESS", "PVCD", "LIBVIRTD", "BGPD", "BMC", "REACHABILITY", "RAFT", "GUESTS"
        );
        for host in &self.hosts {
            let _ = writeln!(
                text,
                "{:<5} {:<7} {:<13} {:>8} {:>9} {:>8} {:>8}  {:<12} {:<8} {:>6}",
                host.host.to_string(),
                host.power.text(),
                host.address.to_string(),
                pid(host.pvcd),
                pid(host.libvirtd),
                pid(host.bgpd),
                pid(host.bmc),
                host.reachability.unwrap_or("?"),
                host.raft.unwrap_or("?"),
                host.guests
            );
        }
        if let Some(silence) = &self.silence {
            let _ = writeln!(text, "the cluster does not answer: {silence}");
        }
        for cut in &self.cuts {
            let _ = writeln!(text, "cut: {cut}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_what_the_cluster_says_and_when_it_says_nothing() {
        let state = ClusterState::new("nobody".parse().unwrap(), 0, 2, 1, "/x".into());
        let dir = ClusterDir::new(std::path::Path::new("/nowhere"), state.name.clone()).unwrap();
        let leads = Standing { reachability: "reachable", raft: "leader" };
        let table = describe(&dir, &state, &Ok(BTreeMap::from([("hv1".to_owned(), leads)]))).table();
        let lines: Vec<&str> = table.lines().collect();
        let words = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(lines[3]),
            ["hv1", "off", "10.100.0.11", "-", "-", "-", "-", "reachable", "leader", "0"]
        );
        assert_eq!(words(lines[4]), ["hv2", "off", "10.100.0.12", "-", "-", "-", "-", "?", "?", "0"]);
        let table = describe(&dir, &state, &Err("no coordinator answers".to_owned())).table();
        assert!(table.ends_with("the cluster does not answer: no coordinator answers\n"), "{table}");
    }
}
