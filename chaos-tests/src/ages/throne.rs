//! Who leads: an election is an event here. A leader whose process is gone or stands still, or that reaches no quorum, is
//! followed by another one as soon as Raft's timing lets a quorum vote again; one that is deposed without having heard of it
//! goes on until it does.

use std::time::Duration;

use tokio::time::Instant;

use super::ground::{Ground, vote_silence};
use super::host::AgeHost;
use super::reign::Reign;
use crate::net::Place;

/// An election takes so long at most after votes may be given, where members are awake.
const CAMPAIGN_MAX_MS: u64 = 650;

/// The elections of one cluster.
#[derive(Default)]
pub struct Throne {
    /// When somebody is elected, if nobody leads by then.
    election: Option<Instant>,
    /// A deposed leader hears of it at the second look after it could.
    told: Vec<u64>,
    pub elections: u64,
}

impl Throne {
    /// Nobody is to be elected, and nobody is to hear of it.
    pub fn is_steady(&self) -> bool {
        self.election.is_none() && self.told.is_empty()
    }

    /// Looks at who leads; elects somebody where it is time.
    pub fn look(&mut self, ground: &Ground, hosts: &[AgeHost]) {
        let leader = ground.leader();
        self.depose(ground, leader.as_ref());
        let leads = |reign: &Reign| ground.is_awake(reign.place()) && ground.has_quorum(reign.place());
        if leader.as_ref().is_some_and(leads) {
            self.election = None;
            return;
        }
        let campaign = || vote_silence() + ground.dice.millis(0, CAMPAIGN_MAX_MS);
        let election = *self.election.get_or_insert_with(|| Instant::now() + campaign());
        if Instant::now() < election {
            return;
        }
        let able = |place: &&Place| ground.is_awake(**place) && ground.has_quorum(**place);
        let candidates: Vec<Place> = ground.voters.iter().filter(able).copied().collect();
        if let Some(place) = ground.dice.pick(&candidates) {
            self.elect(ground, hosts, *place);
        } else {
            self.election = Some(Instant::now() + Duration::from_millis(100));
        }
    }

    /// The leader hands over to another coordinator, or stays where there is none.
    pub fn hand_over(&mut self, ground: &Ground, hosts: &[AgeHost]) {
        let Some(leader) = ground.leader() else { return };
        let able = |place: &&Place| {
            **place != leader.place() && ground.is_awake(**place) && ground.has_quorum(**place)
        };
        let candidates: Vec<Place> = ground.voters.iter().filter(able).copied().collect();
        if let Some(place) = ground.dice.pick(&candidates) {
            self.elect(ground, hosts, *place);
        }
    }

    fn elect(&mut self, ground: &Ground, hosts: &[AgeHost], place: Place) {
        let Some(hearts) = hosts.iter().find(|host| host.place == place).and_then(AgeHost::hearts) else {
            return;
        };
        self.election = None;
        self.elections += 1;
        // One who believes to lead, and is elected again, knows that its own time was over.
        for reign in ground.reigns().into_iter().filter(|reign| reign.place() == place) {
            reign.end();
        }
        ground.crown(Reign::begin(ground, place, hearts));
    }

    /// Ends the reigns of those who can hear that there is another.
    fn depose(&mut self, ground: &Ground, leader: Option<&Reign>) {
        let Some(leader) = leader else { return };
        let older = ground.reigns().into_iter().filter(|reign| reign.term() != leader.term());
        let hear = |reign: &Reign| {
            ground.is_awake(reign.place()) && ground.net.joined(reign.place(), leader.place())
        };
        let hearing: Vec<Reign> = older.filter(hear).collect();
        let told = std::mem::take(&mut self.told);
        for reign in hearing {
            if told.contains(&reign.term()) {
                ground.say(format!("{} hears that it leads no more", reign.place()));
                reign.end();
            } else {
                self.told.push(reign.term());
            }
        }
    }
}
