//! One round of the lane: commands decided one after the other on the applied world and on what the
//! round has changed so far. Pure but for its callers' channels.

use std::collections::HashMap;

use bytes::Bytes;
use pvc_model::change::Collection;
use pvc_model::event::happened;
use pvc_model::{Changes, Context, ObjectKey, Rejection, RejectionKind, Timestamp, World, decide};
use raft_store::{Outcome, Transaction, View};
use tokio::sync::oneshot;

use super::error::SubmitError;
use super::events::{Numbers, Recorded};
use super::lane::{Committed, Request};
use super::world::store_key;

/// Bytes of values in one entry. Below the store's own limit, which counts keys and names too.
const ROUND_BYTES_MAX: usize = 1 << 20;
/// Bytes of one value, and of one command's values together: the store's own limits.
const VALUE_BYTES_MAX: usize = 256 << 10;
const COMMAND_BYTES_MAX: usize = 900 << 10;
/// Objects that one command may change.
const COMMAND_OBJECTS_MAX: usize = 4096;

type Sender = oneshot::Sender<Result<Committed, SubmitError>>;

pub(super) enum Answer {
    /// By the outcome of the transaction with this index.
    Proposed(usize),
    Refused(Rejection),
    /// All was as it should be.
    Nothing {
        reply: Option<ObjectKey>,
    },
    /// Done before under the same request id.
    Recorded {
        revision: u64,
        reply: Option<ObjectKey>,
    },
}

pub(super) struct Round {
    pub base_revision: u64,
    pub now_ms: u64,
    pub transactions: Vec<Transaction>,
    pub answers: Vec<(Answer, Sender)>,
    /// The applied world with this round's changes in it.
    world: World,
    view: View,
    bytes: usize,
    by_request: HashMap<String, usize>,
    events: Numbers,
}

impl Round {
    pub fn new(world: World, view: View, now_ms: u64) -> Self {
        Round {
            base_revision: world.revision,
            now_ms,
            transactions: Vec::new(),
            answers: Vec::new(),
            world,
            view,
            bytes: 0,
            by_request: HashMap::new(),
            events: Numbers::default(),
        }
    }

    /// Decides one command; gives it back when the entry is full.
    pub fn take(&mut self, request: Request, seed: [u64; 2]) -> Option<Request> {
        if let Some(answer) = request.request_id.as_ref().and_then(|id| self.repeated(id)) {
            self.answers.push((answer, request.answer));
            return None;
        }
        let mut context = Context::new(Timestamp(self.now_ms), request.actor.clone(), seed);
        let decided = decide(&self.world, &request.command, &mut context)
            .and_then(|changes| Ok((puts(&changes)?, changes)));
        let (mut puts, changes) = match decided {
            Ok(decided) => decided,
            Err(rejection) => {
                self.answers.push((Answer::Refused(rejection), request.answer));
                return None;
            }
        };
        if changes.is_empty() {
            self.answers.push((Answer::Nothing { reply: changes.reply }, request.answer));
            return None;
        }
        let size: usize = puts.iter().map(|(_, value)| value.len()).sum();
        if !self.transactions.is_empty() && self.bytes + size > ROUND_BYTES_MAX {
            return Some(request);
        }
        let before = self.world.clone();
        // The entry's index is not known yet; any number but a stored one refuses a stale edit.
        self.world.apply(&changes, self.base_revision + 1);
        let mut deletes: Vec<_> = changes.deletes().iter().map(store_key).collect();
        let events = self.events(&before, &changes, &request.actor, size);
        self.bytes += size + events.bytes();
        puts.extend(events.puts);
        deletes.extend(events.deletes);
        let index = self.transactions.len();
        if let Some(id) = &request.request_id {
            self.by_request.insert(id.clone(), index);
        }
        self.transactions.push(Transaction {
            preconditions: Vec::new(),
            puts,
            deletes,
            request_id: request.request_id,
            reply: encode_reply(changes.reply.as_ref()),
            actor: request.actor,
            summary: changes.summary,
        });
        self.answers.push((Answer::Proposed(index), request.answer));
        None
    }

    /// What the decision made happen; nothing where it would make the command too large.
    fn events(&mut self, before: &World, changes: &Changes, actor: &str, size: usize) -> Recorded {
        let told = happened(before, &self.world, changes);
        let recorded = self.events.record(&self.view, &told, Timestamp(self.now_ms), actor);
        let objects = changes.puts().len() + changes.deletes().len();
        let fits = objects + recorded.operations() <= COMMAND_OBJECTS_MAX
            && size + recorded.bytes() <= COMMAND_BYTES_MAX;
        if !fits {
            tracing::warn!(what = changes.summary, "so much happens at once that its events are not kept");
            return Recorded::default();
        }
        self.events.accept(&recorded);
        recorded
    }

