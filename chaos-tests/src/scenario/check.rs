//! What a scenario expects: a sentence about the cluster, and whether it is so. Guests are looked at in truth, on the hosts;
//! nodes, tasks and faults as the newest coordinator shows them.

use std::collections::BTreeMap;

use pvc_coordinator::core::power::PowerState;
use pvc_model::phase::vm_phase;
use pvc_model::rule::broken_by;
use pvc_model::vm::{MigrationPhase, Vm};
use pvc_model::{Name, World};

use super::hosts::{Hosts, name};
use super::parse::{number, quoted};
use super::states::{NodeState, Progress, Work};
use crate::cluster::Cluster;
use crate::net::Place;

#[derive(Clone, Debug)]
pub enum Check {
    /// All is as people want it.
    Well,
    Runs(Vec<Name>),
    RunsOn(Name, Hosts),
    RunsElsewhere(Name, Hosts),
    RunsNowhere(Name),
    /// Where it was when the scenario began, or the guests were noted; and not started anew.
    Stays(Vec<Name>),
    /// So often since it was made.
    Booted(Name, u64),
    /// It lost its node, and no other takes it, with this in the reason.
    Waits(Name, String),
    /// As lists show it, with its reason: "unknown", "failed", …
    Phase(Name, String),
    Migrates(Name, Option<MigrationPhase>),
    /// So many guests run, in truth.
    CountRun(usize),
    CountWait(usize),
    Node(Hosts, NodeState),
    HasPower(Hosts),
    /// Names of faults that begin so.
    Fault(String),
    BrakeHolds,
    Disarmed,
    Leads(Hosts),
    SomebodyLeads,
    /// No BMC was ever told to switch a host off.
    NobodySwitchedOff,
    SwitchedOff(Hosts),
    Gone(Name),
    /// No VM's guest runs there, in truth.
    Empty(Hosts),
    /// The two run on one host, in truth.
    Beside(Name, Name),
    /// The newest task of this kind and subject is so, with this in its message.
    Task(Work, Progress),
    /// The floating address is where the role says, and nowhere else.
    Primary(Hosts),
    /// Some affinity rule is broken by where VMs run.
    RuleBroken,
}

/// Where guests were, and how often they had been started.
pub type Noted = BTreeMap<Name, (Vec<Name>, u64)>;

pub struct Scene<'a> {
    pub cluster: &'a Cluster,
    /// The newest that any coordinator has shown so far.
    pub world: &'a World,
    pub noted: &'a Noted,
    pub them: &'a [Place],
}

