//! What befalls the members: kinds of trouble from a deck that is shuffled anew when it is empty, so that a minute
//! sees most of them.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use pvc_bare::hosts::DESK;

use super::ground::{Ground, Weather};
use super::members::Members;
use crate::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Trouble {
    Kill,
    KillLeader,
    KillAll,
    /// Stopped for longer than an election takes.
    Stop,
    StopLeader,
    Isolate,
    IsolateLeader,
    /// The leader loses its peers, and keeps the clients.
    PartLeader,
    CutOneWay,
    CutLeaderOneWay,
    Part,
    /// Two halves that reach each other only by way of one member.
    Bridge,
    SlowLink,
    LossyLinks,
    Transfer,
    Add,
    Remove,
    Replace,
}

use Trouble::*;

pub struct Deck {
    dice: Dice,
    cards: Vec<Trouble>,
}

impl Deck {
    pub fn new(seed: u64) -> Deck {
        Deck { dice: Dice::new(seed, "trouble"), cards: Vec::new() }
    }

    fn draw(&mut self) -> Trouble {
        if self.cards.is_empty() {
            self.cards = Trouble::value_variants().to_vec();
        }
        let card = self.dice.roll(self.cards.len() as u64) as usize;
        self.cards.swap_remove(card)
    }

    /// One trouble or two, for a while, and then none.
    pub async fn episode(&mut self, members: &Members, ground: &Ground) -> Result<()> {
        for _ in 0..1 + self.dice.roll(2) {
            let kind = self.draw();
            members.count("faults");
            self.strike(kind, members, ground).await?;
        }
        tokio::time::sleep(self.dice.millis(1000, 4000)).await;
        members.say("the trouble is over");
        ground.heal().await?;
        for place in members.places() {
            members.signal(place, libc::SIGCONT);
            members.start(place)?;
        }
        tokio::time::sleep(self.dice.millis(500, 2000)).await;
        members.tidy().await;
        Ok(())
    }

    async fn strike(&self, kind: Trouble, members: &Members, ground: &Ground) -> Result<()> {
        let places = members.places();
        let Some(place) = self.dice.pick(&places).copied() else { return Ok(()) };
        let leader = members.leader().await.unwrap_or(place);
        let everybody: Vec<u8> = places.iter().copied().chain([DESK]).collect();
        members.say(format!("trouble: {kind:?} (machine {place}, leader {leader})"));
        match kind {
            Kill => members.kill(place).await,
            KillLeader => members.kill(leader).await,
            KillAll => {
                for place in &places {
                    members.kill(*place).await;
                }
                for place in &places {
                    members.start(*place)?;
                }
            }
            Stop => members.signal(place, libc::SIGSTOP),
            StopLeader => {
                members.signal(leader, libc::SIGSTOP);
                // Longer than any election, and back while the trouble lasts.
                tokio::time::sleep(Duration::from_millis(3500)).await;
                members.signal(leader, libc::SIGCONT);
            }
            Isolate => ground.part(&[place], &everybody).await?,
            IsolateLeader => ground.part(&[leader], &everybody).await?,
            PartLeader => ground.part(&[leader], &places).await?,
            CutOneWay => {
                if let Some(other) = self.dice.pick(&everybody).filter(|other| **other != place) {
                    ground.cut(place, *other).await?;
                }
            }
            CutLeaderOneWay => {
                let inwards = self.dice.per_mille(500);
                for other in places.iter().filter(|other| **other != leader) {
                    let (from, to) = if inwards { (*other, leader) } else { (leader, *other) };
                    ground.cut(from, to).await?;
                }
            }
            Part => ground.part(&self.dice.some(&everybody), &everybody).await?,
            Bridge => {
                let others: Vec<u8> = places.iter().copied().filter(|other| *other != place).collect();
                ground.part(&others[..others.len() / 2], &others).await?;
            }
            SlowLink => {
                let weather = Weather { delay_ms: 20 + self.dice.roll(150), lost_percent: 0 };
                ground.set_weather(place, weather).await?;
            }
            LossyLinks => {
                for place in &places {
                    let weather = Weather { delay_ms: 0, lost_percent: 1 + self.dice.roll(15) };
                    ground.set_weather(*place, weather).await?;
                }
            }
            Transfer => {
                if let Some(to) = self.dice.pick(&places).and_then(|place| members.member_at(*place)) {
                    members.transfer(to).await;
                }
            }
            Add => {
                if let Some(new) = self.dice.pick(&members.empty_places()).copied() {
                    let id = members.settle(new)?;
                    members.add(id, new).await;
                }
            }
            // Of fewer than three nobody could tell for certain who is out, and machines would stay full of those that are.
            Remove => {
                if members.voters().await > 3 {
                    members.remove(place).await;
                }
            }
            Replace => {
                if let Some(new) = self.dice.pick(&members.empty_places()).copied() {
                    let id = members.settle(new)?;
                    if members.add(id, new).await {
                        members.remove(place).await;
                    }
                }
            }
        }
        Ok(())
    }
}
