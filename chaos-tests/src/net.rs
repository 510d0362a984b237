//! A network between the hosts and the people, in virtual time: messages take a while, get lost, and
//! can't pass where it is cut, in one direction or both.
//!
//! A call is two messages, and what it asks for is done at the far end in a task of its own: a caller that
//! gives up, or never hears the answer, undoes nothing. A process that is gone refuses; a host that is
//! cut off is silent. Nothing is decided here about who may call whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_coordinator::core::Coordinator;
use pvc_model::Name;
use raft_store::{Pause, Store};
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::trace::Trace;

/// Where somebody is: the people's desk, or a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u8);

impl Place {
    /// Those who use the cluster.
    pub const PEOPLE: Place = Place(0);
    /// Where there are clients in several places, they sit at desks; those have the numbers from here on.
    pub const DESKS: u8 = 100;

    /// The node that is here.
    pub fn node(self) -> Name {
        self.to_string().parse().expect("a node's name")
    }

    pub fn of_node(name: &Name) -> Option<Place> {
        name.as_str().strip_prefix("hv")?.parse().ok().map(Place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("people"),
            number if number >= Place::DESKS => write!(f, "desk{}", number - Place::DESKS),
            number => write!(f, "hv{number}"),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What answers at a host: the part of its process that the network reaches.
pub trait Reached: Clone + Send + Sync + 'static {
    fn store(&self) -> &Store;
    /// The process has ended: what it was doing is never heard of.
    fn gone(&self) -> &CancellationToken;
    /// By which it is stopped: then its messages wait for it.
    fn pause(&self) -> Option<&Pause>;
}

/// A daemon with a coordinator.
#[derive(Clone)]
pub struct Endpoint {
    pub store: Store,
    pub coordinator: Coordinator,
    pub gone: CancellationToken,
    pub pause: Pause,
}

impl Reached for Endpoint {
    fn store(&self) -> &Store {
        &self.store
    }

    fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    fn pause(&self) -> Option<&Pause> {
        Some(&self.pause)
    }
}

/// How messages fare where nothing is cut.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Messages of a thousand that get lost.
    pub lost_per_mille: u64,
    /// Messages of a thousand that take long, and how long at most, in milliseconds.
    pub slow_per_mille: u64,
    pub slow_max_ms: u64,
}

impl Weather {
    pub const FAIR: Weather = Weather { lost_per_mille: 0, slow_per_mille: 0, slow_max_ms: 1 };
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was done.
    #[error("connection refused")]
    Refused,
    /// It may have been done.
    #[error("connection reset")]
    Reset,
    /// It may have been done, or be done yet.
    #[error("no answer in time")]
    Silent,
}

/// Clones are the same network.
pub struct Net<E = Endpoint> {
    dice: Dice,
    pub trace: Trace,
    state: Arc<Mutex<State<E>>>,
}

impl<E> Clone for Net<E> {
    fn clone(&self) -> Self {
        Net { dice: self.dice.clone(), trace: self.trace.clone(), state: Arc::clone(&self.state) }
    }
}

struct State<E> {
    weather: Weather,
    /// From, to.
    cuts: BTreeSet<(Place, Place)>,
    /// Hosts whose messages, both ways, take this much longer.
    laggards: BTreeMap<Place, Duration>,
    endpoints: BTreeMap<Place, E>,
}

impl<E: Clone> Net<E> {
    pub fn new(seed: u64, trace: Trace) -> Net<E> {
        let state = State {
            weather: Weather::FAIR,
            cuts: BTreeSet::new(),
            laggards: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        };
        Net { dice: Dice::new(seed, "network"), trace, state: Arc::new(Mutex::new(state)) }
    }

    /// How often chance decided about a message.
    pub fn rolls(&self) -> u64 {
        self.dice.rolls()
    }

    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// Nothing passes from one to the other; the way back is another matter.
    pub fn cut(&self, from: Place, to: Place) {
        self.state.lock().cuts.insert((from, to));
    }

    /// Nothing passes between those and all others, either way.
    pub fn part(&self, those: &[Place], others: &[Place]) {
        let mut state = self.state.lock();
        for a in those {
            for b in others.iter().filter(|b| !those.contains(b)) {
                state.cuts.insert((*a, *b));
                state.cuts.insert((*b, *a));
            }
        }
    }

    /// Joins one host with all others.
    pub fn rejoin(&self, place: Place) {
        self.state.lock().cuts.retain(|(from, to)| *from != place && *to != place);
    }

