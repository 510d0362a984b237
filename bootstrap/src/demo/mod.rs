//! The demo: a cluster from nothing, a VM in it, the VM's live move, the leader's death; told in plain words with the
//! commands that do the same.
//!
//! Everything is done by the public API, as any user would. It may be interrupted and run again: what is there is taken as
//! it is. What never happens here: a shortcut that a real cluster would not have.

mod console;
mod leader;
mod moving;
mod ping;
mod say;
mod vm;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use pvc_client::Client;
use tokio::time::Instant;

use crate::durable_file;
use crate::guest;
use crate::local::bring_up::UpOptions;
use crate::local::state::{ClusterDir, ClusterState};
use crate::local::{bmc, cluster, enrolment, up};
use leader::Replaced;
use moving::{Moved, pings_in_words};
use say::{Teller, seconds};
use vm::Boot;

/// How often the VM is moved until its guest outlives it.
const MOVES_MAX: u32 = 4;

/// What the summary tells.
struct Outcome {
    up: Duration,
    boot: Option<Boot>,
    moved: Moved,
    replaced: Option<Replaced>,
}

/// Runs the demo. `guest_dir` may hold a guest that was built before.
pub async fn run(dir: &ClusterDir, options: &UpOptions, guest_dir: Option<&Path>) -> anyhow::Result<()> {
    if options.hosts < 2 {
        bail!("the demo moves a VM to another host: it needs --hosts 2 or more");
    }
    let tell = Teller::new(&options.bootstrap);
    let outcome = play(dir, options, guest_dir, &tell).await;
    let outcome = outcome.context(
        "the demo did not get to its end; run it again when the cause is gone: it goes on from here (`make demo-down` clears everything away)",
    )?;
    summary(&outcome, dir, &tell);
    Ok(())
}

async fn play(
    dir: &ClusterDir,
    options: &UpOptions,
    guest_dir: Option<&Path>,
    tell: &Teller,
) -> anyhow::Result<Outcome> {
    tell.chapter(&format!(
        "A cluster of {} hosts on this machine, {} of them vote",
        options.hosts, options.voters
    ));
    tell.command("pvc-bootstrap local up");
    let began = Instant::now();
    let state = up::up(dir, options, &mut |line: &str| tell.line(line)).await?;
    let took = began.elapsed();
    let client = cluster::client(dir, &state)?;
    tell.pvc(&["node", "list"]);
    tell.line("each host has a BMC, which can switch it off when nothing else answers");
    tell.pvc(&[
        "node",
        "bmc",
        "set",
        "hv1",
        "--address",
        &state.addresses().bmc(state.hosts[0].name).to_string(),
        "--user",
        bmc::USER,
    ]);
    enrolment::set_bmcs(dir, &state, &client, &mut |line: &str| tell.line(line)).await?;

    tell.chapter(&format!("A VM: {}, a small Linux that says something every second", vm::NAME));
    lay_out_guest(dir, guest_dir, tell).await?;
    let address = vm::address(state.addresses());
    vm::define(&client, tell, address).await?;
    let boot = vm::start(&client, tell, address).await?;

    tell.chapter("The VM moves to another host while it runs");
    let hosts: Vec<String> = state.hosts.iter().map(|host| host.name.to_string()).collect();
    let moved = move_it(&client, &state, tell, address, &hosts).await?;
    let replaced = kill_leader(&client, &state, tell, address).await?;
    Ok(Outcome { up: took, boot, moved, replaced })
}

