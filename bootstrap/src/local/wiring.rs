//! The cables of a local cluster: the hub's namespace with its switches, the machine's own plugs, and the namespaces of the
//! hosts and of the upstream router with their network cards.
//!
//! A host's namespace is made anew at each power-on, so that bridges, addresses and cuts inside it die with its power.

use std::path::Path;
use std::time::Duration;

use pvc_process::Cmd;

use super::cut;
use super::plan::{AddressPlan, ClusterName, HostName, Net};
use super::state::{ClusterDir, ClusterState};
use crate::durable_file;
use crate::tool::{self, ToolError};

/// Bridge of each host into which its guests' network cards are plugged.
pub const VM_BRIDGE: &str = "vmbr0";
const LINK_GONE_LIMIT: Duration = Duration::from_secs(5);
const NFT_LIMIT: Duration = Duration::from_secs(15);
const SYSCTL_LIMIT: Duration = Duration::from_secs(15);
/// The hub's port into which the upstream router is plugged, and the router's card.
const ROUTER_PORT: &str = "router-u";
const ROUTER_CARD: &str = "eth0";
/// Bridged frames are no matter of a host's or a switch's filter for routed packets. Linux has that on in each new namespace
/// where it has it at all.
const BRIDGES_ARE_QUIET: [&str; 3] = [
    "net.bridge.bridge-nf-call-iptables=0",
    "net.bridge.bridge-nf-call-ip6tables=0",
    "net.bridge.bridge-nf-call-arptables=0",
];
/// A router forwards, answers for its own addresses only, and spreads flows over equal routes by their ports too.
const ROUTES: [&str; 6] = [
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.all.arp_ignore=1",
    "net.ipv4.conf.all.arp_announce=2",
    "net.ipv4.fib_multipath_hash_policy=1",
];

/// Names of the network namespaces that now exist on the machine.
pub fn namespaces() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn has_link(link: &str) -> bool {
    Path::new("/sys/class/net").join(link).exists()
}

/// Whether hub, switches and the machine's plugs are there.
pub fn is_hub_complete(cluster: &ClusterName) -> bool {
    namespaces().contains(&cluster.hub_netns())
        && Net::ALL.iter().all(|net| has_link(&cluster.machine_link(*net)))
}

/// Makes the hub, its switches and the machine's plugs; what an interrupted run has left is made anew.
pub async fn make_hub(cluster: &ClusterName, addresses: AddressPlan) -> Result<(), ToolError> {
    remove_hub(cluster).await?;
    let hub = cluster.hub_netns();
    tool::ip(&["netns", "add", &hub]).await?;
    tool::ip(&["-n", &hub, "link", "set", "lo", "up"]).await?;
    sysctl(&hub, &BRIDGES_ARE_QUIET).await?;
    for net in Net::ALL {
        let mtu = net.mtu().to_string();
        let (switch, port, plug) = (net.switch(), net.machine_port(), cluster.machine_link(net));
        let mac = addresses.hub_mac(net);
        tool::ip(&[
            "-n",
            &hub,
            "link",
            "add",
            switch,
            "address",
            &mac,
            "mtu",
            &mtu,
            "type",
            "bridge",
            "stp_state",
            "0",
            "forward_delay",
            "0",
        ])
        .await?;
        let address = with_prefix(addresses.hub(net));
        tool::ip(&["-n", &hub, "addr", "add", &address, "dev", switch]).await?;
        tool::ip(&["-n", &hub, "link", "set", switch, "up"]).await?;
        tool::ip(&["link", "add", &port, "netns", &hub, "type", "veth", "peer", "name", &plug]).await?;
        tool::ip(&["-n", &hub, "link", "set", &port, "master", switch, "mtu", &mtu, "up"]).await?;
        let address = with_prefix(addresses.machine(net));
        tool::ip(&["addr", "add", &address, "dev", &plug]).await?;
        tool::ip(&["link", "set", &plug, "mtu", &mtu, "up"]).await?;
    }
    Ok(())
}

