//! What PowerDNS and the guests' resolver are told.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use pvc_model::network::host::HostPlan;

use super::Ports;

/// How long it waits for our answer. Where there is none it ends, and is started anew: on a busy host we may stand still for seconds.
/// Where we are gone it notices at once.
const ANSWER_MS: u32 = 10_000;

/// PowerDNS's configuration; `address` is the host's own, where it has it already. It says nothing of networks, secondaries or the primary: those change, and it is not restarted
/// for them.
pub(super) fn powerdns(
    address: Option<IpAddr>,
    ports: Ports,
    socket: &Path,
    dir: &Path,
    user: Option<&str>,
) -> String {
    let mut conf = String::from("# Made by pvcd, again and again: what is changed here is lost.\n");
    conf.push_str("daemon=no\nguardian=no\nlaunch=remote\n");
    let _ = writeln!(conf, "remote-connection-string=unix:path={},timeout={ANSWER_MS}", socket.display());
    let _ = writeln!(conf, "socket-dir={}", dir.display());
    if let Some(user) = user {
        let _ = writeln!(conf, "setuid={user}\nsetgid={user}");
    }
    let addresses = address.map(|address| SocketAddr::new(address, ports.public));
    let addresses: Vec<String> =
        addresses.into_iter().chain([loopback(ports)]).map(|at| at.to_string()).collect();
    let _ = writeln!(conf, "local-address={}\nlocal-address-nonexist-fail=no", addresses.join(","));
    // It is one only where `getUpdatedMasters` names a zone. The zones' name servers are ourselves: nobody to be told.
    conf.push_str("primary=yes\nxfr-cycle-interval=1\nonly-notify=\n");
    // Others are allowed zone by zone.
    conf.push_str("disable-axfr=no\nallow-axfr-ips=127.0.0.0/8,::1\n");
    // Zones come and go, and what was asked within this second is not asked of us again.
    conf.push_str("zone-cache-refresh-interval=0\ncache-ttl=1\nquery-cache-ttl=1\nnegquery-cache-ttl=1\n");
    conf.push_str("zone-metadata-cache-ttl=1\n");
    // It asks nobody anything by itself, and tells nobody what it is.
    conf.push_str("security-poll-suffix=\nversion-string=anonymous\nserver-id=pvc\n");
    conf.push_str("webserver=no\napi=no\nloglevel=4\nlog-timestamp=no\n");
    conf
}

/// Where PowerDNS answers the resolver.
pub(super) fn loopback(ports: Ports) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ports.loopback)
}

/// The resolver's configuration: it listens on whatever address our bridges have, now or later. That it may be asked only by
/// guests is the firewall's matter.
pub(super) fn resolver(servers_file: &Path, user: Option<&str>) -> String {
    let mut conf = String::from("# Made by pvcd, again and again: what is changed here is lost.\n");
    conf.push_str("port=53\nbind-dynamic\ninterface=vmbr*\nexcept-interface=lo\n");
    conf.push_str("no-hosts\nno-resolv\npid-file=\nlog-facility=-\n");
    if let Some(user) = user {
        let _ = writeln!(conf, "user={user}");
    }
    let _ = writeln!(conf, "servers-file={}", servers_file.display());
    // A name without a dot is nobody's outside. Private addresses in answers from outside are let through: the site's own
    // names have such (docs/dhcp-and-dns.md).
    conf.push_str("domain-needed\ncache-size=10000\ndns-forward-max=1000\n");
    conf
}

/// Whom the resolver asks: read anew without a restart.
pub(super) fn servers(plan: &HostPlan, ports: Ports) -> String {
    let ours = loopback(ports);
    let ours = format!("{}#{}", ours.ip(), ours.port());
    let mut text = String::new();
    for managed in plan.networks.iter().filter_map(|network| network.managed()) {
        let _ = writeln!(text, "server=/{}/{ours}", managed.domain);
        for subnet in managed.subnets() {
            let _ = writeln!(text, "rev-server={},{ours}", subnet.subnet);
        }
    }
    for forwarder in &plan.fabric.forwarders {
        let _ = writeln!(text, "server={forwarder}");
    }
    text
}