    pub fn lag(&self, place: Place, by: Duration) {
        self.state.lock().laggards.insert(place, by);
    }

    /// Joins everything, and the weather is fair.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.cuts.clear();
        state.laggards.clear();
        state.weather = Weather::FAIR;
    }

    pub fn is_whole(&self) -> bool {
        let state = self.state.lock();
        state.cuts.is_empty() && state.laggards.is_empty()
    }

    /// Nothing delays or loses a message between any two hosts.
    pub fn is_fair_everywhere(&self) -> bool {
        let state = self.state.lock();
        let Weather { lost_per_mille, slow_per_mille, .. } = state.weather;
        lost_per_mille == 0 && slow_per_mille == 0 && state.cuts.is_empty() && state.laggards.is_empty()
    }

    /// Whether two hosts reach each other both ways.
    pub fn joined(&self, a: Place, b: Place) -> bool {
        let state = self.state.lock();
        state.cuts.is_empty() || !state.cuts.contains(&(a, b)) && !state.cuts.contains(&(b, a))
    }

    pub fn attach(&self, place: Place, endpoint: E) {
        self.state.lock().endpoints.insert(place, endpoint);
    }

    pub fn detach(&self, place: Place) -> Option<E> {
        self.state.lock().endpoints.remove(&place)
    }

    pub fn endpoint(&self, place: Place) -> Option<E> {
        self.state.lock().endpoints.get(&place).cloned()
    }

    pub fn endpoints(&self) -> Vec<(Place, E)> {
        self.state.lock().endpoints.iter().map(|(place, e)| (*place, e.clone())).collect()
    }

    /// One message's way. False: it got lost. A cut that comes while it is under way takes it too.
    pub async fn carry(&self, from: Place, to: Place) -> bool {
        let takes = {
            let state = self.state.lock();
            if state.cuts.contains(&(from, to)) {
                return false;
            }
            let lag = |place| state.laggards.get(&place).copied().unwrap_or_default();
            let weather = state.weather;
            if self.dice.per_mille(weather.lost_per_mille) {
                return false;
            }
            let slow = self.dice.per_mille(weather.slow_per_mille);
            let most = if slow { weather.slow_max_ms } else { 3 };
            self.dice.millis(1, most.max(1)) + lag(from) + lag(to)
        };
        tokio::time::sleep(takes).await;
        let arrives = !self.state.lock().cuts.contains(&(from, to));
        self.trace.count(&[u64::from(from.0), u64::from(to.0), u64::from(arrives)]);
        arrives
    }

    /// Nothing delays or loses a message between those two.
    pub fn is_fair(&self, a: Place, b: Place) -> bool {
        let state = self.state.lock();
        let lags = |place| state.laggards.contains_key(&place);
        let weather = state.weather;
        weather.lost_per_mille == 0
            && weather.slow_per_mille == 0
            && !lags(a)
            && !lags(b)
            && !state.cuts.contains(&(a, b))
            && !state.cuts.contains(&(b, a))
    }
}

impl<E: Reached> Net<E> {
    /// A call from one host to another. `serve` begins when it arrives, with whatever process answers there
    /// then, also when the caller has given up meanwhile.
    pub async fn call<T, F>(
        &self,
        from: Place,
        to: Place,
        within: Duration,
        serve: impl FnOnce(E) -> F + Send + 'static,
    ) -> Result<T, CallError>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let net = self.clone();
        let far_end = tokio::spawn(async move {
            if !net.carry(from, to).await {
                return None;
            }
            let answer = match net.endpoint(to) {
                None => Err(CallError::Refused),
                Some(endpoint) => {
                    let (gone, pause) = (endpoint.gone().clone(), endpoint.pause().cloned());
                    let serving = serve(endpoint);
                    let served = match pause {
                        None => gone.run_until_cancelled_owned(serving).await,
                        Some(pause) => gone.run_until_cancelled_owned(pause.hold(serving)).await,
                    };
                    served.ok_or(CallError::Reset)
                }
            };
            net.carry(to, from).await.then_some(answer)
        });
        let answer = async {
            match far_end.await {
                Ok(Some(answer)) => answer,
                Ok(None) => pending().await,
                // It has panicked, which is noticed elsewhere.
                Err(_) => Err(CallError::Reset),
            }
        };
        tokio::time::timeout(within, answer).await.unwrap_or(Err(CallError::Silent))
    }
}
