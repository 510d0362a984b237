//! Changing who takes part while clients work: a member is added and promoted, removed, or replaced by a new one.

use std::time::Duration;

use raft_store::{Member, MemberId, MembersError, Store};
use tokio::time::Instant;

use super::cluster::Members;
use crate::daemon::address;
use crate::dice::Dice;
use crate::net::Place;

/// A change that does not come about within this time is given up: there may be no quorum for it.
const WITHIN: Duration = Duration::from_secs(12);
const TRY_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(300);

impl Members {
    /// One change, unless another is under way.
    pub fn change(&self, dice: &Dice, change: Change) {
        let Ok(alone) = self.changing.clone().try_lock_owned() else { return };
        let (members, dice) = (self.clone(), dice.clone());
        tokio::spawn(async move {
            match change {
                Change::Add(place) => drop(members.add(place).await),
                Change::Remove(place) => drop(members.remove(place, &dice).await),
                Change::Replace { old, new } => {
                    if members.add(new).await {
                        members.remove(old, &dice).await;
                    }
                }
            }
            drop(alone);
        });
    }

    async fn add(&self, place: Place) -> bool {
        let member = self.settle(place);
        self.ask(Step::Add(Member::new(member, address(place)))).await
            && self.ask(Step::Promote(member)).await
    }

    /// The old member goes on for a while, as one does whom nobody has told.
    async fn remove(&self, place: Place, dice: &Dice) -> bool {
        let Some(member) = self.member_at(place) else { return false };
        if !self.ask(Step::Remove(member)).await || !self.is_out(member).await {
            return false;
        }
        tokio::time::sleep(dice.millis(0, 4000)).await;
        self.trace.say(format!("member {member} at {place} is out"));
        self.clear(place);
        true
    }

    /// Whether a quorum knows that it is no member: only then its data may go.
    async fn is_out(&self, member: MemberId) -> bool {
        let Some((_, leader)) = self.leader() else { return false };
        match tokio::time::timeout(TRY_WITHIN, leader.linearizable()).await {
            Ok(Ok(view)) => view.members().iter().all(|other| other.id != member),
            _ => false,
        }
    }

    /// Asks whoever leads, until it is done or too late.
    async fn ask(&self, step: Step) -> bool {
        let until = Instant::now() + WITHIN;
        loop {
            let said = match self.leader() {
                None => "nobody leads".to_owned(),
                Some((_, leader)) => match tokio::time::timeout(TRY_WITHIN, step.take(&leader)).await {
                    Ok(Ok(())) => {
                        self.trace.say(format!("{step:?}: done"));
                        return true;
                    }
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "no answer".to_owned(),
                },
            };
            self.trace.say(format!("{step:?}: not yet: {said}"));
            if Instant::now() > until || !self.witness.is_content() {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(Member),
    Promote(MemberId),
    Remove(MemberId),
}

impl Step {
    /// What had been done before, by a call that had no answer, is done.
    async fn take(&self, leader: &Store) -> Result<(), MembersError> {
        let taken = match self {
            Step::Add(member) => leader.add_learner(member.clone()).await,
            Step::Promote(member) => leader.promote(*member).await,
            Step::Remove(member) => leader.remove(*member).await,
        };
        match (self, taken) {
            (Step::Add(_), Err(MembersError::KnownId { .. }))
            | (Step::Promote(_), Err(MembersError::AlreadyVoter { .. }))
            | (Step::Remove(_), Err(MembersError::NoSuchMember { .. })) => Ok(()),
            (_, taken) => taken,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Change {
    Add(Place),
    Remove(Place),
    Replace { old: Place, new: Place },
}
