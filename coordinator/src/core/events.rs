//! The store's events: beside the objects, not among them. Each goes into the entry that made it happen, and costs no
//! entry of its own. Where an entry would become too large with them they are left out: what happens is worth more
//! than its telling.

use std::collections::HashMap;

use bytes::Bytes;
use pvc_model::event::{Event, KEPT, Told};
use pvc_model::{Timestamp, Uid};
use pvc_proto::convert::{decode_event, encode_event};
use pvc_proto::v1;
use raft_store::{Key, View};

const COLLECTION: &str = "events";

/// Whether the store keeps an event under this key, and no object.
pub fn is_event(key: &Key) -> bool {
    &*key.collection == COLLECTION
}

/// An object's events, newest first.
pub fn events_of(view: &View, uid: Uid) -> Vec<v1::Event> {
    let prefix = prefix(uid);
    let mut found: Vec<v1::Event> = view
        .list(COLLECTION, &prefix)
        .filter_map(|(key, entry)| {
            let event = decode_event(&entry.value);
            event.inspect_err(|error| tracing::error!(%key, %error, "an event was left out")).ok()
        })
        .collect();
    found.reverse();
    found
}

/// The events of one round of decisions.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The number of the newest event, of objects to which something has happened in this round.
    newest: HashMap<Uid, u64>,
}

/// What one decision adds to the store.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub puts: Vec<(Key, Bytes)>,
    pub deletes: Vec<Key>,
    newest: Vec<(Uid, u64)>,
}

impl Recorded {
    pub fn bytes(&self) -> usize {
        self.puts.iter().map(|(_, value)| value.len()).sum()
    }

    pub fn operations(&self) -> usize {
        self.puts.len() + self.deletes.len()
    }
}

impl Numbers {
    pub fn record(&self, view: &View, told: &[Told], at: Timestamp, actor: &str) -> Recorded {
        let mut recorded = Recorded::default();
        for told in told {
            let newest = self.newest(view, told.uid);
            let mut number = newest;
            for said in &told.said {
                number += 1;
                let (topic, text) = (said.topic.to_owned(), said.text.clone());
                let event = Event { at, topic, text, actor: actor.to_owned() };
                recorded.puts.push((key(told.uid, number), Bytes::from(encode_event(&event))));
            }
            let kept = if told.gone { 0 } else { KEPT as u64 };
            let oldest = (newest + 1).saturating_sub(KEPT as u64).max(1);
            let too_old = oldest..=number.saturating_sub(kept).min(newest);
            recorded.deletes.extend(too_old.map(|number| key(told.uid, number)));
            recorded.newest.push((told.uid, number));
        }
        recorded
    }

    /// They are in the round's entry.
    pub fn accept(&mut self, recorded: &Recorded) {
        self.newest.extend(recorded.newest.iter().copied());
    }

    fn newest(&self, view: &View, uid: Uid) -> u64 {
        if let Some(newest) = self.newest.get(&uid) {
            return *newest;
        }
        let prefix = prefix(uid);
        let last = view.list(COLLECTION, &prefix).last();
        let number = last.and_then(|(key, _)| u64::from_str_radix(key.name.rsplit_once('.')?.1, 16).ok());
        number.unwrap_or(0)
    }
}

fn prefix(uid: Uid) -> String {
    format!("{uid}.")
}

/// In the order of their numbers, for a longer time than a cluster lives.
fn key(uid: Uid, number: u64) -> Key {
    Key { collection: COLLECTION.into(), name: format!("{}{number:012x}", prefix(uid)).into() }
}
