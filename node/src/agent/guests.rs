//! Carrying out what `decide` says about each VM, and reporting what it saw.

use std::cmp::Reverse;
use std::time::Duration;

use pvc_model::command::{CountedGuest, VmReport};
use pvc_model::guard::Isolation;
use pvc_model::network::Attachment;
use pvc_model::nic::Nic;
use pvc_model::vm::Observed;
use pvc_model::{Name, Uid, Vm};
use tokio::time::Instant;

use super::decide::{Action, Look, Verdict, decide};
use super::link::{GuestCount, LinkError, WorkProgress};
use super::memory::{Doing, Receiving, Sending, VmMemory};
use super::{Agent, Done, LOOK_EVERY, nics, volumes};
use crate::hypervisor::{
    EndReason, Ending, Guest, GuestSpec, HypervisorError, MigrateError, MigrationOrder, MigrationReport,
    ResolvedDisk, Stamp,
};

/// The same thing is begun again for a guest after this long.
const PAUSE: Duration = Duration::from_secs(1);
/// The leader may take up a great many guests in steps, and asks until it has all of them.
const COUNT_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A start that has not ended by then keeps no other one waiting any more.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Why a guest waits while as many others are started as may be at once. The same at every look: nothing new is reported.
const STARTS_WAIT: &str = "waits while other guests of its node are started";

/// What came of some work on a guest.
pub(super) enum GuestDone {
    Started(Result<(), HypervisorError>),
    /// It could not even be tried.
    Unstartable(String),
    Other,
    Sent(Name, Result<MigrationReport, MigrateError>),
    Looked(Name, Result<(), String>),
    /// The NICs of a guest were looked at, for these: what is wrong with them still.
    Nics(Vec<Nic>, String),
}

impl Agent {
    /// Looks at every VM of the view and begins what is to be done; returns when to look again.
    pub(super) async fn reconcile(&mut self) -> Instant {
        self.reconcile_volumes();
        let now = Instant::now();
        let mut look_at = now + if self.view.count_guests { COUNT_AGAIN_AFTER } else { LOOK_EVERY };
        let guests = match self.parts.hypervisor.guests().await {
            Ok(guests) => guests,
            Err(error) => {
                // Nothing is known: nothing is done and nothing is said about guests.
                self.facts.problem = error.to_string();
                self.pending.clear();
                self.count = None;
                return now + Duration::from_secs(1);
            }
        };
        if !self.facts.problem.is_empty() {
            self.facts = self.look_at_host().await;
        }
        for ending in self.parts.hypervisor.endings() {
            self.endings.insert(ending.uid, ending);
        }
        self.told.lock().vms_running = guests.iter().filter(|g| !g.incoming).count() as u32;
        self.unknown_guests =
            guests.iter().map(|g| g.uid).filter(|u| !self.view.vms.contains_key(u)).collect();
        self.pending.clear();
        self.count = self.counted(&guests);
        let mut vms: Vec<Vm> = self.view.vms.values().cloned().collect();
        vms.sort_by_cached_key(|vm| (Reverse(vm.spec.priority), vm.meta.name.clone()));
        for vm in vms {
            let guest = guests.iter().find(|g| g.uid == vm.uid());
            let verdict = self.judge(&vm, guest, now);
            if let Some(at) = verdict.look_at {
                look_at = look_at.min(at);
            }
            self.note(&vm, &verdict);
            if let Some(at) = self.act(&vm, guest, verdict.action, now) {
                look_at = look_at.min(at);
            }
        }
        self.endings.clear();
        look_at
    }

    /// All guests here, where the leader asks and it can be said: one in mid-migration may be gone in a
    /// moment, and one that is being started may come.
    fn counted(&self, guests: &[Guest]) -> Option<GuestCount> {
        let moving = guests.iter().any(|guest| guest.incoming || guest.outgoing);
        let at_work = self.memories.values().any(|memory| {
            let sends = matches!(memory.sending, Some((_, Sending::UnderWay)));
            memory.doing.is_some() || memory.uncertain_since.is_some() || sends
        });
        let said = self.counted_at.is_some_and(|at| at.elapsed() < COUNT_AGAIN_AFTER);
        if !self.view.count_guests || moving || at_work || said {
            return None;
        }
        let counted = |guest: &Guest| CountedGuest {
            uid: guest.uid,
            epoch: guest.stamp.epoch,
            boot_generation: guest.stamp.boot_generation,
            spec_generation: guest.stamp.spec_generation,
        };
        let guests = guests.iter().map(counted).collect();
        Some(GuestCount { incarnation: self.view.incarnation, guests })
    }

