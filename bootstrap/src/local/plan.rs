//! Names and addresses of a local cluster: everything that follows from its name, its index and a host's number.
//!
//! Pure: nothing here looks at the machine. Because all names follow from the cluster's name alone, `down` finds what a
//! killed `up` left behind without any state file.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name of a local cluster: the machine's links are called `pvc-NAME-c`, and Linux allows 15 bytes.
pub const NAME_LEN_MAX: usize = 9;
/// Most hosts that a local cluster may have.
pub const HOSTS_MAX: u8 = 32;
/// Number of local clusters that may exist at once: two /24 networks each from 10.100.0.0/24 on, and one from 10.200.0.0/24 on.
pub const INDEX_COUNT: u8 = 50;

const FIRST_OCTET: u8 = 100;
const FIRST_UPSTREAM_OCTET: u8 = 200;
/// A /64 for each upstream network, out of a unique local prefix (RFC 4193); 70:7663 spells "pvc".
const UPSTREAM_V6: [u16; 3] = [0xfd70, 0x7663, 0];
const HUB_HOST: u8 = 1;
const ROUTER_HOST: u8 = 2;
const MACHINE_HOST: u8 = 254;
const FLOATING_HOST: u8 = 9;
/// More than any host's number.
const HUB_MAC: u8 = 0xfe;
const ROUTER_MAC: u8 = 0xfd;
const FIRST_HOST: u8 = 10;
const FIRST_BMC: u8 = 100;
const FIRST_GUEST: u8 = 100;

/// Why a name of a cluster or a host was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "cluster name {0:?} is not usable: it must be 1 to {NAME_LEN_MAX} characters, small letters and digits, a letter first"
    )]
    Cluster(String),
    #[error("host name {0:?} is not usable: hosts of a local cluster are called hv1 to hv{HOSTS_MAX}")]
    Host(String),
    #[error("there is no network {0:?}: use `cluster`, `vm` or `upstream`")]
    Net(String),
}

/// Name of a local cluster. It has no dash, so `pvc-NAME-` is no prefix of another cluster's names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

impl ClusterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the names of all this cluster's namespaces and links begin with.
    pub fn prefix(&self) -> String {
        format!("pvc-{}-", self.0)
    }

    /// Network namespace that holds the switches.
    pub fn hub_netns(&self) -> String {
        format!("{}hub", self.prefix())
    }

    /// Network namespace of the upstream router.
    pub fn router_netns(&self) -> String {
        format!("{}router", self.prefix())
    }

    /// Network namespace of one host.
    pub fn host_netns(&self, host: HostName) -> String {
        format!("{}{host}", self.prefix())
    }

    /// Link by which the machine itself takes part in a network.
    pub fn machine_link(&self, net: Net) -> String {
        format!("{}{}", self.prefix(), net.letter())
    }
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = (1..=NAME_LEN_MAX).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if good { Ok(Self(text.to_owned())) } else { Err(NameError::Cluster(text.to_owned())) }
    }
}

impl TryFrom<String> for ClusterName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> String {
        name.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a host, `hv1` to `hv32`; the number gives its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(u8);

impl HostName {
    /// The first `count` hosts, in order.
    pub fn first(count: u8) -> impl Iterator<Item = HostName> {
        assert!(count <= HOSTS_MAX, "a local cluster has at most {HOSTS_MAX} hosts");
        (1..=count).map(HostName)
    }

    /// Number of the host, 1 to [`HOSTS_MAX`].
    pub fn number(self) -> u8 {
        self.0
    }

    /// Name of the hub's port into which this host's cable is plugged.
    pub fn hub_port(self, net: Net) -> String {
        format!("{self}-{}", net.letter())
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.strip_prefix("hv")
            .filter(|digits| !digits.starts_with('0') && !digits.starts_with('+'))
            .and_then(|digits| digits.parse().ok())
            .filter(|number| (1..=HOSTS_MAX).contains(number))
            .map(HostName)
            .ok_or_else(|| NameError::Host(text.to_owned()))
    }
}

impl TryFrom<String> for HostName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(host: HostName) -> String {
        host.to_string()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hv{}", self.0)
    }
}

/// The networks of a local cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Net {
    /// Between hosts: `eth0` of each. Coordinators, libvirt and migrations talk here.
    Cluster,
    /// Between guests: `eth1` of each host, a port of its bridge `vmbr0`.
    Vm,
    /// Between hosts and the upstream router: `eth2` of each.
    Upstream,
}

impl Net {
    /// All networks.
    pub const ALL: [Net; 3] = [Net::Cluster, Net::Vm, Net::Upstream];