/// Moves the VM. QEMU 7.2 without KVM does not bring all that a guest writes meanwhile: a few in a hundred do not outlive it.
async fn move_it(
    client: &Client,
    state: &ClusterState,
    tell: &Teller,
    address: std::net::Ipv4Addr,
    hosts: &[String],
) -> anyhow::Result<Moved> {
    for _ in 1..MOVES_MAX {
        match moving::migrate(client, tell, address, hosts).await {
            Err(error) if !state.kvm && error.is::<console::Died>() => {
                tell.line(&format!("{error}: without KVM, QEMU may lose what a guest writes while it moves"));
                tell.line("the VM is started anew, and moves once more");
                vm::stop(client, tell).await?;
                vm::start(client, tell, address).await?;
            }
            moved => return moved,
        }
    }
    moving::migrate(client, tell, address, hosts).await
}

async fn kill_leader(
    client: &Client,
    state: &ClusterState,
    tell: &Teller,
    address: std::net::Ipv4Addr,
) -> anyhow::Result<Option<Replaced>> {
    tell.chapter("The leader's daemon is killed with -9");
    if state.voters < 3 {
        tell.line("left out: a cluster with one voter has nobody who could take over");
        return Ok(None);
    }
    leader::replace(client, tell, state, address).await.map(Some)
}

/// Puts the guest's kernel and first file system where all hosts see them.
async fn lay_out_guest(dir: &ClusterDir, built: Option<&Path>, tell: &Teller) -> anyhow::Result<()> {
    let shared = dir.shared().join(vm::BOOT_DIR);
    let built = built.unwrap_or(&shared);
    let guest = guest::build_if_missing(built).await.context("the little guest could not be built")?;
    if guest.built {
        tell.line("its kernel and busybox come from Debian's packages, unpacked and not installed");
    }
    durable_file::make_directory(&shared, 0o755)?;
    for (from, name) in [(&guest.kernel, guest::KERNEL), (&guest.initramfs, guest::INITRAMFS)] {
        copy_if_new(from, &shared.join(name))?;
    }
    Ok(())
}

/// A running guest's kernel is never replaced by the same one.
fn copy_if_new(from: &Path, to: &PathBuf) -> anyhow::Result<()> {
    if from == to {
        return Ok(());
    }
    let bytes = fs::read(from).with_context(|| format!("could not read {}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    Ok(durable_file::write(to, &bytes, 0o644)?)
}

fn summary(outcome: &Outcome, dir: &ClusterDir, tell: &Teller) {
    let Outcome { up, boot, moved, replaced } = outcome;
    tell.chapter("What happened");
    tell.line(&format!("the cluster was up after {}", seconds(*up)));
    match boot {
        Some(boot) => tell.line(&format!(
            "{} booted: first words on its console {} after `vm start`, first ping answered after {}",
            vm::NAME,
            seconds(boot.first_line),
            seconds(boot.first_answer)
        )),
        None => tell.line(&format!("{} ran already", vm::NAME)),
    }
    let uptime = if moved.is_unbroken() { "its uptime is unbroken" } else { "its uptime was BROKEN" };
    tell.line(&format!(
        "it moved live from {} to {} in {}: {}; {uptime}",
        moved.from,
        moved.to,
        seconds(moved.took),
        pings_in_words(&moved.pings)
    ));
    if let Some(replaced) = replaced {
        tell.line(&format!(
            "{}'s pvcd, the leader, was killed: the next write was acknowledged {} later, by {}; the guest lost {} pings; {}, started again, was back after {}",
            replaced.old,
            seconds(replaced.next_write),
            replaced.new,
            replaced.pings.lost,
            replaced.old,
            seconds(replaced.back)
        ));
    }
    tell.line(&format!("all of it took {}", seconds(tell.elapsed())));
    tell.chapter("The cluster is yours: try next");
    for command in
        ["node list", "vm list", &format!("vm console {}", vm::NAME), &format!("vm info {}", vm::NAME)]
    {
        tell.command(&tell.pvc_here(command));
    }
    tell.command(&format!("{} local status", tell.bootstrap_here()));
    let down = match dir.name().as_str() {
        "local" => "make demo-down".to_owned(),
        name => format!("{} local --name {name} down", tell.bootstrap_here()),
    };
    tell.command(&down);
}