    /// Whether no other start may be begun now.
    fn starts_are_full(&self, now: Instant) -> bool {
        let under_way = |memory: &&VmMemory| {
            let begun = memory.begun.as_ref().filter(|_| memory.doing == Some(Doing::Start));
            begun.is_some_and(|(_, at)| now < *at + START_PATIENCE)
        };
        self.memories.values().filter(under_way).count() >= self.parts.settings.starts_at_once
    }

    fn judge(&mut self, vm: &Vm, guest: Option<&Guest>, now: Instant) -> Verdict {
        let volumes_wait = self.view.volumes_wait(vm);
        // Only a guest that is to come needs to wait for one.
        let missing_bridge = if guest.is_none() { self.missing_bridge(vm) } else { None };
        let starts_wait = if self.starts_are_full(now) { STARTS_WAIT } else { "" };
        let ending = self.endings.get(&vm.uid()).map(|e| in_words(e).to_string());
        let memory = self.memories.entry(vm.uid()).or_default();
        let guarded = self.view.node.as_ref().is_some_and(|node| node.spec.isolation == Isolation::Stop);
        let look = Look {
            me: &self.parts.me,
            now,
            // A node that was cut off, and has its lease again, may have lost the VM meanwhile: an old view says nothing.
            lease_valid: self.parts.lease.covers(self.view.revision)
                && (!guarded || self.parts.lease.guard_lets_start()),
            guarded,
            guest,
            volumes_wait,
            missing_bridge,
            starts_wait,
            ending,
            migration_address: &self.parts.settings.migration_address,
        };
        decide(vm, &look, memory)
    }

    /// Keeps what is new for the next report.
    fn note(&mut self, vm: &Vm, verdict: &Verdict) {
        let news = verdict.observed.as_ref().filter(|seen| differs(vm.current_observation(), seen));
        if news.is_some() || verdict.word.is_some() {
            let report = VmReport { uid: vm.uid(), observed: news.cloned(), migration: verdict.word.clone() };
            self.pending.push(report);
        }
    }

    /// Begins what is to be done. What was begun a moment ago and is wanted still is begun again only
    /// after a pause, whose end is returned: a hypervisor that fails at once is not asked without end.
    fn act(&mut self, vm: &Vm, guest: Option<&Guest>, action: Action, now: Instant) -> Option<Instant> {
        let uid = vm.uid();
        let memory = self.memories.entry(uid).or_default();
        // NICs are changed beside all else; only what is on its way to another host must hold still.
        let at_nics = memory.nics.busy && matches!(action, Action::Migrate { .. } | Action::Nics);
        let busy = at_nics || (memory.doing.is_some() && action != Action::CancelMigration);
        if action == Action::Nothing || busy {
            return None;
        }
        if let Some((_, at)) = memory.begun.as_ref().filter(|(last, at)| *last == action && now < *at + PAUSE)
        {
            return Some(*at + PAUSE);
        }
        memory.begun = Some((action.clone(), now));
        self.begin_work(vm, guest, action);
        None
    }

    fn begin_work(&mut self, vm: &Vm, guest: Option<&Guest>, action: Action) {
        let uid = vm.uid();
        let hypervisor = self.parts.hypervisor.clone();
        let memory = self.memories.entry(uid).or_default();
        match action {
            Action::Nothing => {}
            Action::Start => {
                tracing::info!(vm = %vm.meta.name, "starting");
                memory.doing = Some(Doing::Start);
                self.spawn_start(vm);
            }
            Action::PowerButton => {
                memory.doing = Some(Doing::Other);
                tracing::info!(vm = %vm.meta.name, "pressing the power button");
                self.works.spawn(async move {
                    tell(uid, "press the power button", hypervisor.power_button(uid).await)
                });
            }
            Action::PowerOff => {
                memory.doing = Some(Doing::Other);
                let epoch = guest.map(|g| g.stamp.epoch);
                tracing::info!(vm = %vm.meta.name, ?epoch, "switching off");
                self.works.spawn(async move { tell(uid, "switch off", hypervisor.power_off(uid).await) });
            }
            Action::Stamp(stamp) => {
                memory.doing = Some(Doing::Other);
                self.works.spawn(async move { tell(uid, "stamp", hypervisor.stamp(uid, stamp).await) });
            }
            Action::Nics => {
                memory.nics.busy = true;
                self.spawn_nics(vm);
            }
            Action::CheckReceiving { task } => {
                memory.doing = Some(Doing::Other);
                self.spawn_check(vm, task);
            }
            Action::Migrate { task, order } => {
                memory.sending = Some((task.clone(), Sending::UnderWay));
                self.spawn_migration(vm, task, order);
            }
            Action::CancelMigration => {
                self.works.spawn(async move {
                    tell(uid, "cancel the migration", hypervisor.cancel_migration(uid).await)
                });
            }
        }
    }