    /// Name of the switch in the hub's namespace.
    pub fn switch(self) -> &'static str {
        match self {
            Net::Cluster => "cluster",
            Net::Vm => "vm",
            Net::Upstream => "upstream",
        }
    }

    /// Largest packet. The cluster's network takes an overlay's on top of what guests send.
    pub fn mtu(self) -> u16 {
        match self {
            Net::Cluster => 9000,
            Net::Vm | Net::Upstream => 1500,
        }
    }

    /// Name of the hub's port to which the machine itself is plugged.
    pub fn machine_port(self) -> String {
        format!("machine-{}", self.letter())
    }

    /// Name of the host's network card in this network.
    pub fn card(self) -> &'static str {
        match self {
            Net::Cluster => "eth0",
            Net::Vm => "eth1",
            Net::Upstream => "eth2",
        }
    }

    fn letter(self) -> char {
        match self {
            Net::Cluster => 'c',
            Net::Vm => 'v',
            Net::Upstream => 'u',
        }
    }

    /// Second octet of the addresses in the network of the cluster with this index.
    fn octet(self, index: u8) -> u8 {
        match self {
            Net::Cluster => FIRST_OCTET + 2 * index,
            Net::Vm => FIRST_OCTET + 2 * index + 1,
            Net::Upstream => FIRST_UPSTREAM_OCTET + index,
        }
    }
}

impl FromStr for Net {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "cluster" => Ok(Net::Cluster),
            "vm" => Ok(Net::Vm),
            "upstream" => Ok(Net::Upstream),
            _ => Err(NameError::Net(text.to_owned())),
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.switch())
    }
}

/// Addresses of one local cluster, by its index among the machine's local clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPlan {
    index: u8,
}

impl AddressPlan {
    /// Length of the networks' prefix.
    pub const PREFIX_LEN: u8 = 24;
    /// Length of the upstream network's IPv6 prefix.
    pub const PREFIX_LEN_V6: u8 = 64;

    /// The plan of the cluster with this index; `None` from [`INDEX_COUNT`] on.
    pub fn new(index: u8) -> Option<Self> {
        (index < INDEX_COUNT).then_some(Self { index })
    }

    /// Whether this is the address of some local cluster's host.
    pub fn is_host(address: Ipv4Addr) -> bool {
        (0..INDEX_COUNT)
            .any(|index| HostName::first(HOSTS_MAX).any(|host| Self { index }.host(host) == address))
    }