impl Check {
    pub fn parse(text: &str) -> Result<Check, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let hosts = |words: &[&str]| Hosts::parse(&words.join(" "));
        let names = |words: &[&str]| words.join(" ").split(',').map(name).collect::<Result<Vec<_>, _>>();
        Ok(match words.as_slice() {
            ["well"] => Check::Well,
            ["the", "brake", "holds"] => Check::BrakeHolds,
            ["recovery", "is", "disarmed"] => Check::Disarmed,
            ["somebody", "leads"] => Check::SomebodyLeads,
            ["nobody", "was", "switched", "off"] => Check::NobodySwitchedOff,
            ["fault", fault, "stands"] => Check::Fault((*fault).to_owned()),
            [count, "guests" | "guest", "run" | "runs"] => Check::CountRun(number(count)? as usize),
            [count, "guests" | "guest", "wait" | "waits"] => Check::CountWait(number(count)? as usize),
            [vm, "runs", "on", rest @ ..] => Check::RunsOn(name(vm)?, hosts(rest)?),
            [vm, "runs", "elsewhere", "than", rest @ ..] => Check::RunsElsewhere(name(vm)?, hosts(rest)?),
            [vm, "runs", "nowhere"] => Check::RunsNowhere(name(vm)?),
            [vms @ .., "runs" | "run"] => Check::Runs(names(vms)?),
            [vms @ .., "stays" | "stay"] => Check::Stays(names(vms)?),
            [vm, "was", "started", "once"] => Check::Booted(name(vm)?, 1),
            [vm, "was", "started", "twice"] => Check::Booted(name(vm)?, 2),
            [vm, "was", "started", count, "times"] => Check::Booted(name(vm)?, u64::from(number(count)?)),
            [vm, "waits"] => Check::Waits(name(vm)?, String::new()),
            [vm, "waits", "with", ..] => Check::Waits(name(vm)?, quoted(text)?),
            [vm, "shows", ..] => Check::Phase(name(vm)?, quoted(text)?),
            [vm, "migrates"] => Check::Migrates(name(vm)?, None),
            [vm, "is", "prepared"] => Check::Migrates(name(vm)?, Some(MigrationPhase::Preparing)),
            [vm, "is", "transferred"] => Check::Migrates(name(vm)?, Some(MigrationPhase::Transferring)),
            [vm, "is", "gone"] => Check::Gone(name(vm)?),
            [one, "runs", "beside", other] => Check::Beside(name(one)?, name(other)?),
            ["the", "flush", "of", node, "is" | "was", progress @ ..] => {
                Check::Task(Work::Flush(name(node)?), Progress::parse(progress)?)
            }
            ["the", "return", "to", node, "is" | "was", progress @ ..] => {
                Check::Task(Work::Return(name(node)?), Progress::parse(progress)?)
            }
            ["the", "balancing", "is" | "was", progress @ ..] => {
                Check::Task(Work::Balancing, Progress::parse(progress)?)
            }
            ["an", "affinity", "is", "broken"] => Check::RuleBroken,
            [rest @ .., "is" | "are", "empty"] => Check::Empty(hosts(rest)?),
            [rest @ .., "is", "the", "primary"] => Check::Primary(hosts(rest)?),
            [rest @ .., "has" | "have", "power"] => Check::HasPower(hosts(rest)?),
            [rest @ .., "leads"] => Check::Leads(hosts(rest)?),
            [rest @ .., "was" | "were", "switched", "off"] => Check::SwitchedOff(hosts(rest)?),
            [rest @ .., "is" | "are", state] => Check::Node(hosts(rest)?, NodeState::parse(state)?),
            _ => return Err(format!("{text:?} is nothing that can be expected")),
        })
    }

    /// Ok: it is so. Err: what is instead.
    pub fn look(&self, scene: &Scene<'_>) -> Result<(), String> {
        let world = scene.world;
        match self {
            Check::Well => {
                let ailments = crate::checks::healed::ailments(scene.cluster);
                if ailments.is_empty() { Ok(()) } else { Err(ailments.join("; ")) }
            }
            Check::Runs(vms) => {
                vms.iter().try_for_each(|vm| runs(scene, world, vm, |hosts| hosts.len() == 1))
            }
            Check::RunsOn(vm, on) => {
                let on = scene.names(on);
                runs(scene, world, vm, |hosts| hosts.len() == 1 && on.contains(&hosts[0]))
            }
            Check::RunsElsewhere(vm, than) => {
                let than = scene.names(than);
                runs(scene, world, vm, |hosts| hosts.len() == 1 && !than.contains(&hosts[0]))
            }
            Check::RunsNowhere(vm) => match scene.hosts(world, vm)? {
                hosts if hosts.is_empty() => Ok(()),
                hosts => Err(format!("{vm} runs on {hosts:?}")),
            },
            Check::Stays(vms) => vms.iter().try_for_each(|vm| stays(scene, world, vm)),
            Check::Booted(vm, times) => {
                let boots = scene.cluster.setting.guests.boots(known(world, vm)?.uid());
                is(boots == *times, || format!("{vm} was started {boots} times"))
            }
            Check::Waits(vm, reason) => match &known(world, vm)?.waits {
                Some(waits) => is(waits.reason.contains(reason), || format!("{vm} waits: {}", waits.reason)),
                None => Err(format!("{vm} does not wait: {}", shown(world, vm))),
            },
            Check::Phase(vm, text) => {
                let shown = shown(world, vm);
                is(shown.contains(text), || format!("{vm} shows {shown:?}"))
            }
            Check::Migrates(vm, phase) => {
                let migration = known(world, vm)?.migration.as_ref().map(|migration| migration.phase);
                let so = migration.is_some_and(|now| phase.is_none_or(|phase| phase == now));
                is(so, || format!("the migration of {vm} is at {migration:?}"))
            }
            Check::Empty(hosts) => scene.each(hosts, |place| {
                let guests = scene.cluster.setting.guests.guests_on(&place.node());
                is(guests.is_empty(), || format!("{} guests are on {place}", guests.len()))
            }),
            Check::Beside(one, other) => {
                let (one, other) = (scene.hosts(world, one)?, scene.hosts(world, other)?);
                is(one.len() == 1 && one == other, || format!("they run on {one:?} and {other:?}"))
            }
            Check::Task(work, progress) => {
                let task = world.tasks.values().filter(|task| work.is(task)).max_by_key(|task| {
                    let over = task.ended.is_some();
                    (!over, task.started, task.meta.revision)
                });
                let state = task.map(|task| (task.state, task.message.clone()));
                is(state.as_ref().is_some_and(|(state, _)| progress.is(*state)), || {
                    format!("it is {state:?}")
                })
            }
            Check::Primary(hosts) => {
                let holders = scene.cluster.setting.segment.holders(crate::checks::roles::address());
                let wanted = scene.names(hosts);
                is(holders.len() == 1 && wanted.contains(&holders[0]), || {
                    format!("the floating address is on {holders:?}")
                })
            }
            Check::RuleBroken => {
                let broken = world.rules.values().flat_map(|rule| broken_by(world, rule)).count();
                is(broken > 0, || "all are kept".to_owned())
            }
            Check::Gone(vm) => is(!world.vms.contains_key(vm), || format!("{vm} is there")),
            Check::CountRun(count) => {
                let run = scene.cluster.setting.guests.all_writers().len();
                is(run == *count, || format!("{run} run"))
            }
            Check::CountWait(count) => {
                let waiting: Vec<_> = world.waiting_vms().map(|vm| vm.meta.name.to_string()).collect();
                is(waiting.len() == *count, || format!("{waiting:?} wait"))
            }
            Check::Node(hosts, state) => scene.each(hosts, |place| state.look(world, place)),
            Check::HasPower(hosts) => scene.each(hosts, |place| {
                is(scene.cluster.setting.boards.has_power(place), || format!("{place} has none"))
            }),
            Check::Fault(fault) => {
                let stands: Vec<&str> = world.faults.keys().map(Name::as_str).collect();
                is(stands.iter().any(|name| name.starts_with(fault.as_str())), || {
                    format!("faults: {stands:?}")
                })
            }
            Check::BrakeHolds => is(world.brake().is_some(), || "it does not hold".to_owned()),
            Check::Disarmed => is(!world.is_armed(), || "it is armed".to_owned()),
            Check::Leads(hosts) => {
                let leader = scene.cluster.leader().map(|(place, _)| place);
                let hosts = hosts.resolve(scene.cluster, scene.them);
                is(leader.is_some_and(|leader| hosts.contains(&leader)), || format!("{leader:?} leads"))
            }
            Check::SomebodyLeads => is(scene.cluster.leader().is_some(), || "nobody leads".to_owned()),
            Check::NobodySwitchedOff => {
                let offs = scene.switched_off();
                is(offs.is_empty(), || format!("BMCs were told: {offs:?}"))
            }
            Check::SwitchedOff(hosts) => {
                let offs = scene.switched_off();
                scene.each(hosts, |place| {
                    let order = format!("{} {}", PowerState::Off, crate::boards::bmc_address(place));
                    is(offs.contains(&order), || format!("{place} was not: {offs:?}"))
                })
            }
        }
    }
}

