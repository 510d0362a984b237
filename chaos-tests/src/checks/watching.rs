//! Somebody who watches all changes, now at this coordinator and now at that one, and must never miss one:
//! what they make of the changes is compared with what coordinators show.

use std::collections::BTreeMap;
use std::time::Duration;

use raft_store::{Entry, Key, WatchError, WatchEvent};

use super::replicas::{Replicas, digest_of};
use crate::dice::Dice;
use crate::net::{Endpoint, Net, Place};

const LOOK_AGAIN: Duration = Duration::from_millis(300);

pub struct Onlooker {
    pub net: Net,
    pub dice: Dice,
    pub replicas: Replicas,
    pub coordinators: Vec<Place>,
    /// The first change that it is told of is lost: a hole, made on purpose.
    pub deaf: bool,
}

/// All objects, as the changes tell them.
#[derive(Default)]
struct Seen {
    objects: BTreeMap<Key, Entry>,
    revision: u64,
}

impl Seen {
    fn digest(&self) -> u64 {
        self.objects.iter().fold(0, |sum, (key, entry)| sum ^ digest_of(key, entry))
    }
}

impl Onlooker {
    /// Never ends by itself.
    pub async fn run(mut self) {
        let mut seen: Option<Seen> = None;
        loop {
            if let Some(there) =
                self.dice.pick(&self.coordinators).and_then(|place| self.net.endpoint(*place))
            {
                let begun = seen.take().unwrap_or_else(|| list(&there));
                seen = self.watch(&there, begun).await;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Goes on until the watch ends. None: the changes in between are no longer kept.
    async fn watch(&mut self, there: &Endpoint, mut seen: Seen) -> Option<Seen> {
        let mut watch = match there.store.watch(seen.revision) {
            Ok(watch) => watch,
            Err(WatchError::Compacted { .. }) => return None,
            Err(_) => return Some(seen),
        };
        // Sooner or later somewhere else.
        let moves_on = tokio::time::sleep(self.dice.millis(500, 8000));
        tokio::pin!(moves_on);
        loop {
            let event = tokio::select! {
                biased;
                event = watch.next() => event,
                () = there.gone.cancelled() => return Some(seen),
                () = &mut moves_on => return Some(seen),
            };
            match event {
                Ok(WatchEvent::Changes { revision, .. }) if std::mem::take(&mut self.deaf) => {
                    seen.revision = revision;
                }
                Ok(WatchEvent::Changes { revision, events }) => {
                    for event in events.iter() {
                        match &event.new {
                            Some(entry) => drop(seen.objects.insert(event.key.clone(), entry.clone())),
                            None => drop(seen.objects.remove(&event.key)),
                        }
                    }
                    seen.revision = revision;
                    self.replicas.shows(Place::PEOPLE, revision, seen.digest());
                }
                Ok(WatchEvent::Bookmark { revision }) => seen.revision = revision,
                Err(_) => return Some(seen),
            }
        }
    }
}

fn list(there: &Endpoint) -> Seen {
    let view = there.store.view();
    let objects = view.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
    Seen { objects, revision: view.revision }
}
