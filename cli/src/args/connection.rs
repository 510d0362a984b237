//! `pvc connection`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum ConnectionCommand {
    /// Add a connection, or replace one of that name
    Add {
        name: String,
        /// host:port of a coordinator; may be repeated
        #[arg(short, long = "address", value_name = "HOST:PORT", required = true)]
        addresses: Vec<String>,
        /// Folder with the certificate, its key and the cluster's CA
        #[arg(long, value_name = "FOLDER")]
        credentials: PathBuf,
        #[arg(short, long, default_value = "", hide_default_value = true)]
        description: String,
        /// Use it where none is named
        #[arg(long)]
        default: bool,
    },
    /// Forget a connection
    Remove { name: String },
    /// List connections
    List,
    /// Use this connection where none is named
    Use { name: String },
    /// Show everything about a connection; without a name the one in use
    Detail { name: Option<String> },
}
