//! What is seen of a real cluster: what the cluster says of itself, by `pvc`, and which guests run, past all daemons, by the
//! machine's processes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use pvc_model::Name;
use serde_json::Value;
use tokio::time::Instant;

use super::Place;
use crate::scenario::states::{NodeState, Progress, Work};
use crate::scenario::{Check, Hosts};
use crate::shape::Shape;

const NODES_WITHIN: Duration = Duration::from_secs(120);
/// Kernel command lines of guests carry their names; qemu's own processes are told by this.
const EMULATOR: &[u8] = b"qemu-system";

/// Why nobody can see it; None: it can be seen.
pub fn refusal(check: &Check) -> Option<String> {
    match check {
        Check::Well
        | Check::Runs(_)
        | Check::RunsOn(_, _)
        | Check::RunsElsewhere(_, _)
        | Check::RunsNowhere(_)
        | Check::Stays(_)
        | Check::Waits(_, _)
        | Check::CountRun(_)
        | Check::Fault(_)
        | Check::BrakeHolds
        | Check::Disarmed
        | Check::Leads(_)
        | Check::SomebodyLeads
        | Check::Empty(_)
        | Check::Beside(_, _)
        | Check::Migrates(_, None)
        | Check::Task(_, _)
        | Check::NobodySwitchedOff
        | Check::SwitchedOff(_)
        | Check::Node(_, _) => None,
        other => Some(format!("nobody can see {other:?}")),
    }
}

pub struct Eyes {
    place: Place,
    pub hosts: Vec<String>,
    voters: usize,
    moves: bool,
    /// Hosts that were seen with a fence by power.
    switched: Mutex<BTreeSet<String>>,
}

/// One look.
pub struct Sight {
    hosts: Vec<String>,
    voters: usize,
    nodes: BTreeMap<String, Value>,
    vms: BTreeMap<Name, Value>,
    /// Processes of each guest, on whichever host.
    processes: BTreeMap<Name, Vec<u32>>,
    faults: Vec<String>,
    tasks: Vec<Value>,
    switched: BTreeSet<String>,
}

impl Eyes {
    pub fn new(place: Place, shape: &Shape, moves: bool) -> Eyes {
        let count = shape.coordinators + shape.hypervisors;
        let hosts = (1..=count).map(|number| format!("hv{number}")).collect();
        Eyes { place, hosts, voters: usize::from(shape.coordinators), moves, switched: Mutex::default() }
    }