    fn address(self, net: Net, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, net.octet(self.index), 0, last)
    }

    /// The network's own address, such as 10.100.0.0.
    pub fn network(self, net: Net) -> Ipv4Addr {
        self.address(net, 0)
    }

    /// Address of the hub, which stands for the outside world: .1.
    pub fn hub(self, net: Net) -> Ipv4Addr {
        self.address(net, HUB_HOST)
    }

    /// Address of the machine itself: .254.
    pub fn machine(self, net: Net) -> Ipv4Addr {
        self.address(net, MACHINE_HOST)
    }

    /// The primary's address in the cluster network: .9.
    pub fn floating(self) -> Ipv4Addr {
        self.address(Net::Cluster, FLOATING_HOST)
    }

    /// Address in the VM network for a guest that is given a fixed one, from .101 on; `number` is 1 to 99.
    pub fn guest(self, number: u8) -> Ipv4Addr {
        assert!((1..=99).contains(&number), "there is no guest number {number}");
        self.address(Net::Vm, FIRST_GUEST + number)
    }

    /// Address of a host in the cluster network: .11 for hv1.
    pub fn host(self, host: HostName) -> Ipv4Addr {
        self.host_in(Net::Cluster, host)
    }

    /// Address of a host in a network that it has one in: .11 for hv1.
    pub fn host_in(self, net: Net, host: HostName) -> Ipv4Addr {
        self.address(net, FIRST_HOST + host.number())
    }

    /// The same in the upstream network's IPv6 prefix: ::11 for hv1, so that both are told apart at a glance.
    pub fn host_upstream_v6(self, host: HostName) -> Ipv6Addr {
        self.upstream_v6(u16::from(FIRST_HOST + host.number()))
    }

    /// Address of the upstream router: .2.
    pub fn router(self) -> Ipv4Addr {
        self.address(Net::Upstream, ROUTER_HOST)
    }

    /// Its IPv6 address: ::2.
    pub fn router_v6(self) -> Ipv6Addr {
        self.upstream_v6(u16::from(ROUTER_HOST))
    }

    /// The upstream network's IPv6 prefix, such as fd70:7663:0:0::.
    pub fn upstream_network_v6(self) -> Ipv6Addr {
        self.upstream_v6(0)
    }

    /// `last` is written as a decimal: 11 becomes ::11.
    fn upstream_v6(self, last: u16) -> Ipv6Addr {
        let [a, b, c] = UPSTREAM_V6;
        let last = last / 10 * 16 + last % 10;
        Ipv6Addr::new(a, b, c, u16::from(self.index), 0, 0, 0, last)
    }

    /// Address of a host's BMC in the cluster network: .101 for hv1.
    pub fn bmc(self, host: HostName) -> Ipv4Addr {
        self.address(Net::Cluster, FIRST_BMC + host.number())
    }

    /// Hardware address of the hub's switch. It is fixed: a bridge has that of one of its ports otherwise, which come and go with
    /// their hosts, and whoever knows the old one hears nothing of the hub for a while.
    pub fn hub_mac(self, net: Net) -> String {
        self.mac_of(net, HUB_MAC)
    }

    /// Hardware address of a host's card. It is fixed: a host that is switched on again must not meet its peers' stale ARP entries.
    pub fn mac(self, net: Net, host: HostName) -> String {
        self.mac_of(net, host.number())
    }

    /// Hardware address of the upstream router.
    pub fn router_mac(self) -> String {
        self.mac_of(Net::Upstream, ROUTER_MAC)
    }

    fn mac_of(self, net: Net, last: u8) -> String {
        // 02 = locally administered; 70:76:63 spells "pvc"
        format!("02:70:76:63:{:02x}:{last:02x}", net.octet(self.index) - FIRST_OCTET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn host(text: &str) -> HostName {
        text.parse().unwrap()
    }

    #[test]
    fn cluster_names_are_refused_that_would_not_fit_a_link() {
        for good in ["a", "local", "demo2", "abcdefghi"] {
            assert_eq!(good.parse::<ClusterName>().unwrap().as_str(), good);
        }
        for bad in ["", "abcdefghij", "Local", "a-b", "2x", "a_b", "ä"] {
            assert_eq!(bad.parse::<ClusterName>(), Err(NameError::Cluster(bad.to_owned())));
        }
    }

    #[test]
    fn links_and_namespaces_fit_linux() {
        let name: ClusterName = "abcdefghi".parse().unwrap();
        for net in Net::ALL {
            assert!(name.machine_link(net).len() <= 15);
            assert!(host("hv32").hub_port(net).len() <= 15);
        }
        assert_eq!(name.host_netns(host("hv3")), "pvc-abcdefghi-hv3");
    }

    #[test]
    fn host_names_have_one_spelling() {
        assert_eq!(host("hv1").number(), 1);
        assert_eq!(host("hv32").to_string(), "hv32");
        for bad in ["hv0", "hv01", "hv33", "hv+1", "hv", "1", "HV1", "hv1 ", "hv300"] {
            assert_eq!(bad.parse::<HostName>(), Err(NameError::Host(bad.to_owned())));
        }
    }

    #[test]
    fn addresses_of_the_first_cluster() {
        let plan = AddressPlan::new(0).unwrap();
        assert_eq!(plan.host(host("hv1")).to_string(), "10.100.0.11");
        assert_eq!(plan.hub(Net::Vm).to_string(), "10.101.0.1");
        assert_eq!(plan.machine(Net::Cluster).to_string(), "10.100.0.254");
        assert_eq!(plan.mac(Net::Vm, host("hv3")), "02:70:76:63:01:03");
        assert_eq!(plan.host_in(Net::Upstream, host("hv1")).to_string(), "10.200.0.11");
        assert_eq!(plan.host_upstream_v6(host("hv32")).to_string(), "fd70:7663::42");
        assert_eq!(
            (plan.router().to_string(), plan.router_v6().to_string()),
            ("10.200.0.2".to_owned(), "fd70:7663::2".to_owned())
        );
    }

    #[test]
    fn no_two_things_share_an_address_or_a_mac() {
        let (mut addresses, mut macs) = (BTreeSet::new(), BTreeSet::new());
        for index in 0..INDEX_COUNT {
            let plan = AddressPlan::new(index).unwrap();
            for net in Net::ALL {
                for address in [plan.network(net), plan.hub(net), plan.machine(net)] {
                    assert!(addresses.insert(address), "{address} twice");
                }
                for host in HostName::first(HOSTS_MAX) {
                    assert!(macs.insert(plan.mac(net, host)));
                }
            }
            for host in HostName::first(HOSTS_MAX) {
                assert!(addresses.insert(plan.host(host)));
                assert!(addresses.insert(plan.bmc(host)));
                assert!(addresses.insert(plan.host_in(Net::Upstream, host)));
            }
            assert!(addresses.insert(plan.router()) && macs.insert(plan.router_mac()));
            for number in 1..=99 {
                assert!(addresses.insert(plan.guest(number)));
            }
        }
        assert_eq!(AddressPlan::new(INDEX_COUNT), None);
        assert!(AddressPlan::is_host("10.102.0.42".parse().unwrap()));
        assert!(!AddressPlan::is_host("10.101.0.11".parse().unwrap()));
    }
}
