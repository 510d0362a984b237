use crate::command::Command::*;
use crate::command::{ClusterPatch, Ending, FloatingPatch, PrimaryReport};
use crate::context::Context;
use crate::name::Name;
use crate::node::Reachability;
use crate::primary::PrimaryPhase;
use crate::testing::{Cluster, name};
use crate::time::Timestamp;
use crate::world::World;

fn three() -> Cluster {
    let mut c = Cluster::of_coordinators(&["hv1", "hv2", "hv3"]);
    c.join("hv4", "192.0.2.9:7371", crate::node::NodeRole::Hypervisor).expect("joins");
    c
}

fn elect(node: &str, epoch: u64, ending: Ending) -> crate::Command {
    ElectPrimary { node: name(node), epoch, ending, reason: "hv1 is silent".into() }
}

fn report(node: &str, epoch: u64, report: PrimaryReport) -> crate::Command {
    ReportPrimary { node: name(node), session: 1, epoch, report }
}

fn hand_over(from: Option<&str>, to: Option<&str>) -> crate::Command {
    HandOverPrimary { from: from.map(name), to: to.map(name) }
}

/// "hv1 3 holding", "hv2 4 from hv1".
fn shown(world: &World) -> String {
    let Some(primary) = world.primary() else { return "none".to_owned() };
    let phase = match &primary.phase {
        PrimaryPhase::Holding => "holding".to_owned(),
        PrimaryPhase::HandingOver { to } => format!("to {to}"),
        PrimaryPhase::TakingOver { from } => format!("from {from}"),
    };
    format!("{} {} {phase}", primary.node, primary.epoch)
}

#[test]
fn a_hand_over_goes_step_by_step_and_each_may_be_said_twice() {
    let mut c = three();
    c.ok(elect("hv1", 0, Ending::Lapsed));
    assert_eq!(shown(&c.world), "hv1 1 holding");
    c.ok(hand_over(None, Some("hv2")));
    assert_eq!(shown(&c.world), "hv1 1 to hv2");
    assert_eq!(c.ok(report("hv3", 1, PrimaryReport::Ready)), 0, "it was not asked");
    assert_eq!(c.ok(report("hv1", 1, PrimaryReport::Released)), 0, "there is no newer holder yet");
    c.ok(report("hv2", 1, PrimaryReport::Ready));
    assert_eq!(shown(&c.world), "hv2 2 from hv1");
    assert_eq!(c.world.primary().and_then(|p| p.carrier()), None);
    for late in [
        report("hv2", 1, PrimaryReport::Ready),
        report("hv1", 1, PrimaryReport::Released),
        report("hv3", 2, PrimaryReport::Released),
        report("hv2", 2, PrimaryReport::Released),
        ReleasePrimary { epoch: 1 },
    ] {
        assert_eq!(c.ok(late), 0);
    }
    assert_eq!(c.rule(hand_over(None, Some("hv3"))), "hand-over-under-way");
    c.ok(report("hv1", 2, PrimaryReport::Released));
    assert_eq!(shown(&c.world), "hv2 2 holding");
    assert_eq!(c.world.primary().map(|p| p.reason.as_str()), Some("asked by admin/test"));
    assert_eq!(c.ok(report("hv1", 2, PrimaryReport::Released)), 0);
}

#[test]
fn hand_overs_that_are_refused() {
    let mut c = three();
    assert_eq!(c.rule(hand_over(None, None)), "primary-needed");
    c.ok(elect("hv1", 0, Ending::Lapsed));
    assert_eq!(c.rule(hand_over(None, Some("hv1"))), "already-primary");
    assert_eq!(c.rule(hand_over(None, Some("hv4"))), "primary-votes");
    assert_eq!(c.rule(hand_over(None, Some("hv9"))), "must-exist");
    assert_eq!(c.rule(hand_over(Some("hv2"), None)), "must-be-primary");
    c.ok(SetStandby { node: name("hv3"), standby: true });
    assert_eq!(c.rule(hand_over(None, Some("hv3"))), "primary-votes");
    c.unreachable("hv2");
    assert_eq!(c.rule(hand_over(None, Some("hv2"))), "primary-reachable");
    assert_eq!(c.rule(hand_over(Some("hv1"), None)), "other-coordinator-needed");
    assert_eq!(c.rule(elect("hv2", 1, Ending::Lapsed)), "primary-reachable");
    assert_eq!(c.ok(elect("hv2", 7, Ending::Lapsed)), 0, "meant for another epoch");
    let mut node = crate::Node::clone(&c.world.nodes[&name("hv2")]);
    node.status.reachability = Reachability::Reachable;
    node.spec.maintenance = true;
    c.put(crate::Object::Node(node));
    assert_eq!(c.rule(hand_over(None, Some("hv2"))), "primary-not-in-maintenance");
    assert_eq!(shown(&c.world), "hv1 1 holding");
}