pub(super) fn is(so: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if so { Ok(()) } else { Err(otherwise()) }
}

fn known<'w>(world: &'w World, vm: &Name) -> Result<&'w Vm, String> {
    world.vms.get(vm).map(AsRef::as_ref).ok_or_else(|| format!("there is no {vm}"))
}

fn shown(world: &World, vm: &Name) -> String {
    let Some(vm) = world.vms.get(vm) else { return "gone".to_owned() };
    let (phase, reason) = vm_phase(world, vm);
    format!("{phase:?}: {reason}").to_lowercase()
}

fn runs(scene: &Scene<'_>, world: &World, vm: &Name, so: impl Fn(&[Name]) -> bool) -> Result<(), String> {
    let hosts = scene.hosts(world, vm)?;
    is(so(&hosts), || format!("{vm} runs on {hosts:?}, shown as {:?}", shown(world, vm)))
}

fn stays(scene: &Scene<'_>, world: &World, vm: &Name) -> Result<(), String> {
    let now = (scene.hosts(world, vm)?, scene.cluster.setting.guests.boots(known(world, vm)?.uid()));
    let noted = scene.noted.get(vm).ok_or_else(|| format!("{vm} was not noted"))?;
    is(now == *noted, || {
        format!("{vm} runs on {:?} after {} starts; it was on {:?} after {}", now.0, now.1, noted.0, noted.1)
    })
}

impl Scene<'_> {
    fn names(&self, hosts: &Hosts) -> Vec<Name> {
        hosts.resolve(self.cluster, self.them).into_iter().map(Place::node).collect()
    }

    /// Where it runs, in truth.
    fn hosts(&self, world: &World, vm: &Name) -> Result<Vec<Name>, String> {
        Ok(self.cluster.setting.guests.writers(known(world, vm)?.uid()))
    }

    fn each(&self, hosts: &Hosts, look: impl Fn(Place) -> Result<(), String>) -> Result<(), String> {
        hosts.resolve(self.cluster, self.them).into_iter().try_for_each(look)
    }

    fn switched_off(&self) -> Vec<String> {
        let orders = self.cluster.setting.boards.bmcs.orders();
        orders.into_iter().filter(|order| order.starts_with("off ")).collect()
    }
}
