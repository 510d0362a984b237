//! `pvc token`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::parse_duration;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make an API token; its secret is shown once
    Create {
        name: String,
        /// What its holder may do
        #[arg(long, value_enum)]
        role: RoleWord,
        /// How long it is good for, as in 30d
        #[arg(long, value_parser = parse_duration, value_name = "TIME", default_value = "90d")]
        expires: Duration,
        #[arg(short, long, default_value = "", hide_default_value = true)]
        description: String,
    },
    /// Make a one-time token for a new host, and print the command that joins it
    Join {
        /// The only node name that may use it; without it any new one
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// How long it is good for, up to 7d
        #[arg(long, value_parser = parse_duration, value_name = "TIME", default_value = "1h")]
        expires: Duration,
    },
    /// List tokens, without their secrets
    List {
        #[arg(long, value_enum)]
        kind: Option<KindWord>,
    },
    /// Revoke a token at once
    Revoke { name: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleWord {
    /// May read
    Viewer,
    /// May also run, change and move VMs and volumes
    Operator,
    /// May also change the cluster itself
    Admin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindWord {
    Api,
    Join,
}
