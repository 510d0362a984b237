//! A running guest's NICs: what is to be done so that they are as its VM wants them, and doing it. The guest is asked what
//! it has, each time; nothing here ends it, or keeps it from anything.

use std::sync::Arc;
use std::time::Duration;

use pvc_model::network::Attachment;
use pvc_model::nic::Nic;
use pvc_model::vm::Mac;
use pvc_model::{Name, Uid, Vm};
use tokio::time::Instant;

use crate::hypervisor::{Guest, GuestNic, GuestState, Hypervisor, HypervisorError, LiveNic, NicPort};

/// A guest whose NICs are right is asked again after this long: somebody may have changed them by hand.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// One that could not be given its NICs is given them again after this long at first, and twice as long each time.
const TRY_AGAIN_FIRST: Duration = Duration::from_secs(2);
const TRY_AGAIN_MAX: Duration = Duration::from_secs(60);
/// A bridge of the cluster's own that is missing for longer than this is not just being made.
pub(super) const BRIDGE_PATIENCE: Duration = Duration::from_secs(30);

/// What is remembered of a guest's NICs.
#[derive(Clone, Debug, Default)]
pub(super) struct NicMemory {
    /// They are being looked at.
    pub busy: bool,
    /// What came of it last.
    last: Option<Looked>,
    /// Tries in a row that did not succeed.
    failures: u32,
}

#[derive(Clone, Debug)]
struct Looked {
    /// For these.
    wanted: Vec<Nic>,
    problem: String,
    again_at: Instant,
}

impl NicMemory {
    /// Whether the guest's NICs are to be looked at now.
    pub fn is_due(&self, vm: &Vm, guest: &Guest, now: Instant) -> bool {
        let due = self.last.as_ref().is_none_or(|last| last.wanted != vm.spec.nics || now >= last.again_at);
        // One that stands still or is on its way out can't let go of any.
        due && !self.busy && !guest.outgoing && guest.state == GuestState::Running
    }

    /// The guest has ended: the next one begins with its NICs as they are wanted.
    pub fn forget(&mut self) {
        *self = NicMemory { busy: self.busy, ..NicMemory::default() };
    }

    /// When to try again what did not succeed.
    pub fn again_at(&self) -> Option<Instant> {
        self.last.as_ref().filter(|last| !last.problem.is_empty()).map(|last| last.again_at)
    }

    /// Why they are not as they are wanted; empty when they are, or nothing is known yet.
    pub fn problem(&self, vm: &Vm) -> &str {
        self.last.as_ref().filter(|last| last.wanted == vm.spec.nics).map_or("", |last| &last.problem)
    }

    pub fn looked(&mut self, wanted: Vec<Nic>, problem: String, now: Instant) {
        self.busy = false;
        let wait = if problem.is_empty() {
            self.failures = 0;
            ASK_AGAIN
        } else {
            self.failures += 1;
            TRY_AGAIN_FIRST.saturating_mul(1 << (self.failures - 1).min(8)).min(TRY_AGAIN_MAX)
        };
        self.last = Some(Looked { wanted, problem, again_at: now + wait });
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Detach(Mac),
    Update(NicPort),
    Attach(GuestNic),
}

impl Step {
    fn mac(&self) -> Mac {
        match self {
            Step::Detach(mac) => *mac,
            Step::Update(port) => port.mac,
            Step::Attach(nic) => nic.port.mac,
        }
    }
}

/// From what it has to what is wanted. What goes, goes first: it may make room for what comes.
pub(super) fn steps(wanted: &[GuestNic], has: &[LiveNic]) -> Vec<Step> {
    let is_wanted = |there: &LiveNic| wanted.iter().any(|nic| nic.port.mac == there.port.mac);
    let gone = has.iter().filter(|there| there.ours && !is_wanted(there));
    let mut steps: Vec<Step> = gone.map(|there| Step::Detach(there.port.mac)).collect();
    let mut coming = Vec::new();
    for nic in wanted {
        match has.iter().find(|there| there.port.mac == nic.port.mac) {
            Some(there) if there.port == nic.port => {}
            Some(_) => steps.push(Step::Update(nic.port.clone())),
            None => coming.push(Step::Attach(nic.clone())),
        }
    }
    steps.extend(coming);
    steps
}

/// Makes the guest's NICs be as they are wanted, as far as that can be done; what can't, and why. Empty: they are.
pub(super) async fn put_right(hypervisor: Arc<dyn Hypervisor>, uid: Uid, wanted: &[GuestNic]) -> String {
    let has = match hypervisor.nics(uid).await {
        Ok(has) => has,
        Err(error) => return format!("its NICs are not known: {error}"),
    };
    let mut problems = Vec::new();
    let steps = steps(wanted, &has);
    for step in &steps {
        if let Err(error) = carry_out(hypervisor.as_ref(), uid, step).await {
            problems.push(format!("NIC {}: {error}", step.mac()));
        }
    }
    if problems.is_empty() && !steps.is_empty() {
        // Most of all, its operating system may keep what it was asked to let go.
        match hypervisor.nics(uid).await {
            Ok(has) => problems.extend(self::steps(wanted, &has).iter().map(left_over)),
            Err(error) => problems.push(format!("its NICs are not known: {error}")),
        }
    }
    problems.join("; ")
}

async fn carry_out(hypervisor: &dyn Hypervisor, uid: Uid, step: &Step) -> Result<(), String> {
    let port = match step {
        Step::Detach(_) => None,
        Step::Update(port) => Some(port),
        Step::Attach(nic) => Some(&nic.port),
    };
    if let Some(port) = port.filter(|port| !hypervisor.has_bridge(&port.bridge)) {
        return Err(format!("the bridge {} is missing on this node", port.bridge));
    }
    let done = match step {
        Step::Detach(mac) => hypervisor.detach_nic(uid, *mac).await,
        Step::Update(port) => hypervisor.update_nic(uid, port).await,
        Step::Attach(nic) => hypervisor.attach_nic(uid, nic).await,
    };
    match done {
        Ok(()) => {
            tracing::info!(%uid, ?step, "a NIC was changed");
            Ok(())
        }
        // It has ended meanwhile: nothing is left to be done.
        Err(HypervisorError::NoSuchGuest { .. }) => Ok(()),
        Err(error) => {
            tracing::warn!(%uid, ?step, %error, "a NIC could not be changed");
            Err(error.to_string())
        }
    }
}

fn left_over(step: &Step) -> String {
    match step {
        Step::Detach(mac) => format!("NIC {mac}: the guest's operating system has not let go of it yet"),
        Step::Update(_) | Step::Attach(_) => format!("NIC {}: it is not as it was asked for yet", step.mac()),
    }
}

/// Why a guest that needs this bridge can't be started or received on `me`, where it is missing for `since` now.
pub(super) fn missing_bridge(attachment: &Attachment, me: &Name, since: Duration) -> String {
    let bridge = attachment.bridge();
    match attachment {
        Attachment::Network(_) if since < BRIDGE_PATIENCE => format!("{bridge} is being made"),
        Attachment::Network(vni) => format!(
            "{bridge}, the bridge of network {vni}, is missing on {me} for more than {} s: see `pvc node log {me}`",
            BRIDGE_PATIENCE.as_secs()
        ),
        Attachment::Host(network) => {
            let network = network.as_str();
            format!(
                "{bridge}, the bridge of the {network} network, is missing on {me}: it must be made there"
            )
        }
        Attachment::Bridge(_) => format!("the bridge {bridge} is missing on {me}: it must be made there"),
    }
}
