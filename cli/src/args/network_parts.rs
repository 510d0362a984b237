//! What a network has many of, and what carries all networks: `pvc network dhcp|lease|acl|peer|fabric`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::Watch;
use super::network::Expected;

#[derive(Debug, Subcommand)]
pub enum DhcpCommand {
    /// Keep an address and a name for one NIC
    #[command(after_help = "Examples:
  pvc network dhcp add lan web1 52:54:00:12:34:56 10.1.0.10
  pvc network dhcp add 1001 db1 52:54:00:ab:cd:ef 10.1.0.11 2001:db8:1::11")]
    Add {
        /// The network's number or description
        network: String,
        /// One DNS label; the network's domain follows it
        hostname: String,
        /// The NIC's MAC
        mac: String,
        /// An IPv4 address, an IPv6 address, or one of each
        #[arg(required = true, num_args = 1..=2, value_name = "IP")]
        addresses: Vec<std::net::IpAddr>,
        #[command(flatten)]
        expected: Expected,
    },
    /// Remove a reservation
    Remove {
        /// The network's number or description
        network: String,
        /// Its hostname, its MAC or an address of it
        reservation: String,
        #[command(flatten)]
        expected: Expected,
    },
    /// List the reservations of a network
    List {
        /// The network's number or description
        network: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum LeaseCommand {
    /// List addresses that are lent
    List(LeaseList),
    /// Release a lease: its address can be lent to another NIC
    Remove {
        /// The network's number or description
        network: String,
        address: std::net::IpAddr,
    },
}

#[derive(Clone, Debug, Default, Args)]
pub struct LeaseList {
    /// Only of this network, by its number or description
    pub network: Option<String>,
    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Debug, Subcommand)]
pub enum AclCommand {
    /// Add a rule; the first that matches decides, what none matches is let through
    #[command(after_help = ADD_EXAMPLES)]
    Add(AclAdd),
    /// Change a rule: what is given replaces what it had
    #[command(after_help = "Examples:
  pvc network acl modify lan ssh --from 192.0.2.0/24 --order 5
  pvc network acl modify lan web --port none")]
    Modify(AclModify),
    /// Remove a rule
    Remove {
        /// The network's number or description
        network: String,
        rule: String,
        #[command(flatten)]
        expected: Expected,
    },
    /// List a network's rules, in the order in which they are asked
    List {
        /// The network's number or description
        network: String,
        /// Only rules about traffic to the guests
        #[arg(long = "in", conflicts_with = "out")]
        in_: bool,
        /// Only rules about traffic from the guests
        #[arg(long)]
        out: bool,
    },
    /// Give a network other rules than it had, all in one step
    #[command(after_help = "Example:
  pvc network acl list lan -o yaml > rules.yaml
  pvc network acl load lan rules.yaml")]
    Load {
        /// The network's number or description
        network: String,
        /// YAML or JSON, as `pvc network acl list -o yaml` prints it; - reads from stdin
        file: String,
        #[command(flatten)]
        expected: Expected,
    },
}

const ADD_EXAMPLES: &str = "\
Examples:
  pvc network acl add lan ssh --in --protocol tcp --port 22 --from 192.0.2.0/24 --accept --order 10
  pvc network acl add lan no-ssh --in --protocol tcp --port 22 --reject --order 20
  pvc network acl add lan no-mail --out --protocol tcp --port 25,465,587 --drop
  pvc network acl add lan slow-ping --in --raw 'icmp type echo-request limit rate over 10/second drop'";

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("direction").required(true).args(["in_", "out"]))]
#[command(group = ArgGroup::new("effect").required(true).args(["accept", "drop", "reject", "raw"]))]
pub struct AclAdd {
    /// The network's number or description
    pub network: String,
    /// The rule's name, once in the network
    pub rule: String,
    #[command(flatten)]
    pub settings: AclSettings,
    #[command(flatten)]
    pub expected: Expected,
}

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args([
    "in_", "out", "accept", "drop", "reject", "raw", "protocol", "from", "to", "ports", "order", "description",
]))]
pub struct AclModify {
    /// The network's number or description
    pub network: String,
    pub rule: String,
    #[command(flatten)]
    pub settings: AclSettings,
    #[command(flatten)]
    pub expected: Expected,
}

#[derive(Clone, Debug, Default, Args)]
pub struct AclSettings {
    /// About traffic to the guests
    #[arg(long = "in", conflicts_with = "out")]
    pub in_: bool,
    /// About traffic from the guests
    #[arg(long)]
    pub out: bool,
    /// Let it through
    #[arg(long, conflicts_with_all = ["drop", "reject", "raw"])]
    pub accept: bool,
    /// Drop it
    #[arg(long, conflicts_with_all = ["reject", "raw"])]
    pub drop: bool,
    /// Drop it, and tell the sender
    #[arg(long, conflicts_with = "raw")]
    pub reject: bool,
    /// One statement of nft's language in place of all other
    #[arg(long, value_name = "STATEMENT", conflicts_with_all = ["protocol", "from", "to", "ports"])]
    pub raw: Option<String>,
    #[arg(long, value_enum)]
    pub protocol: Option<ProtocolWord>,
    /// An address or a subnet that it comes from; may be repeated; none: any
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    pub from: Vec<String>,
    /// An address or a subnet that it goes to; may be repeated; none: any
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    pub to: Vec<String>,
    /// A port that it goes to, or a range as in 8000-8080; may be repeated; none: any
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',')]
    pub ports: Vec<String>,
    /// Lower ones are asked first, 0 to 65535
    #[arg(long, value_name = "NUMBER")]
    pub order: Option<u32>,
    /// For people
    #[arg(short, long, value_name = "TEXT")]
    pub description: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolWord {
    Any,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmpv6,
}

#[derive(Debug, Subcommand)]
pub enum PeerCommand {
    /// Add a router outside, to which all coordinators announce the client networks
    #[command(after_help = "Example:\n  pvc network peer add rtr1 192.0.2.1 --asn 65001")]
    Add {
        name: String,
        address: std::net::IpAddr,
        /// Its autonomous system, another than the cluster's
        #[arg(long, value_name = "NUMBER")]
        asn: u32,
        /// Do not watch the link to it by BFD: a dead one is noticed in seconds then
        #[arg(long)]
        no_bfd: bool,
    },
    /// Remove a router outside
    Remove { name: String },
    /// List routers outside
    List,
}

#[derive(Debug, Subcommand)]
pub enum FabricCommand {
    /// Show what carries the client networks
    Info,
    /// Change it
    #[command(after_help = "Examples:
  pvc network fabric set --asn 65500
  pvc network fabric set --zone-secondary 192.0.2.53 --zone-secondary 192.0.2.54 --forwarder 9.9.9.9
  pvc network fabric set --forwarder none")]
    Set(FabricSet),
}

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true)
    .args(["asn", "zone_secondaries", "forwarders"]))]
pub struct FabricSet {
    /// The cluster's autonomous system
    #[arg(long, value_name = "NUMBER")]
    pub asn: Option<u32>,
    /// A name server that may copy the zones, anew; may be repeated; or none
    #[arg(long = "zone-secondary", value_name = "IP")]
    pub zone_secondaries: Vec<String>,
    /// A resolver that is asked for names that are not the cluster's, anew; may be repeated; or none
    #[arg(long = "forwarder", value_name = "IP")]
    pub forwarders: Vec<String>,
    /// Refuse unless this is the revision of the cluster's settings
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub expected_revision: u64,
}