/// Removes hub and plugs; fine when there are none.
pub async fn remove_hub(cluster: &ClusterName) -> Result<(), ToolError> {
    for net in Net::ALL {
        let plug = cluster.machine_link(net);
        if has_link(&plug) {
            tool::ip(&["link", "del", &plug]).await?;
        }
    }
    remove_namespace(&cluster.hub_netns()).await
}

/// Removes a network namespace; fine when there is none. A file that a killed `ip netns add` has left is removed too.
pub async fn remove_namespace(namespace: &str) -> Result<(), ToolError> {
    let file = Path::new("/run/netns").join(namespace);
    if !file.exists() {
        return Ok(());
    }
    match tool::ip(&["netns", "del", namespace]).await {
        Err(_) if std::fs::remove_file(&file).is_ok() => Ok(()),
        result => result.map(drop),
    }
}

/// Makes a host's namespace with all cables plugged in and its bridge for guests.
pub async fn plug_in(cluster: &ClusterName, addresses: AddressPlan, host: HostName) -> Result<(), ToolError> {
    let (hub, own) = (cluster.hub_netns(), cluster.host_netns(host));
    unplug(cluster, host).await?;
    tool::ip(&["netns", "add", &own]).await?;
    tool::ip(&["-n", &own, "link", "set", "lo", "up"]).await?;
    // whether a host forwards is its daemon's matter
    sysctl(&own, &BRIDGES_ARE_QUIET).await?;
    for net in Net::ALL {
        let mtu = net.mtu().to_string();
        let (port, card, mac) = (host.hub_port(net), net.card(), addresses.mac(net, host));
        tool::ip(&[
            "link", "add", &port, "netns", &hub, "type", "veth", "peer", "name", card, "netns", &own,
            "address", &mac,
        ])
        .await?;
        tool::ip(&["-n", &hub, "link", "set", &port, "master", net.switch(), "mtu", &mtu, "up"]).await?;
        tool::ip(&["-n", &own, "link", "set", card, "mtu", &mtu, "up"]).await?;
    }
    for net in [Net::Cluster, Net::Upstream] {
        let address = with_prefix(addresses.host_in(net, host));
        tool::ip(&["-n", &own, "addr", "add", &address, "dev", net.card()]).await?;
    }
    let (upstream, v6) = (Net::Upstream.card(), with_prefix_v6(addresses.host_upstream_v6(host)));
    tool::ip(&["-n", &own, "addr", "add", &v6, "dev", upstream, "nodad"]).await?;
    // what leaves the cluster goes by the upstream router, whether there is one yet or not
    let (router, router_v6) = (addresses.router().to_string(), addresses.router_v6().to_string());
    tool::ip(&["-n", &own, "route", "add", "default", "via", &router]).await?;
    tool::ip(&["-n", &own, "-6", "route", "add", "default", "via", &router_v6]).await?;
    tool::ip(&[
        "-n",
        &own,
        "link",
        "add",
        VM_BRIDGE,
        "type",
        "bridge",
        "stp_state",
        "0",
        "forward_delay",
        "0",
    ])
    .await?;
    tool::ip(&["-n", &own, "link", "set", Net::Vm.card(), "master", VM_BRIDGE]).await?;
    tool::ip(&["-n", &own, "link", "set", VM_BRIDGE, "up"]).await?;
    Ok(())
}

/// Pulls all cables at the hub's end, so that nothing a dying host still says is heard: sockets closed by SIGKILL
/// would tell the peers at once, which a host without power does not.
pub async fn silence(cluster: &ClusterName, host: HostName) -> Result<(), ToolError> {
    let hub = cluster.hub_netns();
    for net in Net::ALL {
        let port = host.hub_port(net);
        if port_exists(&hub, &port).await {
            tool::ip(&["-n", &hub, "link", "set", &port, "down"]).await?;
        }
    }
    Ok(())
}

/// Removes a host's cables and namespace; fine when there are none.
pub async fn unplug(cluster: &ClusterName, host: HostName) -> Result<(), ToolError> {
    let hub = cluster.hub_netns();
    for net in Net::ALL {
        remove_port(&hub, &host.hub_port(net)).await?;
    }
    remove_namespace(&cluster.host_netns(host)).await
}

