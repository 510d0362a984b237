//! `pvc network`.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::network_parts::{AclCommand, DhcpCommand, FabricCommand, LeaseCommand, PeerCommand};
use super::{Last, Watch, parse_duration};

#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Make a client network
    #[command(after_help = ADD_EXAMPLES)]
    Add(Box<NetworkAdd>),
    /// Change a network: what is given replaces what it had
    #[command(after_help = MODIFY_EXAMPLES)]
    Modify(Box<NetworkModify>),
    /// Remove a network that no VM has a NIC in
    Remove {
        /// Its number or its description
        network: String,
        #[command(flatten)]
        expected: Expected,
    },
    /// List networks
    List(NetworkList),
    /// Show everything about a network: addresses, reservations, rules, who uses it, what is lent in it, and what its hosts see
    #[command(after_help = "Examples:\n  pvc network info lan\n  pvc network info lan --state -o json")]
    Info {
        /// Its number or its description
        network: String,
        /// Only what its hosts see: bridges, sessions, guests, rules that have matched, names served
        #[arg(long)]
        state: bool,
    },
    /// Show what has happened to a network: its settings, addresses, rules
    History {
        /// Its number or its description
        network: String,
        #[command(flatten)]
        last: Last,
    },
    /// Draw how routers, coordinators, networks, hosts and NICs hang together
    #[command(after_help = "Examples:\n  pvc network topology\n  pvc network topology lan")]
    Topology {
        /// Only this network, by its number or its description
        network: Option<String>,
    },
    /// Addresses and names that are kept for one NIC each
    #[command(subcommand)]
    Dhcp(DhcpCommand),
    /// Addresses that are lent now
    #[command(subcommand)]
    Lease(LeaseCommand),
    /// Rules about traffic into a network and out of it
    #[command(subcommand)]
    Acl(Box<AclCommand>),
    /// Routers outside, to which the client networks are announced
    #[command(subcommand)]
    Peer(PeerCommand),
    /// What carries the client networks: autonomous system, zone secondaries, forwarders
    #[command(subcommand)]
    Fabric(FabricCommand),
}

const ADD_EXAMPLES: &str = "\
Examples:
  pvc network add 1001 -d lan -n lan.example.org -i 10.1.0.0/24 -g 10.1.0.1 --dhcp 10.1.0.100-10.1.0.199
  pvc network add 1002 -d dmz -n dmz.example.org --subnet6 2001:db8:2::/64 --gateway6 2001:db8:2::1
  pvc network add 100 -d office -p bridged --device eth1";

const MODIFY_EXAMPLES: &str = "\
Examples:
  pvc network modify lan --dhcp 10.1.0.50-10.1.0.199 --name-server 10.9.0.53
  pvc network modify 1001 --mtu auto --ntp-server none
  pvc network modify lan --subnet6 2001:db8:1::/64 --gateway6 2001:db8:1::1 --dhcp6 none";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindWord {
    /// An overlay that the cluster carries everywhere and serves
    Managed,
    /// A VLAN of the site's
    Bridged,
}

#[derive(Clone, Debug, Args)]
pub struct NetworkAdd {
    /// Its number: of a managed network the VXLAN's, 1 to 16777214; of a bridged one the VLAN, 1 to 4094
    pub vni: u32,
    #[arg(short = 'p', long = "type", value_enum, default_value = "managed")]
    pub kind: KindWord,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args([
    "description", "mtu", "device", "domain", "name_servers", "ntp_servers", "subnet", "gateway", "dhcp", "subnet6",
    "gateway6", "dhcp6", "lease_time",
]))]
pub struct NetworkModify {
    /// Its number or its description
    pub network: String,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub expected: Expected,
}

/// What a network is. An option that takes "none" takes away what it had.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// What people call it: one DNS label that is no number; unique
    #[arg(short, long, value_name = "LABEL")]
    pub description: Option<String>,
    /// The largest packet, bytes; auto: as large as what carries it allows
    #[arg(short, long, value_name = "BYTES", value_parser = parse_mtu)]
    pub mtu: Option<u32>,
    /// Bridged: the device that carries the VLAN on each host; none: the host's own `bridge_device`
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// The DNS domain of its guests; unique
    #[arg(short = 'n', long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// A resolver that guests are told of in place of the gateway; may be repeated; none: the gateway
    #[arg(long = "name-server", value_name = "IP")]
    pub name_servers: Vec<String>,
    /// A time server that guests are told of; may be repeated; or none
    #[arg(long = "ntp-server", value_name = "IP")]
    pub ntp_servers: Vec<String>,
    /// IPv4 subnet, as in 10.1.0.0/24; or none
    #[arg(short = 'i', long, alias = "ipnet", value_name = "SUBNET", help_heading = "IPv4")]
    pub subnet: Option<String>,
    /// The guests' router, an address of the subnet; none: it is not routed
    #[arg(short = 'g', long, value_name = "IP", help_heading = "IPv4")]
    pub gateway: Option<String>,
    /// Addresses that DHCP lends, as in 10.1.0.100-10.1.0.199; or none
    #[arg(long, value_name = "FIRST-LAST", help_heading = "IPv4")]
    pub dhcp: Option<String>,
    /// IPv6 subnet, as in 2001:db8:1::/64; or none
    #[arg(long, alias = "ipnet6", value_name = "SUBNET", help_heading = "IPv6")]
    pub subnet6: Option<String>,
    /// The guests' router, an address of the subnet; none: it is not routed
    #[arg(long, value_name = "IP", help_heading = "IPv6")]
    pub gateway6: Option<String>,
    /// Addresses that DHCP lends; none: guests make theirs from the prefix
    #[arg(long, value_name = "FIRST-LAST", help_heading = "IPv6")]
    pub dhcp6: Option<String>,
    /// For how long an address is lent, 2m to 365d; without it 2d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub lease_time: Option<Duration>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct NetworkList {
    /// Regular expression that the number or the description must match somewhere
    pub limit: Option<String>,
    /// Only networks that this VM has a NIC in
    #[arg(long, value_name = "VM")]
    pub vm: Option<String>,
    /// With reservations and rules, for -o json and yaml
    #[arg(long)]
    pub details: bool,
    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Expected {
    /// Refuse unless this is the network's revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub expected_revision: u64,
}

/// "auto" is 0, as the API has it.
fn parse_mtu(text: &str) -> Result<u32, String> {
    match text {
        "auto" => Ok(0),
        number => number.parse().map_err(|_| "a number of bytes, or auto".to_owned()),
    }
}
