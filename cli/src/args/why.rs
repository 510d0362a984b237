//! `pvc why`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum WhyCommand {
    /// Why a VM is where it is and as it is, and what speaks against each other node
    Vm { vm: String },
    /// Why a node is as it is, and what it holds
    Node { node: String },
}