    /// What a request id was answered with: before, or in this very round.
    fn repeated(&self, request_id: &str) -> Option<Answer> {
        if let Some(index) = self.by_request.get(request_id) {
            return Some(Answer::Proposed(*index));
        }
        let (revision, reply) = self.view.outcome(request_id)?;
        Some(Answer::Recorded { revision, reply: decode_reply(&reply) })
    }

    /// Whether anybody's answer rests on the world alone.
    pub fn needs_proof(&self) -> bool {
        self.answers.iter().any(|(answer, _)| matches!(answer, Answer::Refused(_) | Answer::Nothing { .. }))
    }

    pub fn fail_all(self, error: &SubmitError) {
        for (_, sender) in self.answers {
            let _ = sender.send(Err(error.clone()));
        }
    }

    /// Those whose changes were proposed learn `error`; the others' changed nothing for certain.
    pub fn fail_proposed(self, error: &SubmitError) {
        for (answer, sender) in self.answers {
            let error = match answer {
                Answer::Proposed(_) => error.clone(),
                Answer::Refused(_) | Answer::Nothing { .. } | Answer::Recorded { .. } => {
                    SubmitError::NotLeader { leader: None }
                }
            };
            let _ = sender.send(Err(error));
        }
    }
}

/// Refuses what the store would not take.
pub(super) fn check_size(changes: &Changes) -> Result<(), Rejection> {
    puts(changes).map(drop)
}

fn puts(changes: &Changes) -> Result<Vec<(raft_store::Key, Bytes)>, Rejection> {
    let too_large = |subject: String, detail: String| {
        Rejection::new(RejectionKind::Exhausted, "too-large", subject, detail)
    };
    let all = || if changes.summary.is_empty() { "request" } else { &changes.summary }.to_owned();
    let count = changes.puts().len() + changes.deletes().len();
    if count > COMMAND_OBJECTS_MAX {
        let detail = format!("{count} objects would change at once; at most {COMMAND_OBJECTS_MAX} may");
        return Err(too_large(all(), detail));
    }
    let mut total = 0;
    let mut puts = Vec::with_capacity(changes.puts().len());
    for object in changes.puts() {
        let value = Bytes::from(pvc_proto::convert::encode_object(object));
        if value.len() > VALUE_BYTES_MAX {
            let detail = format!("it would have {} bytes; at most {VALUE_BYTES_MAX} are kept", value.len());
            return Err(too_large(object.key().to_string(), detail));
        }
        total += value.len();
        puts.push((store_key(&object.key()), value));
    }
    if total > COMMAND_BYTES_MAX {
        let detail = format!("{total} bytes would change at once; at most {COMMAND_BYTES_MAX} may");
        return Err(too_large(all(), detail));
    }
    Ok(puts)
}

/// The answer to one proposed command.
pub(super) fn outcome(outcome: Option<&Outcome>, world: &World) -> Result<Committed, SubmitError> {
    match outcome {
        Some(Outcome::Applied { revision, reply, .. }) => {
            Ok(Committed { revision: *revision, reply: decode_reply(reply), world: world.clone() })
        }
        Some(Outcome::Conflict { key, expected, actual }) => {
            let detail = format!("it was expected {expected} and is at revision {actual}");
            let kind = RejectionKind::RevisionMismatch;
            Err(SubmitError::Rejected(Rejection::new(kind, "changed-meanwhile", key.to_string(), detail)))
        }
        None => Err(SubmitError::Unknown("the store gave no outcome for it".to_owned())),
    }
}

/// "vms/web1"; empty: none.
fn encode_reply(reply: Option<&ObjectKey>) -> Bytes {
    reply.map(|key| Bytes::from(key.to_string())).unwrap_or_default()
}

fn decode_reply(reply: &[u8]) -> Option<ObjectKey> {
    let (collection, name) = std::str::from_utf8(reply).ok()?.split_once('/')?;
    Some(ObjectKey { collection: Collection::from_str_opt(collection)?, name: name.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_survive_the_store() {
        let key = ObjectKey { collection: Collection::Vms, name: "web1".parse().expect("a name") };
        assert_eq!(decode_reply(&encode_reply(Some(&key))), Some(key));
        assert_eq!(decode_reply(&encode_reply(None)), None);
        assert_eq!(decode_reply(b"nonsense/web1"), None);
    }
}