    pub async fn wait_for_nodes(&self) -> Result<()> {
        let until = Instant::now() + NODES_WITHIN;
        loop {
            let sight = self.look().await?;
            let able = |host: &String| {
                sight.status(host, "reachability").ends_with("_REACHABLE")
                    && !sight.status(host, "hypervisor").is_empty()
                    && sight.status(host, "problem").is_empty()
            };
            if self.hosts.iter().all(able) {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("not all nodes can run guests after {NODES_WITHIN:?}: {:?}", sight.nodes);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn list(&self, words: &[&str], field: &str) -> Result<Vec<Value>> {
        let words =
            [words, &["-o", "json"]].concat().iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let output = self.place.pvc(&words).await?;
        if output.code != 0 {
            return Ok(Vec::new());
        }
        let reply: Value = serde_json::from_slice(&output.stdout).context("pvc speaks no JSON")?;
        Ok(reply.get(field).and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// A cluster that does not answer shows nothing of itself; its guests are seen all the same.
    pub async fn look(&self) -> Result<Sight> {
        let nodes = self.list(&["node", "list"], "nodes").await?;
        let vms = self.list(&["vm", "list"], "vms").await?;
        let faults = self.list(&["cluster", "fault", "list"], "faults").await?;
        let tasks = self.list(&["task", "list"], "tasks").await?;
        let name = |value: &Value| text(value, &["meta", "name"]);
        let by_power = |node: &&Value| text(node, &["status", "fence", "proof", "kind"]).ends_with("_POWER");
        self.switched.lock().extend(nodes.iter().filter(by_power).map(name));
        let nodes = nodes.into_iter().map(|node| (name(&node), node)).collect();
        let vms: BTreeMap<Name, Value> =
            vms.into_iter().filter_map(|vm| Some((name(&vm).parse().ok()?, vm))).collect();
        let mut processes = BTreeMap::new();
        for (vm, value) in &vms {
            processes.insert(vm.clone(), running(&text(value, &["meta", "uid"]))?);
        }
        if let Some((vm, found)) = processes.iter().find(|(_, found)| found.len() > 1 && !self.moves) {
            bail!("guest {vm} runs {} times: processes {found:?}", found.len());
        }
        let faults = faults.iter().map(name).collect();
        let switched = self.switched.lock().clone();
        let (hosts, voters) = (self.hosts.clone(), self.voters);
        Ok(Sight { hosts, voters, nodes, vms, processes, faults, tasks, switched })
    }
}

fn text(value: &Value, path: &[&str]) -> String {
    let found = path.iter().try_fold(value, |value, key| value.get(key));
    found.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Emulators of a guest that are no zombies.
fn running(uid: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    if uid.is_empty() {
        return Ok(found);
    }
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One that has just ended shows nothing.
        let Ok(words) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let has = |word: &[u8]| words.windows(word.len()).any(|window| window == word);
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        if has(EMULATOR) && has(uid.as_bytes()) && !matches!(state, Some('Z' | 'X') | None) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is(so: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if so { Ok(()) } else { Err(otherwise()) }
}

impl Sight {
    pub fn processes(&self) -> BTreeMap<Name, Vec<u32>> {
        self.processes.clone()
    }

    /// Nodes, and the address of each.
    pub fn addresses(&self) -> Vec<(String, String)> {
        let address = |host: &String| {
            let address = self.status(host, "address");
            (host.clone(), address.split(':').next().unwrap_or_default().to_owned())
        };
        self.hosts.iter().map(address).collect()
    }

    fn status(&self, host: &str, field: &str) -> String {
        self.nodes.get(host).map(|node| text(node, &["status", field])).unwrap_or_default()
    }

    fn fence(&self, host: &str) -> String {
        self.nodes.get(host).map(|node| text(node, &["status", "fence", "phase"])).unwrap_or_default()
    }

    fn leader(&self) -> Option<String> {
        let leads = |node: &Value| node.get("leader").and_then(Value::as_bool).unwrap_or_default();
        self.nodes.iter().find(|(_, node)| leads(node)).map(|(name, _)| name.clone())
    }

    fn placed(&self, vm: &Name) -> String {
        self.vms.get(vm).map(|vm| text(vm, &["status", "placement", "node"])).unwrap_or_default()
    }

    fn phase(&self, vm: &Name) -> String {
        self.vms.get(vm).map(|vm| text(vm, &["status", "phase"])).unwrap_or_default()
    }

    pub fn resolve(&self, hosts: &Hosts, them: &[String]) -> Vec<String> {
        let (voters, others) = self.hosts.split_at(self.voters.min(self.hosts.len()));
        match hosts {
            Hosts::These(places) => places.iter().map(ToString::to_string).collect(),
            Hosts::Leader => self.leader().into_iter().collect(),
            Hosts::Coordinators => voters.to_vec(),
            Hosts::OtherCoordinators => {
                voters.iter().filter(|host| Some(*host) != self.leader().as_ref()).cloned().collect()
            }
            Hosts::Hypervisors => others.to_vec(),
            Hosts::All => self.hosts.clone(),
            Hosts::HostOf(guest) => vec![self.placed(guest)],
            Hosts::Them => them.to_vec(),
        }
    }

    fn runs(&self, vm: &Name, so: impl Fn(&str) -> bool) -> Result<(), String> {
        let (placed, phase) = (self.placed(vm), self.phase(vm));
        let found = self.processes.get(vm).map_or(0, Vec::len);
        let runs = found == 1 && phase.ends_with("_RUNNING") && so(&placed);
        is(runs, || format!("{vm} is {phase} on {placed:?}, with {found} processes"))
    }

    pub fn look(
        &self,
        check: &Check,
        noted: &BTreeMap<Name, Vec<u32>>,
        them: &[String],
    ) -> Result<(), String> {
        match check {
            Check::Well => self.well(),
            Check::Runs(vms) => vms.iter().try_for_each(|vm| self.runs(vm, |_| true)),
            Check::RunsOn(vm, on) => self.runs(vm, |host| self.resolve(on, them).iter().any(|on| on == host)),
            Check::RunsElsewhere(vm, than) => {
                self.runs(vm, |host| !self.resolve(than, them).iter().any(|than| than == host))
            }
            Check::RunsNowhere(vm) => {
                let found = self.processes.get(vm).cloned().unwrap_or_default();
                is(found.is_empty(), || format!("{vm} runs: processes {found:?}"))
            }
            // By its processes alone, which the machine knows: the cluster may be without a leader just now.
            Check::Stays(vms) => vms.iter().try_for_each(|vm| match self.processes.get(vm) {
                Some(now) => is(noted.get(vm) == Some(now), || {
                    format!("{vm} has the processes {now:?}, and had {:?}", noted.get(vm))
                }),
                None => Ok(()),
            }),
            Check::Waits(vm, reason) => {
                let told = self.vms.get(vm).map(|vm| text(vm, &["status", "waits", "reason"]));
                let waits =
                    told.as_ref().is_some_and(|told| !told.is_empty() && told.contains(reason.as_str()));
                is(waits, || format!("{vm} is {}, waits: {told:?}", self.phase(vm)))
            }
            Check::CountRun(count) => {
                let run = self.processes.values().filter(|found| found.len() == 1).count();
                is(run == *count, || format!("{run} run"))
            }
            Check::Fault(fault) => self.fault(fault),
            Check::BrakeHolds => self.fault("storm-brake"),
            Check::Disarmed => self.fault("recovery-disarmed"),
            Check::Leads(hosts) => {
                let leader = self.leader();
                let so = leader.as_ref().is_some_and(|leader| self.resolve(hosts, them).contains(leader));
                is(so, || format!("{leader:?} leads"))
            }
            Check::SomebodyLeads => is(self.leader().is_some(), || "nobody leads".to_owned()),
            Check::Empty(hosts) => self.resolve(hosts, them).iter().try_for_each(|host| {
                let here =
                    self.vms.keys().find(|vm| self.placed(vm) == *host && self.runs(vm, |_| true).is_ok());
                is(here.is_none(), || format!("{here:?} runs on {host}"))
            }),
            Check::Beside(one, other) => {
                let host = self.placed(one);
                self.runs(one, |_| true).and(self.runs(other, |on| on == host))
            }
            Check::Migrates(vm, _) => {
                let migrates = self.vms.get(vm).is_some_and(|vm| vm.pointer("/status/migration").is_some());
                is(migrates, || format!("{vm} does not"))
            }
            Check::Node(hosts, state) => {
                self.resolve(hosts, them).iter().try_for_each(|host| self.node(host, *state))
            }
            Check::Task(work, progress) => self.task(work, *progress),
            Check::NobodySwitchedOff => is(self.switched.is_empty(), || format!("{:?} were", self.switched)),
            Check::SwitchedOff(hosts) => self.resolve(hosts, them).iter().try_for_each(|host| {
                is(self.switched.contains(host), || format!("{host} was not seen with a fence by power"))
            }),
            other => Err(format!("nobody can see {other:?}")),
        }
    }

    /// Of the newest task of this kind and subject.
    fn task(&self, work: &Work, progress: Progress) -> Result<(), String> {
        let (kind, subject) = match work {
            Work::Flush(node) => ("node.flush", format!("node/{node}")),
            Work::Return(node) => ("node.ready", format!("node/{node}")),
            Work::Balancing => ("cluster.balance", "cluster".to_owned()),
        };
        let own = |task: &&Value| text(task, &["kind"]) == kind && text(task, &["subject"]) == subject;
        let state = |task: &Value| text(task, &["state"]);
        // Times in this form are in the order of their texts.
        let newest = self.tasks.iter().filter(own).max_by_key(|task| {
            (state(task).ends_with("_RUNNING"), text(task, &["meta", "created"]), text(task, &["startTime"]))
        });
        let state = newest.map(state).unwrap_or_default();
        let wanted = match progress {
            Progress::UnderWay => "_RUNNING",
            Progress::Done => "_SUCCEEDED",
            Progress::Failed => "_FAILED",
            Progress::Cancelled => "_CANCELLED",
        };
        is(state.ends_with(wanted), || format!("it is {state:?}"))
    }

    fn fault(&self, name: &str) -> Result<(), String> {
        is(self.faults.iter().any(|fault| fault.starts_with(name)), || format!("faults: {:?}", self.faults))
    }

    fn node(&self, host: &str, state: NodeState) -> Result<(), String> {
        let (reachability, fence) = (self.status(host, "reachability"), self.fence(host));
        let known = self.nodes.contains_key(host);
        let maintained = self.nodes.get(host).and_then(|node| node.pointer("/spec/maintenance")?.as_bool());
        let so = match state {
            NodeState::Silent => reachability.ends_with("_UNREACHABLE"),
            NodeState::Heard => reachability.ends_with("_REACHABLE"),
            NodeState::Trusted => known && fence.is_empty(),
            NodeState::Fencing => fence.ends_with("_FENCING"),
            NodeState::Fenced => fence.ends_with("_FENCED"),
            NodeState::Returned => fence.ends_with("_RETURNED"),
            NodeState::Removed => !self.nodes.is_empty() && !known,
            NodeState::Guarded => {
                self.nodes.get(host).is_some_and(|node| node.pointer("/status/guard").is_some())
            }
            NodeState::Maintained => maintained.unwrap_or_default(),
        };
        is(so, || format!("{host} is {reachability}, its fence {fence:?}"))
    }

    fn well(&self) -> Result<(), String> {
        for host in self.nodes.keys() {
            self.node(host, NodeState::Heard)?;
            self.node(host, NodeState::Trusted)?;
        }
        let wanted = |vm: &&Name| self.vms.get(*vm).is_some_and(|vm| text(vm, &["desired"]).ends_with("_ON"));
        self.vms.keys().filter(wanted).try_for_each(|vm| self.runs(vm, |_| true))?;
        is(!self.nodes.is_empty() && self.leader().is_some(), || "nobody leads".to_owned())
    }
}
