//! `pvc storage`.

use clap::{Args, Subcommand};

use super::{Wait, Watch};
use crate::spec::size::parse_bytes;

#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Volumes: the disks of VMs
    #[command(subcommand)]
    Volume(VolumeCommand),
}

#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Make an empty volume
    Add {
        name: String,
        /// As in 10G
        #[arg(value_parser = parse_bytes)]
        size: u64,
        /// Storage pool
        #[arg(short, long, default_value = "shared")]
        pool: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// List volumes
    List(VolumeList),
    /// Show everything about a volume
    Info { name: String },
    /// Make a volume larger; a volume never shrinks
    Resize {
        name: String,
        /// The new size, as in 20G
        #[arg(value_parser = parse_bytes)]
        size: u64,
        #[command(flatten)]
        wait: Wait,
    },
    /// Make a copy of a volume
    Clone {
        source: String,
        name: String,
        /// Copy this snapshot of it
        #[arg(long, value_name = "SNAPSHOT")]
        snapshot: Option<String>,
        /// Storage pool of the copy; without it the source's
        #[arg(short, long)]
        pool: Option<String>,
        /// Size of the copy; without it the source's
        #[arg(long, value_parser = parse_bytes)]
        size: Option<u64>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete a volume that no VM uses, with its snapshots
    Remove {
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Snapshots of a volume
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
}

#[derive(Clone, Debug, Args)]
pub struct VolumeList {
    /// Regular expression that the name must match somewhere
    pub limit: Option<String>,
    /// Only volumes of this pool
    #[arg(short, long)]
    pub pool: Option<String>,
    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Take a snapshot; the VM that uses the volume must be off
    Add {
        volume: String,
        snapshot: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete a snapshot
    Remove {
        volume: String,
        snapshot: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// List a volume's snapshots
    List { volume: String },
}
