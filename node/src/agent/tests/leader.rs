//! A leader that never dies and keeps nothing on a disk: `decide` over a world behind a mutex.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_model::command::{Command, NetworkCommand, PrimaryReport, decide};
use pvc_model::guard::Guard;
use pvc_model::node::{NodeRole, Reachability};
use pvc_model::{Context, Name, Rejection, Revision, Timestamp, Uid, Vm, World};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::agent::link::{
    AssignmentStream, Assignments, CoordinatorLink, GuestCount, Heartbeat, HeartbeatAck, LeasesReport,
    LinkError, PrimaryRole, Report,
};

#[derive(Clone)]
pub struct Leader {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<Revision>,
    begun: Instant,
}

#[derive(Default)]
struct State {
    world: World,
    commands: u64,
    cut: BTreeSet<Name>,
    /// Nodes that are heard, and are told nothing new.
    untold: BTreeSet<Name>,
    /// Reports that are decided, and whose answer is lost.
    lose_answers: u32,
}

impl Leader {
    pub fn new() -> Self {
        let state = State::default();
        Leader { state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(0), begun: Instant::now() }
    }

    pub fn world(&self) -> World {
        self.state.lock().world.clone()
    }

    pub fn submit(&self, command: Command) -> Result<Revision, Rejection> {
        let mut state = self.state.lock();
        state.commands += 1;
        let now = Timestamp(1_000_000 + self.begun.elapsed().as_millis() as u64);
        let mut context = Context::new(now, "admin/test", [state.commands, 1]);
        let changes = decide(&state.world, &command, &mut context)?;
        if !changes.is_empty() {
            let revision = state.world.revision + 1;
            state.world.apply(&changes, revision);
            self.changed.send_replace(revision);
        }
        Ok(state.world.revision)
    }

    pub fn enrol(&self, node: &Name) {
        let first = self.world().nodes.is_empty();
        let address = format!("{node}:7371");
        let token = name_of(&format!("t-{node}"));
        let joined = if first {
            self.submit(Command::FoundNode { name: node.clone(), address, member_id: 1 })
        } else {
            let make = Command::CreateJoinToken {
                name: token.clone(),
                lifetime_seconds: 0,
                node: None,
                secret_hash: "hash".into(),
            };
            let spend = Command::RedeemJoinToken {
                token,
                secret_hash: "hash".into(),
                node: node.clone(),
                role: NodeRole::Hypervisor,
                address,
                key_hash: "key".into(),
                standby: false,
            };
            self.submit(make).and_then(|_| self.submit(spend))
        };
        let heard = Command::SetReachability { node: node.clone(), reachability: Reachability::Reachable };
        joined.and_then(|_| self.submit(heard)).expect("enrols");
    }

    /// The cluster as it was then: of a backup, or of a survivor.
    pub fn rewind(&self, mut world: World) {
        let mut state = self.state.lock();
        let revision = state.world.revision + 1;
        world.revision = revision;
        state.world = world;
        self.changed.send_replace(revision);
    }

    /// Puts an object as if it had come about so.
    pub fn put(&self, object: pvc_model::Object) {
        let mut state = self.state.lock();
        let revision = state.world.revision + 1;
        state.world.put(object);
        state.world.revision = revision;
        self.changed.send_replace(revision);
    }

    pub fn cut(&self, node: &str) {
        self.state.lock().cut.insert(name_of(node));
    }

    pub fn heal(&self, node: &str) {
        self.state.lock().cut.remove(&name_of(node));
    }

    pub fn leave_untold(&self, node: &str, untold: bool) {
        let mut state = self.state.lock();
        match untold {
            true => state.untold.insert(name_of(node)),
            false => state.untold.remove(&name_of(node)),
        };
    }

    pub fn lose_answers(&self, count: u32) {
        self.state.lock().lose_answers = count;
    }

    pub fn link(&self, node: &Name) -> Link {
        Link { leader: self.clone(), node: node.clone() }
    }
}

fn name_of(text: &str) -> Name {
    text.parse().expect("a name")
}

pub struct Link {
    leader: Leader,
    node: Name,
}

impl Link {
    fn lose_answer(&self) -> Result<(), LinkError> {
        let mut state = self.leader.state.lock();
        if state.lose_answers > 0 {
            state.lose_answers -= 1;
            return Err(LinkError::Unavailable("the answer is lost".into()));
        }
        Ok(())
    }

