//! Clients: they read at any member, write at the leader, and repeat a write that has no answer under the same
//! request id, elsewhere if need be.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pvc_bare::client::{Client as Wire, ClientError};
use pvc_bare::talk::{Name, Put, Read, Value, When, Why, Write as Writing, Written};
use tokio::time::{Instant, timeout};

use super::members::{Members, listen, place_at};
use crate::dice::Dice;
use crate::history::record::{
    Answer, Contents, Expect, Group, KEYS, Look, OpId, Recorder, Seen, What, Write, key, value_in,
};
use crate::members::clients::{REPEATABLE_MAX, REPEATED_PER_MILLE, Work, next};

/// After this long a client gives up.
const PATIENCE: Duration = Duration::from_secs(8);
const TRY_WITHIN: Duration = Duration::from_millis(1500);
const CONNECT_WITHIN: Duration = Duration::from_millis(500);
const AGAIN_AFTER_MS: u64 = 100;

pub struct Client {
    pub number: u32,
    pub members: Arc<Members>,
    pub recorder: Recorder,
    pub dice: Dice,
    pub work: Work,
    pub rest_max_ms: u64,
    pub leader: Option<u8>,
    pub connections: BTreeMap<u8, Wire>,
    pub known: BTreeMap<Group, Contents>,
    /// Acknowledged writes, to be repeated now and then.
    pub done: VecDeque<(OpId, Writing)>,
}

pub fn name(group: Group, number: usize) -> Name {
    Name::from(&key(group, number))
}

fn seen(value: &Value) -> Option<Seen> {
    (value.revision > 0).then_some(Seen { value: value_in(&value.value)?, revision: value.revision })
}

fn writing(id: OpId, group: Group, write: &Write) -> Writing {
    let when = write.expects.iter().map(|(number, expect)| When {
        key: Some(name(group, *number)),
        revision: match expect {
            Expect::Is(seen) => seen.revision,
            Expect::Absent | Expect::Exists => 0,
        },
    });
    let value = bytes::Bytes::from(id.to_string());
    Writing {
        request_id: Some(format!("request-{id}")),
        when: when.collect(),
        puts: write
            .puts
            .iter()
            .map(|number| Put { key: Some(name(group, *number)), value: value.clone() })
            .collect(),
        deletes: write.deletes.iter().map(|number| name(group, *number)).collect(),
    }
}

impl Client {
    pub async fn run(mut self) {
        while !self.work.is_over() {
            if self.dice.per_mille(REPEATED_PER_MILLE) {
                self.repeat().await;
            }
            let group = self.work.group(&self.dice);
            let known = self.known.get(&group).copied().unwrap_or_default();
            match next(&self.dice, &known) {
                What::Read => self.read(group).await,
                // A precondition that this way in does not have.
                What::Write(write) if write.expects.iter().any(|(_, expect)| *expect == Expect::Exists) => {}
                What::Write(write) => self.write(group, write).await,
            }
            tokio::time::sleep(self.dice.millis(0, self.rest_max_ms)).await;
        }
    }

    fn anybody(&self) -> u8 {
        self.dice.pick(&self.members.places()).copied().unwrap_or(1)
    }

    /// One call over the connection to that machine, which is made if there is none and dropped if it fails. An
    /// error says whether the call can have arrived.
    async fn call<T>(
        &mut self,
        at: u8,
        within: Duration,
        call: impl AsyncFnOnce(&mut Wire) -> Result<T, ClientError>,
    ) -> Result<T, (ClientError, bool)> {
        let mut wire = match self.connections.remove(&at) {
            Some(wire) => wire,
            None => Wire::connect(&listen(at), CONNECT_WITHIN).await.map_err(|error| (error, false))?,
        };
        match timeout(within, call(&mut wire)).await {
            Ok(Ok(answer)) => {
                self.connections.insert(at, wire);
                Ok(answer)
            }
            Ok(Err(ClientError::Failed(failed))) => {
                self.connections.insert(at, wire);
                Err((ClientError::Failed(failed), true))
            }
            Ok(Err(error)) => Err((error, true)),
            Err(_) => Err((ClientError::Timeout, true)),
        }
    }

    async fn read(&mut self, group: Group) {
        let local = self.dice.per_mille(200);
        let id = (!local).then(|| self.recorder.call(self.number, group, What::Read));
        let read = Read { keys: (0..KEYS).map(|number| name(group, number)).collect(), local };
        let at = self.anybody();
        let asked = self.call(at, PATIENCE, async |wire| wire.read(read).await).await;
        let Ok(values) = asked else { return };
        let contents = std::array::from_fn(|number| values.values.get(number).and_then(seen));
        match id {
            None => self.recorder.look(Look { group, revision: values.revision, contents }),
            Some(id) => {
                self.known.insert(group, contents);
                self.recorder.end(id, Answer::Read { revision: values.revision, contents });
            }
        }
    }

    async fn write(&mut self, group: Group, write: Write) {
        let id = self.recorder.call(self.number, group, What::Write(write.clone()));
        let writing = writing(id, group, &write);
        let (written, taken) = self.propose(&writing).await;
        let answer = match written {
            Some(Written { conflict: false, revision, .. }) => Answer::Applied { revision },
            Some(Written { revision: actual, .. }) => {
                let key = (write.expects.len() == 1).then(|| write.expects[0].0);
                Answer::Refused { key, actual, sure: !taken || write.stays_refused(key) }
            }
            None if taken => Answer::Open,
            None => Answer::NotDone,
        };
        self.recorder.end(id, answer);
        if matches!(answer, Answer::Applied { .. }) {
            self.done.push_front((id, writing));
            self.done.truncate(REPEATABLE_MAX);
        }
    }

    /// Asks for what was done: it must be told as it was the first time, and not be done again.
    async fn repeat(&mut self) {
        let turn = self.dice.roll(self.done.len() as u64) as usize;
        let Some((id, writing)) = self.done.get(turn).cloned() else { return };
        if let (Some(written), _) = self.propose(&writing).await {
            self.recorder.repeat(id, (!written.conflict).then_some(written.revision));
        }
    }

    /// What became of it, and whether an earlier call of it may still be under way.
    async fn propose(&mut self, writing: &Writing) -> (Option<Written>, bool) {
        let until = Instant::now() + PATIENCE;
        let mut taken = false;
        while Instant::now() < until {
            let at = self.leader.unwrap_or_else(|| self.anybody());
            let writing = writing.clone();
            self.leader = match self.call(at, TRY_WITHIN, async |wire| wire.write(writing).await).await {
                Ok(written) => {
                    self.leader = Some(at);
                    return (Some(written), taken);
                }
                Err((ClientError::Failed(failed), _)) if failed.why() != Why::Unknown => {
                    place_at(&failed.leader).filter(|place| *place != at)
                }
                Err((_, arrived)) => {
                    taken |= arrived;
                    None
                }
            };
            tokio::time::sleep(self.dice.millis(5, AGAIN_AFTER_MS)).await;
        }
        (None, taken)
    }
}
