//! The model behind the fake: hosts, guests, transfers, and what is due when. Pure but for the
//! instant that it is given and the wake-ups it sends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use pvc_model::{Name, Uid};
use tokio::sync::watch;
use tokio::time::Instant;

use super::journal::{Happening, Journal};
use super::nics::no_bridge;
use super::{Faults, Timing};
use crate::hypervisor::{
    EndReason, Ending, Guest, GuestSpec, GuestState, MigrationOrder, MigrationProgress, MigrationReport,
    Stamp,
};
use crate::storage::DiskSource;

pub(super) struct FakeGuest {
    pub spec: GuestSpec,
    pub stamp: Stamp,
    state: GuestState,
    incoming: bool,
    pub transfer: Option<u64>,
    /// Of this run of the emulator: an event meant for an earlier one finds another number.
    life: u64,
    /// Number of the console session that is attached.
    pub console: Option<u64>,
}

pub(super) struct Host {
    address: String,
    pub powered: bool,
    pub guests: BTreeMap<Uid, FakeGuest>,
    pub endings: VecDeque<Ending>,
    pub faults: Faults,
    pub changed: watch::Sender<u64>,
}

impl Host {
    pub fn wake(&self) {
        self.changed.send_modify(|n| *n += 1);
    }
}

/// How a transfer came out.
#[derive(Clone, Debug)]
pub(super) enum TransferEnd {
    Done(MigrationReport),
    Cancelled,
    Failed(String),
}

pub(super) struct Transfer {
    uid: Uid,
    from: Name,
    to: Name,
    stamp: Stamp,
    began: Instant,
    ends: Instant,
    /// It fails instead when it ends.
    doomed: Option<String>,
    pub end: Option<TransferEnd>,
}

enum Event {
    GuestEnds { host: Name, uid: Uid, life: u64, reason: EndReason },
    TransferEnds { transfer: u64 },
}

pub(super) struct State {
    pub timing: Timing,
    pub hosts: BTreeMap<Name, Host>,
    pub transfers: BTreeMap<u64, Transfer>,
    pub boots: BTreeMap<Uid, u64>,
    pub journal: Journal,
    cuts: BTreeSet<(Name, Name)>,
    due: BTreeMap<(Instant, u64), Event>,
    now: Instant,
    last_number: u64,
    /// Instants of events that no task waits for yet.
    unwatched: Vec<Instant>,
}

impl State {
    pub fn new(timing: Timing) -> Self {
        State {
            timing,
            hosts: BTreeMap::new(),
            transfers: BTreeMap::new(),
            boots: BTreeMap::new(),
            journal: Journal::new(),
            cuts: BTreeSet::new(),
            due: BTreeMap::new(),
            now: Instant::now(),
            last_number: 0,
            unwatched: Vec::new(),
        }
    }

    pub fn add_host(&mut self, host: &Name, address: &str) {
        self.hosts.entry(host.clone()).or_insert_with(|| Host {
            address: address.to_owned(),
            powered: true,
            guests: BTreeMap::new(),
            endings: VecDeque::new(),
            faults: Faults::default(),
            changed: watch::Sender::new(0),
        });
    }

    pub fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub fn take_unwatched(&mut self) -> Vec<Instant> {
        std::mem::take(&mut self.unwatched)
    }

