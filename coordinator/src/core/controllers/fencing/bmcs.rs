//! What the leader asks of the BMCs of nodes that are being fenced: on the side, for a BMC may take its time. All of it may be
//! lost at any moment: a leader that follows asks anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_model::{Name, World};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::super::power::{BmcAccess, PowerError, PowerState};
use super::super::super::seat::Seat;

/// A BMC that failed is asked again after so long.
const AGAIN: Duration = Duration::from_secs(2);
/// A call to a BMC that has not ended by then is taken for lost; each ends by itself long before.
const CALL_PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Look,
    Off,
    On,
}

/// What was asked for one fence.
struct Asked {
    epoch: u64,
    /// An answer is waited for, until then.
    pending: Option<(Order, Instant)>,
    again: Instant,
    failure: Option<String>,
    read_off: bool,
    powered_on: bool,
}

/// Where calls to BMCs leave their answers.
#[derive(Default)]
struct Answers {
    waiting: Mutex<Vec<Answer>>,
    told: Notify,
}

struct Answer {
    node: Name,
    epoch: u64,
    order: Order,
    result: Result<PowerState, PowerError>,
}

pub(super) struct Bmcs<S> {
    coordinator: S,
    asked: BTreeMap<Name, Asked>,
    calls: JoinSet<()>,
    answers: Arc<Answers>,
}

impl<S: Seat> Bmcs<S> {
    pub fn new(coordinator: S) -> Self {
        Bmcs { coordinator, asked: BTreeMap::new(), calls: JoinSet::new(), answers: Arc::default() }
    }

    /// Unless an answer is waited for, or there was one a moment ago.
    pub fn ask(&mut self, access: BmcAccess, epoch: u64, order: Order) {
        let now = Instant::now();
        let fresh =
            || Asked { epoch, pending: None, again: now, failure: None, read_off: false, powered_on: false };
        let asked = self.asked.entry(access.node.clone()).or_insert_with(fresh);
        if asked.epoch != epoch {
            *asked = fresh();
        }
        if asked.pending.is_some_and(|(_, until)| until > now) || asked.again > now {
            return;
        }
        asked.pending = Some((order, now + CALL_PATIENCE));
        let coordinator = self.coordinator.clone();
        let answers = self.answers.clone();
        while self.calls.try_join_next().is_some() {}
        self.calls.spawn(async move {
            let power = coordinator.power();
            let result = match order {
                Order::Look => power.status(&access).await,
                Order::Off => power.off(&access).await.map(|()| PowerState::Off),
                Order::On => power.on(&access).await.map(|()| PowerState::On),
            };
            answers.waiting.lock().push(Answer { node: access.node, epoch, order, result });
            answers.told.notify_one();
        });
    }

    /// Takes in what the BMCs have answered. Nodes whose power was read as off, and for which fence.
    pub fn read_off(&mut self) -> Vec<(Name, u64)> {
        let mut off = Vec::new();
        let answers = std::mem::take(&mut *self.answers.waiting.lock());
        for Answer { node, epoch, order, result } in answers {
            let Some(asked) = self.asked.get_mut(&node).filter(|asked| asked.epoch == epoch) else {
                continue;
            };
            asked.pending = None;
            asked.again = Instant::now() + AGAIN;
            asked.failure = None;
            match result {
                Ok(PowerState::Off) if order != Order::On => {
                    asked.read_off = true;
                    off.push((node, epoch));
                }
                Ok(PowerState::On) if order == Order::On => asked.powered_on = true,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%node, %error, ?order, "its BMC did not do it");
                    asked.failure = Some(error.to_string());
                }
            }
        }
        off
    }

    /// Whether an order to switch it off may still be carried out.
    pub fn may_strike(&self, node: &Name) -> bool {
        let pending = self.asked.get(node).and_then(|asked| asked.pending);
        pending.is_some_and(|(order, until)| order == Order::Off && until > Instant::now())
    }

    /// Whether it was read as off for this fence, and has not been given power again.
    pub fn is_off(&self, node: &Name, epoch: u64) -> bool {
        self.asked.get(node).is_some_and(|asked| asked.epoch == epoch && asked.read_off && !asked.powered_on)
    }

    pub fn has_powered_on(&self, node: &Name, epoch: u64) -> bool {
        self.asked.get(node).is_some_and(|asked| asked.epoch == epoch && asked.powered_on)
    }

    /// Why its BMC did not do what it was last asked for.
    pub fn failure(&self, node: &Name) -> Option<String> {
        self.asked.get(node).and_then(|asked| asked.failure.clone())
    }

    /// Forgets nodes without a fence.
    pub fn retain(&mut self, world: &World) {
        self.asked.retain(|name, _| world.nodes.get(name).is_some_and(|node| node.status.fence.is_some()));
    }

    /// Resolves when a BMC has answered.
    pub async fn told(&self) {
        self.answers.told.notified().await;
    }
}
