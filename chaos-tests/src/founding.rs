//! How a simulated cluster is founded: its first coordinator alone, then host after host as they join in life.

use pvc_coordinator::core::Coordinator;
use pvc_model::command::{ClusterPatch, FloatingPatch};
use pvc_model::guard::Isolation;
use pvc_model::node::{NodeRole, Reachability};
use pvc_model::{Command, Name, World};
use raft_store::{Member, MemberId};

use crate::boards::enrol_bmc;
use crate::cluster::Cluster;
use crate::daemon::address;
use crate::net::Place;
use crate::setting::FLOATING;
use crate::shape::Shape;

impl Cluster {
    pub(crate) async fn enrol_all(&mut self, shape: &Shape) {
        let first = Place(1);
        self.vote(first, 1);
        self.boot(first);
        let (store, core) = self.wait_for_core(first).await;
        store.found().await.expect("an empty store can be founded");
        core.leadership().wait_for(Option::is_some).await.expect("it leads");
        let found = Command::FoundNode { name: first.node(), address: address(first), member_id: 1 };
        core.submit(found, "pvc", None).await.expect("the first node enrols itself");
        for place in self.places().into_iter().skip(1) {
            let votes = place.0 <= shape.coordinators;
            let member = self.enrol(&core, place, votes).await;
            if votes {
                self.vote(place, member);
            }
            self.boot(place);
            if votes {
                self.wait_for_core(place).await;
                store.add_learner(Member::new(member, address(place))).await.expect("a learner");
                store.promote(member).await.expect("a voter");
            }
        }
        let reachable = |world: &World| {
            world
                .nodes
                .values()
                .all(|n| n.status.reachability == Reachability::Reachable && n.status.session > 0)
        };
        core.worlds().wait_for(reachable).await.expect("the core runs");
        let floating = FloatingPatch {
            address: Some(Some(FLOATING.parse().expect("an address"))),
            device: Some("br0".parse().expect("a device")),
        };
        let patch = ClusterPatch { floating, ..ClusterPatch::default() };
        let set = Command::UpdateCluster { patch, expected_revision: 0 };
        core.submit(set, "admin/founder", None).await.expect("a setting");
        for place in self.places().into_iter().filter(|_| shape.bmcs) {
            core.submit(enrol_bmc(place), "admin/founder", None).await.expect("a BMC is enrolled");
        }
        if shape.guards {
            for place in self.places() {
                core.submit(isolate(place), "admin/founder", None).await.expect("a setting");
            }
            let armed = |world: &World| world.nodes.values().all(|node| node.relied_guard().is_some());
            core.worlds().wait_for(armed).await.expect("the core runs");
        }
    }

    async fn enrol(&self, core: &Coordinator, place: Place, votes: bool) -> MemberId {
        let [make, spend] = joining(place, votes);
        core.submit(make, "admin/founder", None).await.expect("a token");
        let joined = core.submit(spend, "anonymous", None).await.expect("it joins");
        joined.world.nodes[&place.node()].status.member_id
    }
}

/// A host stops its guests when it is cut off.
fn isolate(place: Place) -> Command {
    Command::UpdateNode {
        name: place.node(),
        schedulable: None,
        on_return: None,
        on_shutdown: None,
        isolation: Some(Isolation::Stop),
        expected_revision: 0,
    }
}

/// How a node joins: a token is made, and spent.
pub(crate) fn joining(place: Place, votes: bool) -> [Command; 2] {
    let token: Name = format!("join-{place}").parse().expect("a name");
    let secret_hash = "00".repeat(32);
    let make = Command::CreateJoinToken {
        name: token.clone(),
        lifetime_seconds: 0,
        node: None,
        secret_hash: secret_hash.clone(),
    };
    let spend = Command::RedeemJoinToken {
        token,
        secret_hash,
        node: place.node(),
        role: if votes { NodeRole::Coordinator } else { NodeRole::Hypervisor },
        address: address(place),
        key_hash: "11".repeat(32),
        standby: false,
    };
    [make, spend]
}