    /// What one of the VM's NICs is attached to, and whose bridge is missing on this host.
    fn missing_bridge(&self, vm: &Vm) -> Option<Attachment> {
        let mut attachments = vm.spec.nics.iter().map(|nic| &nic.attachment);
        attachments.find(|attachment| !self.parts.hypervisor.has_bridge(&attachment.bridge())).cloned()
    }

    fn spawn_nics(&mut self, vm: &Vm) {
        let (uid, hypervisor) = (vm.uid(), self.parts.hypervisor.clone());
        let (wanted, nics) = (self.view.guest_nics(vm), vm.spec.nics.clone());
        self.works.spawn(async move {
            let problem = nics::put_right(hypervisor, uid, &wanted).await;
            Done::Guest(uid, GuestDone::Nics(nics, problem))
        });
    }

    fn spawn_start(&mut self, vm: &Vm) {
        let (uid, parts, vm) = (vm.uid(), self.parts.clone(), vm.clone());
        let life = parts.lease.life();
        let volumes: Vec<_> = vm.spec.disks.iter().map(|d| self.view.volume(&d.volume).cloned()).collect();
        let nics = self.view.guest_nics(&vm);
        self.works.spawn(async move {
            let mut disks = Vec::new();
            for (disk, volume) in vm.spec.disks.iter().zip(volumes) {
                let Some(volume) = volume else {
                    return Done::Guest(
                        uid,
                        GuestDone::Unstartable(format!("volume {} is gone", disk.volume)),
                    );
                };
                match volumes::attach(&parts.pools, &volume).await {
                    Ok(source) => disks.push(ResolvedDisk {
                        volume: disk.volume.clone(),
                        source,
                        bus: disk.bus,
                        read_only: disk.read_only,
                    }),
                    Err(error) => return Done::Guest(uid, GuestDone::Unstartable(error.to_string())),
                }
            }
            let spec = GuestSpec {
                uid,
                name: vm.meta.name.clone(),
                stamp: stamp_of(&vm),
                spec: vm.spec.clone(),
                disks,
                nics,
                console_log: parts.settings.console_log(uid),
                virt_type: parts.settings.virt_type,
            };
            // The last look at the lease before a qemu may come to be: it must be the one of then.
            if !parts.lease.is_valid() || parts.lease.life() != life {
                return Done::Guest(uid, GuestDone::Other);
            }
            Done::Guest(uid, GuestDone::Started(parts.hypervisor.start(&spec).await))
        });
    }

    fn spawn_check(&mut self, vm: &Vm, task: Name) {
        let (uid, parts) = (vm.uid(), self.parts.clone());
        let volumes: Vec<_> =
            vm.spec.disks.iter().map(|d| (d.volume.clone(), self.view.volume(&d.volume).cloned())).collect();
        self.works.spawn(async move {
            let mut outcome = Ok(());
            for (name, volume) in volumes {
                let found = match volume {
                    Some(volume) => {
                        volumes::attach(&parts.pools, &volume).await.map(drop).map_err(|e| e.to_string())
                    }
                    None => Err(format!("volume {name} is not known there")),
                };
                outcome = outcome.and(found);
            }
            Done::Guest(uid, GuestDone::Looked(task, outcome))
        });
    }