    /// Applies, in order, all that is due by `now`.
    pub fn advance(&mut self, now: Instant) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            self.now = self.now.max(entry.key().0);
            match entry.remove() {
                Event::GuestEnds { host, uid, life, reason } => {
                    let lives = |h: &Host| h.guests.get(&uid).is_some_and(|g| g.life == life);
                    if self.hosts.get(&host).is_some_and(lives) {
                        self.end_guest(&host, uid, reason);
                    }
                }
                Event::TransferEnds { transfer } => self.transfer_is_due(transfer),
            }
        }
        self.now = self.now.max(now);
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        let at = self.now + after;
        let number = self.number();
        self.due.insert((at, number), event);
        self.unwatched.push(at);
    }

    pub fn writers(&self) -> BTreeMap<Uid, Vec<Name>> {
        let mut writers: BTreeMap<Uid, Vec<Name>> = BTreeMap::new();
        for (name, host) in &self.hosts {
            for (uid, guest) in &host.guests {
                if !guest.incoming {
                    writers.entry(*uid).or_default().push(name.clone());
                }
            }
        }
        writers
    }

    /// Disks that may be written at this instant, and by which guest on which host.
    pub fn written(&self) -> Vec<(DiskSource, Uid, Name)> {
        let mut written = Vec::new();
        for (host, h) in &self.hosts {
            for (uid, guest) in h.guests.iter().filter(|(_, g)| !g.incoming) {
                let disks = guest.spec.disks.iter().filter(|disk| !disk.read_only);
                written.extend(disks.map(|disk| (disk.source.clone(), *uid, host.clone())));
            }
        }
        written
    }

    fn note(&mut self, happening: Happening) {
        self.journal.push((self.now, happening));
    }

    /// Notes when the guest, which has just come to write on `host`, is not the only one that does.
    fn note_if_written_twice(&mut self, host: &Name, uid: Uid) {
        let mut others: BTreeSet<String> = BTreeSet::new();
        for other in self.writers().remove(&uid).unwrap_or_default().iter().filter(|other| *other != host) {
            others.insert(format!("the guest runs on {other} and on {host}"));
        }
        let written = self.written();
        for (disk, _, _) in written.iter().filter(|(_, by, on)| *by == uid && on == host) {
            let others_disk = |(d, by, on): &&(DiskSource, Uid, Name)| d == disk && (*by, on) != (uid, host);
            for (_, by, on) in written.iter().filter(others_disk) {
                others.insert(format!("{disk:?} is written by guest {by} on {on} and on {host}"));
            }
        }
        for what in others {
            self.note(Happening::WrittenTwice { uid, what });
        }
    }

    pub fn guests(&self, host: &Name) -> Vec<Guest> {
        let Some(host) = self.hosts.get(host) else { return Vec::new() };
        let guest = |(uid, g): (&Uid, &FakeGuest)| Guest {
            uid: *uid,
            name: g.spec.name.clone(),
            state: if g.incoming { GuestState::Paused } else { g.state },
            stamp: g.stamp,
            incoming: g.incoming,
            outgoing: !g.incoming && g.transfer.is_some(),
        };
        host.guests.iter().map(guest).collect()
    }

    /// Puts a booting guest on a host; the caller has seen that it is not there.
    pub fn boot(&mut self, host: &Name, spec: &GuestSpec) {
        let life = self.number();
        let Some(h) = self.hosts.get_mut(host) else { return };
        let (stamp, state) = (spec.stamp, GuestState::Running);
        let guest = FakeGuest {
            spec: spec.clone(),
            stamp,
            state,
            incoming: false,
            transfer: None,
            life,
            console: None,
        };
        h.guests.insert(spec.uid, guest);
        h.wake();
        let crash_after = h.faults.crash_after;
        self.note(Happening::Booted { host: host.clone(), uid: spec.uid });
        self.note_if_written_twice(host, spec.uid);
        *self.boots.entry(spec.uid).or_default() += 1;
        if let Some(after) = crash_after {
            let event =
                Event::GuestEnds { host: host.clone(), uid: spec.uid, life, reason: EndReason::Crashed };
            self.schedule(after, event);
        }
    }

    /// False: there is no such guest here.
    pub fn press_power_button(&mut self, host: &Name, uid: Uid) -> bool {
        let after = self.timing.shutdown;
        let Some(h) = self.hosts.get_mut(host) else { return false };
        let deaf = h.faults.deaf_guests;
        let Some(guest) = h.guests.get_mut(&uid).filter(|g| !g.incoming) else { return false };
        if deaf || guest.state == GuestState::ShuttingDown {
            return true;
        }
        guest.state = GuestState::ShuttingDown;
        let life = guest.life;
        h.wake();
        self.schedule(after, Event::GuestEnds { host: host.clone(), uid, life, reason: EndReason::ShutDown });
        true
    }

    pub fn end_guest(&mut self, host: &Name, uid: Uid, reason: EndReason) {
        let Some(h) = self.hosts.get_mut(host) else { return };
        let Some(guest) = h.guests.remove(&uid) else { return };
        if !guest.incoming && !h.faults.mute_endings {
            h.endings.push_back(Ending { uid, reason });
        }
        h.wake();
        if !guest.incoming {
            self.note(Happening::Ended { host: host.clone(), uid, reason });
        }
        if let Some(transfer) = guest.transfer {
            self.break_off(transfer, TransferEnd::Failed("the guest ended on the way".to_owned()));
        }
    }

    pub fn host_power(&mut self, host: &Name, on: bool) {
        let Some(h) = self.hosts.get_mut(host) else { return };
        if h.powered == on {
            return;
        }
        h.powered = on;
        h.endings.clear();
        let gone = std::mem::take(&mut h.guests);
        h.wake();
        for (uid, _) in gone.iter().filter(|(_, g)| !g.incoming) {
            let reason = EndReason::EmulatorDied;
            self.note(Happening::Ended { host: host.clone(), uid: *uid, reason });
        }
        for (uid, guest) in gone {
            let Some(transfer) = guest.transfer else { continue };
            let silent = "the other host does not answer";
            if guest.incoming {
                // The source learns of it only by the silence.
                self.doom(transfer, silent);
            } else {
                // A half-received guest is worth nothing: its hypervisor drops it.
                let to = self.transfers.get(&transfer).map(|t| t.to.clone());
                self.break_off(transfer, TransferEnd::Failed(silent.to_owned()));
                if let Some(target) = to.and_then(|to| self.hosts.get_mut(&to)) {
                    target.guests.retain(|u, g| *u != uid || !g.incoming);
                }
            }
        }
    }

    pub fn set_link(&mut self, a: &Name, b: &Name, up: bool) {
        let pair = ordered(a, b);
        if up {
            self.cuts.remove(&pair);
            return;
        }
        let on_it = |t: &Transfer| t.end.is_none() && ordered(&t.from, &t.to) == pair;
        let hit: Vec<u64> = self.transfers.iter().filter(|(_, t)| on_it(t)).map(|(n, _)| *n).collect();
        for transfer in hit {
            self.doom(transfer, "the other host does not answer");
        }
        self.cuts.insert(pair);
    }

    /// Begins a transfer; the caller has seen that the guest is here and not on its way.
    pub fn begin_transfer(&mut self, from: &Name, uid: Uid, order: &MigrationOrder) -> Result<u64, String> {
        let reachable = |n: &Name, h: &Host| {
            h.address == order.target_address && h.powered && !self.cuts.contains(&ordered(from, n))
        };
        let to = self.hosts.iter().find(|(n, h)| reachable(n, h)).map(|(n, _)| n.clone());
        let to = to.ok_or_else(|| format!("unable to connect to server at {}", order.target_address))?;
        if self.hosts.get(&to).is_some_and(|h| h.guests.contains_key(&uid)) {
            return Err(format!("guest {uid} is at {to} already"));
        }
        let spec = self.hosts.get(from).and_then(|h| h.guests.get(&uid)).map(|guest| &guest.spec);
        if let Some(bridge) = spec.and_then(|spec| self.lacks_bridge(&to, spec)) {
            return Err(no_bridge(&bridge));
        }
        let (number, life) = (self.number(), self.number());
        let mut duration = self.timing.migration;
        let mut doomed = None;
        let Some(source) = self.hosts.get_mut(from) else { return Err("no such host".to_owned()) };
        if source.faults.fail_migrations > 0 {
            source.faults.fail_migrations -= 1;
            duration /= 2;
            doomed = Some("the stream broke".to_owned());
        }
        let Some(guest) = source.guests.get_mut(&uid) else { return Err("no such guest".to_owned()) };
        guest.transfer = Some(number);
        let copy = FakeGuest {
            spec: guest.spec.clone(),
            stamp: order.stamp,
            state: guest.state,
            incoming: true,
            transfer: Some(number),
            life,
            console: None,
        };
        source.wake();
        if let Some(target) = self.hosts.get_mut(&to) {
            target.guests.insert(uid, copy);
            target.wake();
        }
        let (began, ends) = (self.now, self.now + duration);
        let (from, stamp) = (from.clone(), order.stamp);
        self.transfers.insert(number, Transfer { uid, from, to, stamp, began, ends, doomed, end: None });
        self.schedule(duration, Event::TransferEnds { transfer: number });
        Ok(number)
    }

    pub fn cancel_transfer(&mut self, transfer: u64) {
        self.break_off(transfer, TransferEnd::Cancelled);
    }

    pub fn progress(&self, transfer: u64) -> Option<MigrationProgress> {
        const BYTES: u64 = 128 << 20;
        let t = self.transfers.get(&transfer).filter(|t| t.end.is_none())?;
        let elapsed = self.now.duration_since(t.began);
        let whole = t.ends.duration_since(t.began).as_millis().max(1);
        let sent = u64::try_from(u128::from(BYTES) * elapsed.as_millis() / whole).unwrap_or(BYTES).min(BYTES);
        Some(MigrationProgress {
            elapsed_ms: elapsed.as_millis() as u64,
            total_bytes: BYTES,
            sent_bytes: sent,
            remaining_bytes: BYTES - sent,
            pass: 1,
        })
    }

    /// The transfer will fail, once the silence is noticed.
    fn doom(&mut self, transfer: u64, why: &str) {
        let keepalive = self.timing.keepalive;
        let ends = self.now + keepalive;
        let Some(t) = self.transfers.get_mut(&transfer) else { return };
        t.doomed = Some(why.to_owned());
        t.ends = ends;
        self.schedule(keepalive, Event::TransferEnds { transfer });
    }

    /// Time for a transfer to end, unless its end has been put off meanwhile.
    fn transfer_is_due(&mut self, number: u64) {
        let Some(t) = self.transfers.get_mut(&number) else { return };
        if t.end.is_some() || t.ends > self.now {
            return;
        }
        if let Some(why) = t.doomed.take() {
            self.break_off(number, TransferEnd::Failed(why));
            return;
        }
        let (uid, from, to, stamp) = (t.uid, t.from.clone(), t.to.clone(), t.stamp);
        let report = MigrationReport {
            total_ms: t.ends.duration_since(t.began).as_millis() as u64,
            downtime_ms: 80,
            sent_bytes: 128 << 20,
        };
        t.end = Some(TransferEnd::Done(report));
        // The hand-over: at no instant do both copies run.
        let mut state = GuestState::Running;
        if let Some(source) = self.hosts.get_mut(&from) {
            if let Some(guest) = source.guests.remove(&uid) {
                state = guest.state;
            }
            source.endings.push_back(Ending { uid, reason: EndReason::MovedAway });
            source.wake();
        }
        let mut shutting_down = None;
        if let Some(target) = self.hosts.get_mut(&to) {
            if let Some(guest) = target.guests.get_mut(&uid) {
                (guest.incoming, guest.transfer, guest.stamp, guest.state) = (false, None, stamp, state);
                shutting_down = (state == GuestState::ShuttingDown).then_some(guest.life);
            }
            target.wake();
        }
        self.note(Happening::Moved { from, to: to.clone(), uid });
        self.note_if_written_twice(&to, uid);
        if let Some(life) = shutting_down {
            let event = Event::GuestEnds { host: to, uid, life, reason: EndReason::ShutDown };
            self.schedule(self.timing.shutdown, event);
        }
    }

    /// Ends a transfer without a hand-over: the source's copy goes on, the target's is dropped.
    fn break_off(&mut self, number: u64, end: TransferEnd) {
        let Some(t) = self.transfers.get_mut(&number) else { return };
        if t.end.is_some() {
            return;
        }
        t.end = Some(end);
        let (uid, from, to) = (t.uid, t.from.clone(), t.to.clone());
        if let Some(source) = self.hosts.get_mut(&from) {
            if let Some(guest) = source.guests.get_mut(&uid) {
                guest.transfer = None;
            }
            source.wake();
        }
        if let Some(target) = self.hosts.get_mut(&to) {
            target.guests.retain(|u, g| *u != uid || g.transfer != Some(number));
            target.wake();
        }
    }
}

fn ordered(a: &Name, b: &Name) -> (Name, Name) {
    if a <= b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}