#[test]
fn a_target_that_fell_silent_calls_the_hand_over_off() {
    let mut c = three();
    c.ok(elect("hv1", 0, Ending::Lapsed));
    c.ok(hand_over(Some("hv1"), None));
    assert_eq!(shown(&c.world), "hv1 1 to hv2");
    c.unreachable("hv2");
    c.ok(report("hv2", 1, PrimaryReport::Ready));
    assert_eq!(shown(&c.world), "hv1 1 holding");
    let reason = c.world.primary().map(|p| p.reason.clone()).unwrap_or_default();
    assert!(reason.contains("primary-reachable"), "{reason}");
    c.ok(hand_over(None, Some("hv3")));
    c.ok(CallOffHandOver { epoch: 1, reason: "hv3 was not ready".into() });
    assert_eq!(shown(&c.world), "hv1 1 holding");
    assert_eq!(c.ok(CallOffHandOver { epoch: 1, reason: "again".into() }), 0);
}

#[test]
fn a_host_that_goes_down_gives_the_role_away_if_anybody_takes_it() {
    let mut c = three();
    c.ok(elect("hv1", 0, Ending::Lapsed));
    assert_eq!(c.ok(report("hv2", 1, PrimaryReport::Leaving)), 0, "it has no role");
    c.ok(report("hv1", 1, PrimaryReport::Leaving));
    assert_eq!(shown(&c.world), "hv1 1 to hv2");
    c.ok(CallOffHandOver { epoch: 1, reason: "x".into() });
    c.unreachable("hv2");
    c.unreachable("hv3");
    assert_eq!(c.ok(report("hv1", 1, PrimaryReport::Leaving)), 0);
    let stale = ReportPrimary { node: name("hv1"), session: 0, epoch: 1, report: PrimaryReport::Leaving };
    assert_eq!(c.rule(stale), "stale-session");
}

#[test]
fn whoever_may_still_carry_the_services_is_waited_for() {
    let mut c = three();
    c.ok(elect("hv1", 0, Ending::Lapsed));
    c.ok(elect("hv2", 1, Ending::Alive));
    assert_eq!(shown(&c.world), "hv2 2 from hv1");
    // The new one dies before the old one has let go: that hv2 carries nothing says nothing about hv1.
    c.ok(elect("hv3", 2, Ending::Lapsed));
    assert_eq!(shown(&c.world), "hv3 3 from hv1");
    // The old one itself need not wait for itself.
    c.ok(elect("hv1", 3, Ending::Lapsed));
    assert_eq!(shown(&c.world), "hv1 4 holding");
}

#[test]
fn the_floating_address_is_whole_and_nobodys() {
    let mut c = three();
    let set = |address: Option<&str>, device: Option<&str>| {
        let floating = FloatingPatch {
            address: address.map(|a| (a != "none").then(|| a.parse().expect("an address"))),
            device: device.map(|d| d.parse().expect("a device")),
        };
        UpdateCluster { patch: ClusterPatch { floating, ..ClusterPatch::default() }, expected_revision: 0 }
    };
    let floating = |c: &Cluster| c.world.settings().floating.map_or("none".to_owned(), |f| f.to_string());
    assert_eq!(c.rule(set(Some("10.0.0.9/24"), None)), "floating-address-complete");
    assert_eq!(c.rule(set(None, Some("br-cluster"))), "floating-address-complete");
    assert_eq!(c.ok(set(Some("none"), None)), 0);
    assert_eq!(c.rule(set(Some("192.0.2.1/24"), Some("br0"))), "floating-address-free");
    c.ok(set(Some("10.0.0.9/24"), Some("br-cluster")));
    assert_eq!(floating(&c), "10.0.0.9/24 on br-cluster");
    c.ok(set(None, Some("eth1")));
    c.ok(set(Some("2001:db8::9/64"), None));
    assert_eq!(floating(&c), "2001:db8::9/64 on eth1");
    c.ok(set(Some("none"), None));
    assert_eq!(floating(&c), "none");
}

