//! `pvc connection`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum ConnectionCommand {
    /// Add a connection, or replace one of that name
    Add(Add),
    /// Forget a connection
    Remove { name: String },
    /// List connections
    List,
    /// Use this connection where none is named
    Use { name: String },
    /// Show everything about a connection but its secrets; without a name the one in use
    Detail { name: Option<String> },
}

#[derive(Debug, Args)]
pub struct Add {
    pub name: String,
    /// host:port of a coordinator; may be repeated
    #[arg(short, long = "address", value_name = "HOST:PORT", required = true)]
    pub addresses: Vec<String>,
    /// Folder with the certificate, its key and the cluster's CA
    #[arg(
        long,
        value_name = "FOLDER",
        required_unless_present = "token_file",
        conflicts_with = "token_file"
    )]
    pub credentials: Option<PathBuf>,
    /// File with an API token; it is copied
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub token_file: Option<PathBuf>,
    /// File with the cluster's CA certificate, PEM, for a token; it is copied
    #[arg(long, value_name = "FILE", requires = "token_file")]
    pub ca: Option<PathBuf>,
    /// Use it where none is named
    #[arg(long)]
    pub default: bool,
}
