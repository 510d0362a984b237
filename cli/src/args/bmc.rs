//! `pvc node bmc` and `pvc node power`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum BmcCommand {
    /// Set the BMC by which a node can be switched off when nothing else answers; it is asked first
    Set(BmcSet),
    /// Ask a node's BMC who it is and whether the power is on; switches nothing
    Check { node: String },
    /// Forget a node's BMC: the node can't be fenced by power any more
    Clear { node: String },
}

#[derive(Debug, Args)]
pub struct BmcSet {
    pub node: String,
    /// Where it answers: HOST or HOST:PORT, an IPv6 address with a port in brackets [default port: 623]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub address: String,
    /// Who logs in there; the privilege OPERATOR is enough
    #[arg(long)]
    pub user: String,
    /// Read the password from this file's first line [default: ask on the terminal]
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    pub password_file: Option<PathBuf>,
    /// Read the password from stdin's first line
    #[arg(long)]
    pub password_stdin: bool,
    /// Who speaks with it: the built-in client, the program ipmitool, or whichever it answers
    #[arg(long, value_enum, default_value_t = AdapterWord::Auto)]
    pub adapter: AdapterWord,
    /// It is this node's, though the BMC and the node tell different identities
    #[arg(long)]
    pub trust_wiring: bool,
    /// Refuse unless this is the node's revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub expected_revision: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AdapterWord {
    Auto,
    Native,
    Ipmitool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PowerWord {
    Status,
    On,
    Off,
    Cycle,
}