    async fn travel(&self) -> Result<(), LinkError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        match self.leader.state.lock().cut.contains(&self.node) {
            true => Err(LinkError::Unavailable("cut".into())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl CoordinatorLink for Link {
    async fn heartbeat(&self, heartbeat: Heartbeat, _deadline: Duration) -> Result<HeartbeatAck, LinkError> {
        self.travel().await?;
        let world = self.leader.world();
        let (revision, incarnation) = (world.revision, world.incarnation());
        Ok(HeartbeatAck { sequence: heartbeat.sequence, term: 1, revision, incarnation })
    }

    async fn assignments(
        &self,
        node: &Name,
        guests: Vec<Uid>,
    ) -> Result<Box<dyn AssignmentStream>, LinkError> {
        self.travel().await?;
        let changed = self.leader.changed.subscribe();
        let link = Link { leader: self.leader.clone(), node: node.clone() };
        Ok(Box::new(Stream { link, guests, changed, first: true, due: true, known: BTreeSet::new() }))
    }

    async fn report_primary(
        &self,
        node: &Name,
        session: u64,
        epoch: u64,
        report: PrimaryReport,
    ) -> Result<Revision, LinkError> {
        self.travel().await?;
        let command = Command::ReportPrimary { node: node.clone(), session, epoch, report };
        Ok(self.leader.submit(command)?)
    }

    async fn report_guard(
        &self,
        node: &Name,
        session: u64,
        after: u64,
        guard: Option<Guard>,
    ) -> Result<Revision, LinkError> {
        self.travel().await?;
        let word = Command::ReportGuard { node: node.clone(), session, after, guard };
        let answer = self.leader.submit(word);
        self.lose_answer()?;
        Ok(answer?)
    }

    async fn report_leases(&self, report: LeasesReport) -> Result<Revision, LinkError> {
        self.travel().await?;
        let LeasesReport { node, session, epoch, put, gone } = report;
        let command = NetworkCommand::ReportLeases { node, session, epoch, put, gone };
        Ok(self.leader.submit(Command::Network(Box::new(command)))?)
    }

    async fn leave_node(
        &self,
        node: &Name,
        session: u64,
        within_seconds: u32,
    ) -> Result<Revision, LinkError> {
        self.travel().await?;
        Ok(self.leader.submit(Command::LeaveNode { node: node.clone(), session, within_seconds })?)
    }

    async fn report(&self, report: Report) -> Result<Revision, LinkError> {
        self.travel().await?;
        let Report { node, session, vms, volumes, facts, count, .. } = report;
        if let Some(GuestCount { incarnation, guests }) = count {
            self.leader.submit(Command::CountGuests { node: node.clone(), session, incarnation, guests })?;
        }
        let answer = self.leader.submit(Command::Report { node, session, vms, volumes, facts });
        self.lose_answer()?;
        Ok(answer?)
    }
}

struct Stream {
    link: Link,
    guests: Vec<Uid>,
    changed: watch::Receiver<Revision>,
    first: bool,
    /// Something has changed and has not been told.
    due: bool,
    known: BTreeSet<Uid>,
}

#[async_trait]
impl AssignmentStream for Stream {
    async fn next(&mut self) -> Result<Assignments, LinkError> {
        if !self.due {
            self.changed.changed().await.map_err(|_| LinkError::Unavailable("ended".into()))?;
            self.due = true;
        }
        self.link.travel().await?;
        while self.link.leader.state.lock().untold.contains(&self.link.node) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.due = false;
        let world = self.link.leader.world();
        let me = &self.link.node;
        let concerns = |vm: &Vm| {
            let moving = vm.migration.as_ref().is_some_and(|m| m.from == *me || m.to == *me);
            let seen = vm.observed.as_ref().is_some_and(|o| o.node == *me);
            let concerns = vm.placed_on(me) || moving || seen || self.guests.contains(&vm.uid());
            concerns && world.is_confirmed(vm)
        };
        let vms: Vec<Vm> = world.vms.values().filter(|vm| concerns(vm)).map(|vm| Vm::clone(vm)).collect();
        let now: BTreeSet<Uid> = vms.iter().map(Vm::uid).collect();
        let vms_gone = self.known.difference(&now).copied().collect();
        let full = std::mem::replace(&mut self.first, false);
        self.known = now;
        Ok(Assignments {
            revision: world.revision,
            full,
            vms,
            vms_gone,
            volumes: world.volumes.values().map(|v| (**v).clone()).collect(),
            volumes_gone: Vec::new(),
            networks: world.networks.values().map(|n| (**n).clone()).collect(),
            node: world.nodes.get(me).map(|n| (**n).clone()),
            coordinators: None,
            hypervisors: None,
            incarnation: world.incarnation(),
            count_guests: world.awaits(me),
            primary: Some(PrimaryRole {
                primary: world.primary().cloned(),
                floating: world.settings().floating,
            }),
            ..Assignments::default()
        })
    }
}
