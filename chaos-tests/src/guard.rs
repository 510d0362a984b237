//! The guard of a simulated host: a part of the host apart from its daemon, as its process is in life. It judges by the very
//! code of the real one; what it strikes are the host's guests, in truth. It ends with the host's power.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_node::guard::{Answer, Ask, Deed, GuardError, GuardPort, SinceBoot, Terms, Watch};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::net::Place;
use crate::setting::Setting;
use crate::witness::Rule;

/// As the real one looks.
const TICK: Duration = Duration::from_millis(100);

/// What is the matter with a guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    #[default]
    Honest,
    /// Its process does not run. What it was told is remembered, and taken up when it runs again.
    Absent,
    /// It answers, and never strikes.
    Deaf,
    /// It promises to strike sooner than it does.
    Hasty,
}

/// Clones are the same guard.
#[derive(Clone)]
pub struct SimGuard {
    state: Arc<Mutex<State>>,
    asked: Arc<Notify>,
}

struct State {
    begun: Instant,
    watch: Watch,
    manner: Manner,
    powered: bool,
    /// Its host stands still, kernel and all.
    frozen: bool,
}

impl SimGuard {
    pub fn new() -> SimGuard {
        let watch = Watch::new(Terms::process());
        let state =
            State { begun: Instant::now(), watch, manner: Manner::Honest, powered: true, frozen: false };
        SimGuard { state: Arc::new(Mutex::new(state)), asked: Arc::default() }
    }

    /// Lives beside the host's daemon.
    pub async fn run(self, here: Place, setting: Setting) {
        loop {
            if self.state.lock().watch.armed_until().is_none() {
                self.asked.notified().await;
            }
            tokio::time::sleep(TICK).await;
            if self.strikes() {
                strike(here, &setting);
            }
        }
    }

    fn strikes(&self) -> bool {
        let state = self.state.lock();
        let able = state.powered && !state.frozen && matches!(state.manner, Manner::Honest | Manner::Hasty);
        able && state.watch.deed(state.begun.elapsed()) == Deed::Strike
    }

    pub fn set(&self, manner: Manner) {
        let mut state = self.state.lock();
        if state.manner == Manner::Absent && manner != Manner::Absent {
            let left = state.watch.armed_until();
            state.watch = Watch::take_over(Terms::process(), left, state.begun.elapsed());
        }
        (state.manner, state.frozen) = (manner, false);
    }

    pub fn freeze(&self, frozen: bool) {
        self.state.lock().frozen = frozen;
    }

    /// It forgets all with its host's power.
    pub fn power(&self, on: bool) {
        let mut state = self.state.lock();
        (state.powered, state.frozen) = (on, false);
        state.watch = Watch::new(Terms::process());
    }
}

impl Default for SimGuard {
    fn default() -> Self {
        SimGuard::new()
    }
}

fn strike(here: Place, setting: &Setting) {
    let guests = setting.guests.guests_on(&here.node());
    if guests.is_empty() {
        return;
    }
    setting.trace.say(format!("the guard of {here} strikes"));
    if setting.leases.lock().get(&here).is_some_and(|lease| lease.is_valid()) {
        setting
            .witness
            .accuse(Rule::NoFalseFence, format!("the guard of {here} strikes, and {here} has a lease"));
    }
    setting.guests.kill_guests(&here.node());
}

#[async_trait]
impl GuardPort for SimGuard {
    async fn ask(&self, ask: Ask) -> Result<Answer, GuardError> {
        let mut state = self.state.lock();
        if state.manner == Manner::Absent {
            return Err(GuardError("nobody listens".to_owned()));
        }
        let now = state.begun.elapsed();
        state.watch.take(ask, now);
        self.asked.notify_one();
        let mut answer = state.watch.answer(now);
        if state.manner == Manner::Hasty {
            answer.strike_after = Duration::ZERO;
        }
        Ok(answer)
    }

    fn now(&self) -> SinceBoot {
        self.state.lock().begun.elapsed()
    }
}
