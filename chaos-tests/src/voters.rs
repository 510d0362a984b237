//! Calling hosts to vote and dismissing them, while the cluster works.

use std::time::Duration;

use pvc_model::Command;
use pvc_model::node::NodeRole;
use raft_store::{Member, MembersError, Store};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::daemon::address;
use crate::founding::joining;
use crate::net::Place;
use crate::witness::Rule;

/// A change of voters that does not come about within this time never will.
const WITHIN: Duration = Duration::from_secs(60);
const TRY_WITHIN: Duration = Duration::from_secs(15);

impl Cluster {
    /// A spare host joins and votes.
    pub async fn call_to_vote(&mut self, place: Place) {
        self.setting.trace.say(format!("{place} is called to vote"));
        let [make, spend] = joining(place, true);
        self.decree(make).await;
        let world = self.decree(spend).await;
        let Some(member) = world.nodes.get(&place.node()).map(|node| node.status.member_id) else { return };
        self.vote(place, member);
        self.machine(place).enrolled = true;
        self.boot(place);
        self.wait_for_core(place).await;
        self.change_members("add", async |store| {
            match store.add_learner(Member::new(member, address(place))).await {
                Err(MembersError::KnownId { .. }) => Ok(()),
                done => done,
            }
        })
        .await;
        self.change_members("promote", async |store| match store.promote(member).await {
            Err(MembersError::AlreadyVoter { .. }) => Ok(()),
            done => done,
        })
        .await;
    }

    /// A host votes no longer, dead or alive; from then on it runs guests only.
    pub async fn dismiss(&mut self, place: Place) {
        let Some(member) = self.machine(place).host.member else { return };
        self.setting.trace.say(format!("{place} is dismissed"));
        self.change_members("remove", async |store| match store.remove(member).await {
            Err(MembersError::NoSuchMember { .. }) => Ok(()),
            done => done,
        })
        .await;
        self.decree(Command::SetNodeRole { node: place.node(), role: NodeRole::Hypervisor }).await;
        self.kill(place);
        self.machine(place).host.member = None;
        self.boot(place);
    }

    /// Asks whoever leads, until it is done.
    async fn change_members(&mut self, what: &str, change: impl AsyncFn(Store) -> Result<(), MembersError>) {
        let until = Instant::now() + WITHIN;
        while self.setting.witness.is_content() {
            let said = match self.leader() {
                None => "nobody leads".to_owned(),
                Some((_, leader)) => {
                    match tokio::time::timeout(TRY_WITHIN, change(leader.store().clone())).await {
                        Ok(Ok(())) => return,
                        Ok(Err(error)) => error.to_string(),
                        Err(_) => "no answer".to_owned(),
                    }
                }
            };
            self.setting.trace.say(format!("can't {what} yet: {said}"));
            if Instant::now() > until {
                return self.setting.witness.accuse(Rule::Heals, format!("can't {what} a voter: {said}"));
            }
            self.pass(Duration::from_millis(500)).await;
        }
    }
}