    /// Sends the guest, and tells how far it is meanwhile.
    fn spawn_migration(&mut self, vm: &Vm, task: Name, order: MigrationOrder) {
        let (uid, hypervisor, told) = (vm.uid(), self.parts.hypervisor.clone(), self.told.clone());
        tracing::info!(vm = %vm.meta.name, to = %order.target_address, "sending the guest");
        self.works.spawn(async move {
            let watching = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    let Ok(Some(at)) = hypervisor.migration_progress(uid).await else { continue };
                    let mib = |bytes: u64| bytes >> 20;
                    let text =
                        format!("{} MiB sent, {} MiB left", mib(at.sent_bytes), mib(at.remaining_bytes));
                    let progress = WorkProgress { task: task.clone(), percent: at.percent(), text };
                    told.lock().progress.insert(task.clone(), progress);
                }
            };
            let sent = tokio::select! {
                sent = hypervisor.migrate(uid, &order) => sent,
                () = watching => unreachable!("it watches for ever"),
            };
            told.lock().progress.remove(&task);
            Done::Guest(uid, GuestDone::Sent(task, sent))
        });
    }

    pub(super) fn finish_guest(&mut self, uid: Uid, done: GuestDone) {
        let restarts_max = self.view.vms.get(&uid).map_or(0, |vm| vm.spec.max_restarts);
        let memory = self.memories.entry(uid).or_default();
        let now = Instant::now();
        match done {
            GuestDone::Other => memory.doing = None,
            GuestDone::Started(outcome) => {
                memory.doing = None;
                match outcome {
                    Ok(()) => memory.saw_running(now),
                    Err(HypervisorError::AlreadyHere { .. }) => {}
                    Err(error) if error.outcome_unknown() => memory.uncertain_since = Some(now),
                    Err(error) => memory.failed(now, &error.to_string(), restarts_max),
                }
            }
            GuestDone::Unstartable(why) => {
                memory.doing = None;
                memory.failed(now, &why, restarts_max);
            }
            GuestDone::Looked(task, outcome) => {
                memory.doing = None;
                let receiving = outcome.map_or_else(Receiving::Refused, |()| Receiving::Ready);
                memory.receiving = Some((task, receiving));
            }
            GuestDone::Nics(wanted, problem) => memory.nics.looked(wanted, problem, now),
            GuestDone::Sent(task, outcome) => memory.finish_sending(task, outcome),
        }
    }

    /// Tells the leader what has changed, all of it in one report.
    pub(super) async fn report(&mut self) -> Result<(), LinkError> {
        let stored = self.view.node.as_ref().map(|n| &n.status.facts);
        let facts = (stored != Some(&self.facts)).then(|| self.facts.clone());
        let untaken = self.volume_reports.values().filter(|said| said.taken.is_none());
        let volumes: Vec<_> = untaken.map(|said| said.report.clone()).collect();
        let nothing_new =
            self.pending.is_empty() && volumes.is_empty() && facts.is_none() && self.count.is_none();
        if nothing_new || self.report_on_its_way() {
            return Ok(());
        }
        let vms = std::mem::take(&mut self.pending);
        let count = self.count.take();
        if count.is_some() {
            self.counted_at = Some(Instant::now());
        }
        match self.send(vms, volumes, facts, count).await {
            Ok(revision) => {
                // All that were untaken went with it: nothing is added while it is on its way.
                for said in self.volume_reports.values_mut() {
                    said.taken.get_or_insert(revision);
                }
                self.reported_at = Some((revision, Instant::now()));
                Ok(())
            }
            Err(LinkError::Unavailable(why)) => {
                tracing::debug!(%why, "report not taken; it is repeated");
                Ok(())
            }
            Err(refused) => Err(refused),
        }
    }
}

impl VmMemory {
    fn finish_sending(&mut self, task: Name, outcome: Result<MigrationReport, MigrateError>) {
        let state = match outcome {
            Ok(cost) => Sending::Arrived(cost.in_words()),
            // Another daemon of this node began it: watch the guest.
            Err(MigrateError::UnderWay { .. }) => Sending::Unknown("it was under way already".to_string()),
            Err(MigrateError::Unknown { detail }) => Sending::Unknown(detail),
            Err(
                error @ (MigrateError::Cancelled
                | MigrateError::Failed { .. }
                | MigrateError::NoSuchGuest { .. }),
            ) => Sending::Failed(error.to_string()),
        };
        if matches!(state, Sending::Arrived(_)) {
            self.running_since = None;
        }
        self.sending = Some((task, state));
    }
}

fn tell(uid: Uid, what: &str, outcome: Result<(), HypervisorError>) -> Done {
    if let Err(error) = outcome {
        tracing::warn!(%uid, %error, "could not {what}");
    }
    Done::Guest(uid, GuestDone::Other)
}

fn stamp_of(vm: &Vm) -> Stamp {
    Stamp {
        epoch: vm.placement.as_ref().map_or(0, |p| p.epoch),
        boot_generation: vm.boot_generation,
        spec_generation: vm.spec_generation,
    }
}

/// Whether a report would tell anything new; the time is the leader's business.
fn differs(stored: Option<&Observed>, seen: &Observed) -> bool {
    stored.is_none_or(|stored| Observed { since: stored.since, ..seen.clone() } != *stored)
}

fn in_words(ending: &Ending) -> &'static str {
    match ending.reason {
        EndReason::ShutDown => "the guest turned itself off",
        EndReason::PoweredOff => "someone switched the guest off on its host",
        EndReason::Crashed => "the guest crashed",
        EndReason::EmulatorDied => "the guest's emulator died",
        EndReason::MovedAway => "the guest moved away",
    }
}
