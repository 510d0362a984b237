//! What each command does: ask the cluster, print the answer. A file for each noun.

mod affinity;
mod backup;
mod bmc;
mod cluster;
mod connection;
mod history;
mod logs;
mod network;
mod network_acl;
mod network_parts;
mod node;
mod task;
mod token;
mod vm;
mod vm_edit;
mod vm_network;
mod volume;
mod why;

use crate::args::Command;
use crate::args::storage::StorageCommand;
use crate::context::Context;
use crate::failure::Failure;

/// Does what was asked.
pub async fn run(cx: &mut Context<'_>, command: Command) -> Result<(), Failure> {
    match command {
        Command::Connection(command) => connection::run(cx, command).await,
        Command::Cluster(command) => cluster::run(cx, command).await,
        Command::Node(command) => node::run(cx, command).await,
        Command::Vm(command) => vm::run(cx, *command).await,
        Command::Affinity(command) => affinity::run(cx, command).await,
        Command::Network(command) => network::run(cx, *command).await,
        Command::Storage(StorageCommand::Volume(command)) => volume::run(cx, command).await,
        Command::Task(command) => task::run(cx, command).await,
        Command::Token(command) => token::run(cx, command).await,
        Command::Why(command) => why::run(cx, command).await,
        Command::Completion { shell } => completion(cx, shell),
        Command::Version => Ok(cx.io.line(format!("pvc {}", env!("CARGO_PKG_VERSION")))?),
    }
}

fn completion(cx: &mut Context<'_>, shell: crate::args::Shell) -> Result<(), Failure> {
    use clap_complete::aot::{Shell as Generator, generate};
    let generator = match shell {
        crate::args::Shell::Bash => Generator::Bash,
        crate::args::Shell::Zsh => Generator::Zsh,
        crate::args::Shell::Fish => Generator::Fish,
    };
    // Into memory first: the generator panics when its output is gone.
    let mut script = Vec::new();
    generate(generator, &mut crate::command(), "pvc", &mut script);
    Ok(cx.io.out.write_all(&script)?)
}
