//! What `pvcd` is told on its command line; its man page is made from this too.

use std::path::PathBuf;

use clap::Parser;

/// The daemon of the Parallel Virtual Cluster: runs this host's guests as the cluster wants them, and on a
/// coordinator keeps the cluster's state. Stopping it touches no guest.
#[derive(Debug, Parser)]
#[command(name = "pvcd", version)]
pub struct Args {
    /// Its configuration; `pvc-bootstrap` writes it
    #[arg(long, value_name = "FILE", default_value = pvc_host::daemon_config::PATH)]
    pub config: PathBuf,
}