/// A deleted namespace's links vanish only a moment later, so the hub's ends are deleted first.
async fn remove_port(hub: &str, port: &str) -> Result<(), ToolError> {
    if port_exists(hub, port).await {
        tool::ip(&["-n", hub, "link", "del", port]).await?;
    }
    let deadline = tokio::time::Instant::now() + LINK_GONE_LIMIT;
    while port_exists(hub, port).await && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Makes the upstream router's namespace, plugged into the upstream network, with the addresses `behind` it.
pub async fn plug_in_router(
    cluster: &ClusterName,
    addresses: AddressPlan,
    behind: &[&str],
) -> Result<(), ToolError> {
    let (hub, own) = (cluster.hub_netns(), cluster.router_netns());
    unplug_router(cluster).await?;
    tool::ip(&["netns", "add", &own]).await?;
    tool::ip(&["-n", &own, "link", "set", "lo", "up"]).await?;
    sysctl(&own, &ROUTES).await?;
    let mac = addresses.router_mac();
    tool::ip(&[
        "link",
        "add",
        ROUTER_PORT,
        "netns",
        &hub,
        "type",
        "veth",
        "peer",
        "name",
        ROUTER_CARD,
        "netns",
        &own,
        "address",
        &mac,
    ])
    .await?;
    tool::ip(&["-n", &hub, "link", "set", ROUTER_PORT, "master", Net::Upstream.switch(), "up"]).await?;
    tool::ip(&["-n", &own, "link", "set", ROUTER_CARD, "up"]).await?;
    let (v4, v6) = (with_prefix(addresses.router()), with_prefix_v6(addresses.router_v6()));
    tool::ip(&["-n", &own, "addr", "add", &v4, "dev", ROUTER_CARD]).await?;
    tool::ip(&["-n", &own, "addr", "add", &v6, "dev", ROUTER_CARD, "nodad"]).await?;
    for address in behind {
        tool::ip(&["-n", &own, "addr", "add", address, "dev", "lo"]).await?;
    }
    Ok(())
}

/// Whether the upstream router's cable is plugged in.
pub async fn is_router_plugged_in(cluster: &ClusterName) -> bool {
    port_exists(&cluster.hub_netns(), ROUTER_PORT).await
}

/// Removes the upstream router's cable and namespace; fine when there are none.
pub async fn unplug_router(cluster: &ClusterName) -> Result<(), ToolError> {
    remove_port(&cluster.hub_netns(), ROUTER_PORT).await?;
    remove_namespace(&cluster.router_netns()).await
}

/// Sets what the kernel has; what it lacks is left out.
async fn sysctl(namespace: &str, settings: &[&str]) -> Result<(), ToolError> {
    let set = Cmd::new("sysctl").args(["-q", "-e", "-w"]).args(settings).in_netns(namespace);
    tool::text_of(set, SYSCTL_LIMIT).await.map(drop)
}

async fn port_exists(hub: &str, port: &str) -> bool {
    tool::ip(&["-n", hub, "link", "show", port]).await.is_ok()
}

/// Makes the hub drop what the state's cuts say, and nothing else.
pub async fn apply_cuts(dir: &ClusterDir, state: &ClusterState) -> Result<(), CutError> {
    let file = dir.path().join("cuts.nft");
    durable_file::write(&file, cut::ruleset(&state.cuts).as_bytes(), 0o600)?;
    let (hub, file) = (state.name.hub_netns(), file.to_string_lossy().into_owned());
    let nft = Cmd::new("nft").args(["-f", &file]).in_netns(hub);
    tool::text_of(nft, NFT_LIMIT).await?;
    Ok(())
}

/// Why cuts could not be made or healed.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    #[error(transparent)]
    File(#[from] durable_file::FileError),
    #[error(transparent)]
    Tool(#[from] ToolError),
}

fn with_prefix(address: std::net::Ipv4Addr) -> String {
    format!("{address}/{}", AddressPlan::PREFIX_LEN)
}

fn with_prefix_v6(address: std::net::Ipv6Addr) -> String {
    format!("{address}/{}", AddressPlan::PREFIX_LEN_V6)
}
