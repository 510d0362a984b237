//! `pvc vm network`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use pvc_proto::v1::NicRate;

use super::vm::Expected;
use crate::spec::nic::{parse_rate, parse_rate_or_none};

#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// List a VM's NICs
    Get { vm: String },
    /// Give a VM a NIC; a running guest gets it at once
    #[command(after_help = ADD_EXAMPLES)]
    Add(NicAdd),
    /// Change a VM's NIC, or move it to another network; a running guest sees it at once
    #[command(after_help = MODIFY_EXAMPLES)]
    Modify(NicModify),
    /// Take a NIC from a VM; a running guest loses it at once
    Remove {
        vm: String,
        /// Its MAC; or its network or bridge, where the VM has one NIC there
        nic: String,
        #[command(flatten)]
        expected: Expected,
    },
}

const ADD_EXAMPLES: &str = "\
Examples:
  pvc vm network add web1 1001
  pvc vm network add web1 lan
  pvc vm network add web1 upstream --mac 52:54:00:12:34:56 --rate-out 100M
  pvc vm network add web1 --bridge br0 --link-down";

const MODIFY_EXAMPLES: &str = "\
Examples:
  pvc vm network modify web1 52:54:00:12:34:56 --network 1002
  pvc vm network modify web1 1001 --link down
  pvc vm network modify web1 1001 --rate-in 1G/2G/4M --rate-out none";

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("attachment").required(true).args(["network", "bridge"]))]
pub struct NicAdd {
    pub vm: String,
    /// A client network by its number or its description, or upstream, cluster or storage
    pub network: Option<String>,
    /// Or a bridge that the hosts' administrator has made
    #[arg(long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// Its MAC; without it one is chosen
    #[arg(long, value_name = "MAC")]
    pub mac: Option<String>,
    /// virtio, e1000e or rtl8139; without it virtio
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// As if its cable were pulled
    #[arg(long)]
    pub link_down: bool,
    /// How much may come to the guest: bits/s as in 100M, then a peak and a burst in bytes: 100M/200M/1M
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub rate_in: Option<NicRate>,
    /// How much the guest may send
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub rate_out: Option<NicRate>,
    /// Let the guest send with any MAC and any address
    #[arg(long)]
    pub no_spoof_check: bool,
    /// An address that it may use besides its own; may be repeated
    #[arg(long = "address", value_name = "IP")]
    pub addresses: Vec<String>,
    #[command(flatten)]
    pub expected: Expected,
}

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args([
    "network", "bridge", "link", "model", "rate_in", "rate_out", "spoof_check", "addresses", "no_addresses",
]))]
pub struct NicModify {
    pub vm: String,
    /// Its MAC; or its network or bridge, where the VM has one NIC there
    pub nic: String,
    /// Move it to this network: a number, or upstream, cluster or storage
    #[arg(long, value_name = "NETWORK", conflicts_with = "bridge")]
    pub network: Option<String>,
    /// Move it to this bridge of the hosts'
    #[arg(long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// Plug its cable in, or pull it
    #[arg(long, value_enum)]
    pub link: Option<LinkWord>,
    /// virtio, e1000e or rtl8139; takes effect at the next start
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// How much may come to the guest, as in 100M or 100M/200M/1M; none: no limit
    #[arg(long, value_name = "RATE", value_parser = parse_rate_or_none)]
    pub rate_in: Option<NicRate>,
    /// How much the guest may send
    #[arg(long, value_name = "RATE", value_parser = parse_rate_or_none)]
    pub rate_out: Option<NicRate>,
    /// Whether only its own MAC and addresses are taken from the guest
    #[arg(long, value_enum, value_name = "ON|OFF")]
    pub spoof_check: Option<SwitchWord>,
    /// The addresses that it may use besides its own, anew; may be repeated
    #[arg(long = "address", value_name = "IP")]
    pub addresses: Vec<String>,
    /// It may use none besides its own
    #[arg(long, conflicts_with = "addresses")]
    pub no_addresses: bool,
    #[command(flatten)]
    pub expected: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinkWord {
    Up,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SwitchWord {
    On,
    Off,
}
