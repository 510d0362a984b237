//! That nobody is elected while a leader does well, though the links are uneven and the machines are busy: each
//! member stands still now and then, as on a host whose processors others use, and messages take their time.

use std::time::Duration;

use raft_store::{Checkpoint, Limits, Timing};
use tokio::time::Instant;

use super::cluster::{Members, Shape};
use super::sabotage::Saboteur;
use super::script::{Crowd, Stage};
use crate::dice::Dice;
use crate::net::Weather;
use crate::script::Outcome;
use crate::witness::Rule;

/// A member stands still for so long at most. With every thread of a machine's processors wanted by several
/// others a process waits for some tens of milliseconds; this is far beyond.
const STALL_MAX_MS: u64 = 200;
/// From the end of one stall to the next, at most.
const BETWEEN_MAX_MS: u64 = 1500;
/// One message in five takes up to 40 ms, one in a thousand is lost; a sync of the disk takes up to 30 ms.
const WEATHER: Weather = Weather { lost_per_mille: 1, slow_per_mille: 200, slow_max_ms: 40 };
const SYNC_MAX_MS: u64 = 30;
const CROWD: Crowd = Crowd { clients: 1, rest_max_ms: 800 };

/// So long with the default timing, and writes going on.
pub async fn stay_calm(seed: u64, time: Duration, stall_max_ms: Option<u64>) -> Outcome {
    let shape = Shape {
        members: 3,
        spares: 0,
        timing: Timing::default(),
        checkpoint: Checkpoint::default(),
        limits: Limits::default(),
        sync_max_ms: SYNC_MAX_MS,
    };
    let stage = Stage::set(shape, seed, false, CROWD, Saboteur::default()).await;
    let members = stage.members.clone();
    members.net.set_weather(WEATHER);
    let before = term(&members);
    for place in members.places() {
        let (members, dice) = (members.clone(), Dice::new(seed, &format!("stalls of {place}")));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(dice.millis(1, BETWEEN_MAX_MS)).await;
                members.stall(place, dice.millis(1, stall_max_ms.unwrap_or(STALL_MAX_MS))).await;
            }
        });
    }
    let until = Instant::now() + time;
    while Instant::now() < until && members.witness.is_content() {
        members.pass(Duration::from_secs(5)).await;
        let now = term(&members);
        if now != before {
            let detail = format!("somebody was elected: the term was {before}, and is {now}");
            members.witness.accuse(Rule::NoFalseElection, detail);
        }
    }
    stage.end().await
}

fn term(members: &Members) -> u64 {
    members.net.endpoints().iter().map(|(_, there)| there.store.status().borrow().term).max().unwrap_or(0)
}
