//! The VM moves to another host while it runs and answers.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use pvc_client::{CallError, Client, request_id};
use pvc_proto::v1::{MigrateVmRequest, MigrationMethod};
use tokio::time::{Instant, sleep};

use super::console::{self, Heartbeat};
use super::ping::{Pings, Tally};
use super::say::{Teller, seconds};
use super::vm;

/// Pings before and after, for comparison.
const AROUND: Duration = Duration::from_secs(2);

/// How the move went.
#[derive(Debug, Clone)]
pub struct Moved {
    pub from: String,
    pub to: String,
    pub took: Duration,
    /// What the task said at its end, such as how long the guest was paused.
    pub message: String,
    pub pings: Tally,
    pub before: Heartbeat,
    pub after: Heartbeat,
    /// Between the two heartbeats, by the machine's clock.
    pub apart: Duration,
}

impl Moved {
    /// Whether the guest's clock went on as ours did: it was neither started anew nor paused for long.
    pub fn is_unbroken(&self) -> bool {
        // either heartbeat may be read up to a second and a bit after it was said
        let slack = Duration::from_secs(3);
        let counted = self.after.uptime.saturating_sub(self.before.uptime);
        self.after.count > self.before.count && counted + slack >= self.apart && counted <= self.apart + slack
    }
}

/// Moves the VM to one of the `hosts` where it is not now.
pub async fn migrate(
    client: &Client,
    tell: &Teller,
    address: Ipv4Addr,
    hosts: &[String],
) -> anyhow::Result<Moved> {
    let (_, from) = vm::placed(client).await?;
    let to = hosts.iter().find(|host| **host != from).context("there is no other host to move to")?.clone();
    let before = console::next_heartbeat(client, vm::NAME).await?;
    let looked = Instant::now();
    tell.line(&format!(
        "its uptime is {}; it is pinged 10 times a second from now on",
        seconds(before.uptime)
    ));
    let pings = Pings::start(address).context("could not open a socket for pings")?;
    sleep(AROUND).await;

    tell.pvc(&["vm", "migrate", vm::NAME, "-t", &to]);
    let started = Instant::now();
    let request = MigrateVmRequest {
        name: vm::NAME.to_owned(),
        node: to.clone(),
        method: MigrationMethod::Live.into(),
        request_id: request_id(),
    };
    let task = client.vms().migrate_vm(request).await.map_err(CallError::from)?.into_inner();
    let task = vm::succeed(vm::follow(client, tell, &vm::name_of(&task)).await?)?;
    let took = started.elapsed();

    sleep(AROUND).await;
    let pings = pings.finish().await.context("the pings could not be counted")?;
    let after = console::next_heartbeat(client, vm::NAME).await?;
    let moved =
        Moved { from, to, took, message: task.message, pings, before, after, apart: looked.elapsed() };
    tell_of(&moved, tell);
    Ok(moved)
}

fn tell_of(moved: &Moved, tell: &Teller) {
    let Moved { from, to, took, message, pings, before, after, .. } = moved;
    let message = if message.is_empty() { String::new() } else { format!(" ({message})") };
    tell.line(&format!("it went from {from} to {to} in {}{message}", seconds(*took)));
    tell.line(&pings_in_words(pings));
    let verdict = if moved.is_unbroken() { "unbroken" } else { "BROKEN" };
    tell.line(&format!(
        "its uptime is {verdict}: {} before, {} now, heartbeat {} before, {} now",
        seconds(before.uptime),
        seconds(after.uptime),
        before.count,
        after.count
    ));
}

/// "143 pings, 0 lost, longest time without an answer 130 ms".
pub fn pings_in_words(pings: &Tally) -> String {
    format!(
        "{} pings, {} lost, longest time without an answer {}",
        pings.sent,
        pings.lost,
        seconds(pings.longest_gap)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_was_started_anew_or_stood_still_is_found_out() {
        let beat = |uptime: u64, count| Heartbeat { uptime: Duration::from_secs(uptime), count };
        let moved = |after, apart: u64| Moved {
            from: String::new(),
            to: String::new(),
            took: Duration::ZERO,
            message: String::new(),
            pings: Tally { sent: 0, lost: 0, longest_gap: Duration::ZERO },
            before: beat(100, 90),
            after,
            apart: Duration::from_secs(apart),
        };
        assert!(moved(beat(110, 100), 10).is_unbroken());
        assert!(moved(beat(110, 99), 12).is_unbroken());
        assert!(!moved(beat(5, 3), 10).is_unbroken(), "it was started anew");
        assert!(!moved(beat(105, 95), 20).is_unbroken(), "it stood still");
    }
}