/// A node as it acts: on the world that it has seen last, and not at all where its lease has lapsed.
struct Actor {
    name: Name,
    view: World,
    lapsed: bool,
}

impl Actor {
    fn carries(&self) -> bool {
        !self.lapsed && self.view.primary().and_then(|primary| primary.carrier()) == Some(&self.name)
    }

    /// What it says, as `node::primary` does it.
    fn says(&self) -> Option<crate::Command> {
        let primary = self.view.primary()?;
        let said = match &primary.phase {
            PrimaryPhase::HandingOver { to } if *to == self.name => PrimaryReport::Ready,
            PrimaryPhase::TakingOver { from } if *from == self.name => PrimaryReport::Released,
            _ => return None,
        };
        Some(report(self.name.as_str(), primary.epoch, said))
    }
}

/// Nodes that see the world late, leases that lapse, reports that come late or twice, elections and hand-overs in
/// any order: the epoch only rises, and never do two nodes carry the services at once.
#[test]
fn never_two_whatever_the_order() {
    for seed in 0..400 {
        let mut dice = Context::new(Timestamp(0), "dice", [seed, 17]);
        let mut roll = |sides: usize| (dice.draw() % sides as u64) as usize;
        let mut c = three();
        let names = ["hv1", "hv2", "hv3"];
        let mut actors = names.map(|n| Actor { name: name(n), view: c.world.clone(), lapsed: true });
        let mut late: Vec<crate::Command> = Vec::new();
        let mut log = Vec::new();
        for _ in 0..120 {
            let epoch = c.world.primary().map_or(0, |primary| primary.epoch);
            let who = roll(3);
            let what = roll(9);
            log.push((what, who, shown(&c.world)));
            match what {
                // It sees the newest world: with it comes a lease again.
                0 | 1 => (actors[who].view, actors[who].lapsed) = (c.world.clone(), false),
                2 => actors[who].lapsed = true,
                3 => late.extend(actors[who].says()),
                4 if !late.is_empty() => {
                    let said = late[roll(late.len())].clone();
                    drop(c.run(said));
                }
                5 => drop(c.run(hand_over(None, Some(names[who])))),
                6 => {
                    let holder = c.world.primary().map(|primary| primary.node.clone());
                    let held = actors.iter().find(|actor| Some(&actor.name) == holder.as_ref());
                    // Of a holder that has lapsed, and gets no lease before it has seen the election.
                    let ending = if held.is_some_and(|h| !h.lapsed) { Ending::Alive } else { Ending::Lapsed };
                    drop(c.run(elect(names[who], epoch, ending)));
                }
                7 => drop(c.run(CallOffHandOver { epoch, reason: "too late".into() })),
                // A lease's length later nobody acts on an older epoch.
                8 => {
                    for actor in &mut actors {
                        actor.lapsed |= actor.view.primary().map_or(0, |p| p.epoch) < epoch;
                    }
                    drop(c.run(ReleasePrimary { epoch }));
                }
                _ => {}
            }
            assert!(c.world.primary().map_or(0, |primary| primary.epoch) >= epoch, "it falls: {log:?}");
            let carrying = actors.iter().filter(|actor| actor.carries()).count();
            assert!(carrying <= 1, "seed {seed}: {} {log:?}", shown(&c.world));
        }
        // And it can always go on: the role is somebody's, and nobody waits for ever.
        for actor in &mut actors {
            (actor.view, actor.lapsed) = (c.world.clone(), false);
            c.ok(SetReachability { node: actor.name.clone(), reachability: Reachability::Reachable });
        }
        let epoch = c.world.primary().map_or(0, |primary| primary.epoch);
        c.ok(ReleasePrimary { epoch });
        c.ok(CallOffHandOver { epoch, reason: "the end".into() });
        if epoch == 0 {
            c.ok(elect("hv1", 0, Ending::Lapsed));
        }
        assert!(shown(&c.world).ends_with("holding"), "seed {seed}: {}", shown(&c.world));
    }
}
