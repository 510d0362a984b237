//! Asking the coordinators as a client of the real ones does: the leader as it was last told, then what
//! refuses names, then everybody in turn, with pauses between the rounds, until the time is up.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_coordinator::core::SubmitError;
use pvc_model::Rejection;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::net::{CallError, Endpoint, Net, Place};

const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why nobody did what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// `sure`: nobody else who was asked can have taken it, or take it yet.
    Rejected { rejection: Rejection, sure: bool },
    /// Certainly not done: nobody who was reached took it.
    NotDone(String),
    /// Done, or not, or yet to be done.
    Unknown(String),
}

/// One asker's memory of the coordinators. Clones share it.
#[derive(Clone)]
pub struct Asking {
    net: Net,
    here: Place,
    coordinators: Vec<Place>,
    dice: Dice,
    leader: Arc<Mutex<Option<Place>>>,
}

impl Asking {
    pub fn new(net: Net, here: Place, coordinators: Vec<Place>, dice: Dice) -> Asking {
        Asking { net, here, coordinators, dice, leader: Arc::default() }
    }

    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Coordinators, the likeliest leader first; those behind it begin anywhere.
    fn order(&self) -> Vec<Place> {
        let first = *self.leader.lock();
        let mut rest: Vec<Place> = self.coordinators.clone();
        let turn = self.dice.roll(rest.len() as u64) as usize;
        rest.rotate_left(turn);
        rest.retain(|place| Some(*place) != first);
        first.into_iter().chain(rest).collect()
    }

    /// Any coordinator, another one each time.
    pub fn anyone(&self) -> Place {
        self.dice.pick(&self.coordinators).copied().unwrap_or(Place::PEOPLE)
    }

    /// Asks until someone answers for good, or `within` is over. One that is silent is given `patience`.
    pub async fn leader<T, F>(
        &self,
        within: Duration,
        patience: Duration,
        serve: impl Fn(Endpoint) -> F + Send + Sync + 'static,
    ) -> Result<T, AskError>
    where
        F: Future<Output = Result<T, SubmitError>> + Send + 'static,
        T: Send + 'static,
    {
        let (until, serve) = (Instant::now() + within, Arc::new(serve));
        let mut taken = false;
        let mut last = "nobody was asked in time".to_owned();
        let mut pause = PAUSE_FIRST;
        loop {
            let mut tried = Vec::new();
            while let Some(place) = self.order().into_iter().find(|place| !tried.contains(place)) {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(given_up(taken, last));
                }
                tried.push(place);
                let serve = Arc::clone(&serve);
                let call = self.net.call(self.here, place, patience.min(left), move |there| serve(there));
                let answer = call.await;
                last = match answer {
                    Ok(Ok(done)) => {
                        *self.leader.lock() = Some(place);
                        return Ok(done);
                    }
                    Ok(Err(SubmitError::Rejected(rejection))) => {
                        return Err(AskError::Rejected { rejection, sure: !taken });
                    }
                    Ok(Err(error)) => {
                        taken |= matches!(error, SubmitError::Unknown(_));
                        let hint = match &error {
                            SubmitError::NotLeader { leader } => leader.as_ref().and_then(Place::of_node),
                            _ => None,
                        };
                        *self.leader.lock() = hint.filter(|hint| *hint != place);
                        error.to_string()
                    }
                    Err(error) => {
                        taken |= error != CallError::Refused;
                        self.leader.lock().take_if(|leader| *leader == place);
                        format!("{place}: {error}")
                    }
                };
            }
            let left = until.saturating_duration_since(Instant::now());
            if left <= pause {
                return Err(given_up(taken, last));
            }
            tokio::time::sleep(pause / 2 + self.dice.millis(0, pause.as_millis() as u64 / 2)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

fn given_up(taken: bool, why: String) -> AskError {
    if taken { AskError::Unknown(why) } else { AskError::NotDone(why) }
}
