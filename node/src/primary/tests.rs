//! Keepers with their agents, below a leader that is nothing but `pvc_model::decide`, on a network segment that is a
//! small model. The leader's own controller is played by hand.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pvc_model::command::{ClusterPatch, Command, Ending, FloatingPatch};
use pvc_model::network::host::Stance;
use pvc_model::node::NodeRole;
use pvc_model::primary::{Floating, PrimaryPhase};
use pvc_model::{Name, Object};
use pvc_network::drive::{Health, PartHealth};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::fake::FakeSegment;
use super::{Keeper, Parts, Record, Wish, stop};
use crate::agent::lease::Lease;
use crate::agent::tests::leader::Leader;
use crate::agent::tests::{name, parts};
use crate::agent::{Agent, SharedView};
use crate::hypervisor::fake::{FakeWorld, Timing};

const NODES: [&str; 3] = ["hv1", "hv2", "hv3"];

struct Daemon {
    tasks: Vec<JoinHandle<()>>,
    wishes: watch::Sender<Wish>,
    view: SharedView,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct House {
    leader: Leader,
    hosts: FakeWorld,
    segment: FakeSegment,
    folder: tempfile::TempDir,
    daemons: [Option<Daemon>; 3],
    /// How all hosts' client networks are.
    networks: watch::Sender<Health>,
    /// Two holders at once are no fault while this host's daemon is dead.
    dead: Option<usize>,
}

impl House {
    /// Three coordinators, hv1 the primary with its address.
    async fn new() -> House {
        let (leader, hosts) = (Leader::new(), FakeWorld::new(Timing::default()));
        for (id, node) in (1..).zip(NODES.map(name)) {
            hosts.add_host(&node, "address");
            leader.enrol(&node);
            let mut voter = pvc_model::Node::clone(&leader.world().nodes[&node]);
            (voter.spec.role, voter.status.member_id) = (NodeRole::Coordinator, id);
            leader.put(Object::Node(voter));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let daemons = [None, None, None];
        let (segment, networks) = (FakeSegment::default(), watch::Sender::default());
        let mut house = House { leader, hosts, segment, folder, daemons, networks, dead: None };
        (0..3).for_each(|index| house.boot(index));
        house.set("10.0.0.9/24");
        house.pass(1.0).await;
        house.elect("hv1", Ending::Lapsed);
        house.pass(1.0).await;
        house.assert_held_by("hv1");
        house
    }

    fn boot(&mut self, index: usize) {
        let me = name(NODES[index]);
        let lease = Lease::default();
        let (agent, view) = Agent::new(parts(&self.leader, &self.hosts, &me, lease.clone()));
        let (wishes, wish) = watch::channel(Wish::default());
        let parts = Parts {
            link: Arc::new(self.leader.link(&me)),
            lease,
            view: view.clone(),
            addresses: Arc::new(self.segment.host(&me)),
            record: Record::at(&self.folder.path().join(me.as_str())),
            networks: self.networks.subscribe(),
            me,
        };
        let (keeper, _) = Keeper::new(parts, wish);
        let tasks = vec![tokio::spawn(async move { drop(agent.run().await) }), tokio::spawn(keeper.run())];
        self.daemons[index] = Some(Daemon { tasks, wishes, view });
        self.dead = self.dead.filter(|dead| *dead != index);
    }

    /// As kill -9 does: the address stays.
    fn kill(&mut self, index: usize) {
        self.daemons[index] = None;
        self.dead = Some(index);
    }

    fn set(&self, address: &str) {
        let address = (address != "none").then(|| address.parse().expect("an address"));
        let device = Some("br-cluster".parse().expect("a device"));
        self.ok(Command::UpdateCluster {
            patch: ClusterPatch {
                floating: FloatingPatch { address: Some(address), device },
                ..ClusterPatch::default()
            },
            expected_revision: 0,
        });
    }

    fn ok(&self, command: Command) {
        let shown = format!("{command:?}");
        self.leader.submit(command).unwrap_or_else(|refusal| panic!("{shown}: {refusal}"));
    }

    fn epoch(&self) -> u64 {
        self.leader.world().primary().map_or(0, |primary| primary.epoch)
    }

    fn elect(&self, node: &str, ending: Ending) {
        let (node, epoch) = (name(node), self.epoch());
        self.ok(Command::ElectPrimary { node, epoch, ending, reason: "test".into() });
    }

    fn ask(&self, to: &str) {
        self.ok(Command::HandOverPrimary { from: None, to: Some(name(to)) });
    }

    fn holders(&self) -> Vec<Name> {
        self.segment.holders(address())
    }

    fn assert_held_by(&self, node: &str) {
        assert_eq!(self.holders(), [name(node)]);
        assert_eq!(self.segment.announced(address()).map(|(node, _)| node), Some(name(node)));
    }

    /// At no instant two daemons that live hold it.
    async fn pass(&self, seconds: f64) {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let dead = self.dead.map(|index| name(NODES[index]));
            let holders: Vec<Name> =
                self.holders().into_iter().filter(|h| Some(h) != dead.as_ref()).collect();
            assert!(holders.len() <= 1, "{holders:?} hold the address at once");
        }
    }
}

fn address() -> IpAddr {
    "10.0.0.9".parse().expect("an address")
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_has_a_short_gap_and_no_overlap() {
    let house = House::new().await;
    house.ask("hv2");
    let begun = Instant::now();
    while house.holders() != [name("hv2")] {
        house.pass(0.001).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", house.leader.world().primary());
    }
    house.pass(2.0).await;
    house.assert_held_by("hv2");
    assert_eq!(house.epoch(), 2);
    let announced = house.segment.announced(address()).map_or(0, |(_, times)| times);
    assert!(announced >= 4, "announced {announced} times");
    house.pass(10.0).await;
    assert!(house.segment.announced(address()).map_or(0, |(_, times)| times) > announced, "again and again");
}

/// Gateways without a DHCP server behind them would be no hand-over.
#[tokio::test(start_paused = true)]
async fn it_is_taken_over_only_by_a_host_whose_networks_are_ready() {
    let house = House::new().await;
    let settled = |stance, problem: &str| {
        let part = PartHealth { settled: stance, problem: problem.to_owned() };
        Health { parts: BTreeMap::from([("dhcp", part)]), ..Health::default() }
    };
    house.networks.send_replace(settled(Some((Stance::Standby, 1)), ""));
    house.ask("hv2");
    house.pass(3.0).await;
    house.assert_held_by("hv1");
    house.networks.send_replace(settled(None, "dnsmasq is not installed"));
    house.pass(3.0).await;
    house.assert_held_by("hv1");
    house.networks.send_replace(settled(Some((Stance::Ready, 1)), ""));
    house.pass(1.0).await;
    house.assert_held_by("hv2");
}

#[tokio::test(start_paused = true)]
async fn it_goes_with_the_lease_and_comes_with_it_at_the_same_epoch() {
    let house = House::new().await;
    house.leader.cut("hv1");
    let cut = Instant::now();
    house.pass(1.9).await;
    assert_eq!(house.holders(), [name("hv1")], "the lease lasts on");
    house.pass(0.7).await;
    assert!(house.holders().is_empty(), "{:?} after the cut", cut.elapsed());
    house.leader.heal("hv1");
    house.pass(2.0).await;
    house.assert_held_by("hv1");
    assert_eq!(house.epoch(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_was_followed_never_takes_it_again() {
    let house = House::new().await;
    house.leader.cut("hv1");
    house.pass(2.6).await;
    house.elect("hv2", Ending::Lapsed);
    house.pass(1.0).await;
    house.assert_held_by("hv2");
    house.leader.heal("hv1");
    house.pass(20.0).await;
    house.assert_held_by("hv2");
}

/// The leader hears it again, and whoever should tell it of the newer epoch lags behind: the lease alone is valid.
#[tokio::test(start_paused = true)]
async fn a_lease_that_does_not_cover_what_it_knows_is_none() {
    let house = House::new().await;
    house.leader.cut("hv1");
    house.pass(2.6).await;
    house.leader.leave_untold("hv1", true);
    house.elect("hv2", Ending::Lapsed);
    house.leader.heal("hv1");
    house.pass(10.0).await;
    house.assert_held_by("hv2");
    house.leader.leave_untold("hv1", false);
    house.pass(2.0).await;
    house.assert_held_by("hv2");
}

/// The same in a hand-over: nobody tells the old holder, and one lease later it has let go by itself.
#[tokio::test(start_paused = true)]
async fn a_holder_that_is_not_told_lets_go_within_a_lease() {
    let house = House::new().await;
    house.leader.leave_untold("hv1", true);
    house.elect("hv2", Ending::Alive);
    house.pass(2.55).await;
    assert!(house.holders().is_empty());
    house.ok(Command::ReleasePrimary { epoch: house.epoch() });
    house.pass(2.0).await;
    house.assert_held_by("hv2");
}

#[tokio::test(start_paused = true)]
async fn a_dead_daemon_leaves_it_behind_and_the_next_one_removes_it_first() {
    let mut house = House::new().await;
    house.kill(0);
    house.pass(2.6).await;
    house.elect("hv2", Ending::Lapsed);
    house.pass(1.0).await;
    assert_eq!(house.holders(), [name("hv1"), name("hv2")], "a dead daemon drops nothing");
    assert_eq!(
        house.segment.announced(address()).map(|(node, _)| node),
        Some(name("hv2")),
        "who announces wins"
    );
    // Even where nobody tells it what the cluster wants by now.
    house.leader.cut("hv1");
    house.boot(0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    house.assert_held_by("hv2");
    house.leader.heal("hv1");
    house.pass(5.0).await;
    house.assert_held_by("hv2");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_comes_back_within_its_lease_stays_the_primary() {
    let mut house = House::new().await;
    house.kill(0);
    house.pass(0.5).await;
    house.boot(0);
    house.pass(2.0).await;
    house.assert_held_by("hv1");
    assert_eq!(house.epoch(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_carry_it_is_not_ready() {
    let house = House::new().await;
    house.segment.unplug(&name("hv2"));
    house.ask("hv2");
    house.pass(5.0).await;
    house.assert_held_by("hv1");
    assert_eq!(house.epoch(), 1, "nothing has moved");
    house.segment.plug_in(&name("hv2"));
    house.pass(3.0).await;
    house.assert_held_by("hv2");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_removed_is_not_said_to_be_gone() {
    let house = House::new().await;
    house.segment.fail(&name("hv1"), 20);
    house.ask("hv2");
    house.pass(1.0).await;
    let phase = house.leader.world().primary().map(|primary| primary.phase.clone());
    assert_eq!(phase, Some(PrimaryPhase::TakingOver { from: name("hv1") }));
    assert_eq!(house.holders(), [name("hv1")]);
    house.pass(5.0).await;
    house.assert_held_by("hv2");
}

#[tokio::test(start_paused = true)]
async fn it_is_put_right_and_moved_as_people_want_it() {
    let house = House::new().await;
    house.segment.lose(&name("hv1"));
    house.pass(3.0).await;
    house.assert_held_by("hv1");
    house.set("10.0.0.10/24");
    house.pass(1.0).await;
    assert!(house.holders().is_empty());
    assert_eq!(house.segment.holders("10.0.0.10".parse().expect("an address")), [name("hv1")]);
    house.set("none");
    house.pass(1.0).await;
    assert!(house.segment.holders("10.0.0.10".parse().expect("an address")).is_empty());
    house.ask("hv2");
    house.pass(2.0).await;
    assert_eq!(house.epoch(), 2, "the role moves without an address too");
}

#[tokio::test(start_paused = true)]
async fn leftovers_of_other_settings_go() {
    let mut house = House::new().await;
    house.kill(0);
    house.set("10.0.0.10/24");
    house.pass(1.0).await;
    assert_eq!(house.holders(), [name("hv1")]);
    house.boot(0);
    house.pass(2.0).await;
    assert!(house.holders().is_empty());
    assert_eq!(house.segment.holders("10.0.0.10".parse().expect("an address")), [name("hv1")]);
    // An address that PVC has not added is none of its business.
    let other = Floating {
        address: "10.0.0.77/24".parse().expect("an address"),
        device: "br-cluster".parse().expect("a device"),
    };
    house.segment.leave_over(&name("hv1"), other);
    house.pass(5.0).await;
    assert_eq!(house.segment.holders("10.0.0.77".parse().expect("an address")), [name("hv1")]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_go_and_a_host_that_goes_down_hands_over_first() {
    let mut house = House::new().await;
    let daemon = house.daemons[0].take().expect("it runs");
    stop(&daemon.wishes, &name("hv1"), daemon.view.clone(), false).await;
    house.pass(0.1).await;
    assert!(house.holders().is_empty(), "the daemon alone stops");
    assert_eq!(house.epoch(), 1, "and the role stays, for a while");
    drop(daemon);
    house.boot(0);
    house.pass(2.0).await;
    house.assert_held_by("hv1");

    let daemon = house.daemons[0].take().expect("it runs");
    let begun = Instant::now();
    stop(&daemon.wishes, &name("hv1"), daemon.view.clone(), true).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    house.pass(0.5).await;
    house.assert_held_by("hv2");
    assert_eq!(house.epoch(), 2);
}

/// The daemon of either side dies at each step of a hand-over. The leader's timers then do what is left to do, and
/// in the end one node holds the address: the primary.
#[tokio::test(start_paused = true)]
async fn a_crash_at_each_step_ends_well() {
    for victim in [0, 1] {
        for step in 0..12 {
            let mut house = House::new().await;
            house.ask("hv2");
            // Calls take 2 ms: each step of the hand-over is hit.
            house.pass(f64::from(step) * 0.002).await;
            house.kill(victim);
            house.pass(3.0).await;
            let epoch = house.epoch();
            let role = house.leader.world().primary().cloned().expect("there is one");
            if role.node == name(NODES[victim]) {
                house.elect("hv3", Ending::Lapsed);
            } else {
                house.ok(Command::CallOffHandOver { epoch, reason: "not ready".into() });
            }
            house.pass(3.0).await;
            house.ok(Command::ReleasePrimary { epoch: house.epoch() });
            house.boot(victim);
            house.pass(6.0).await;
            let role = house.leader.world().primary().cloned().expect("there is one");
            assert_eq!(role.phase, PrimaryPhase::Holding, "victim {victim}, step {step}");
            house.assert_held_by(role.node.as_str());
            assert!(role.epoch >= epoch);
        }
    }
}
