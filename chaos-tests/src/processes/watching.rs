//! Watchers: now at this member and now at that one. What each was told goes into its log.

use std::sync::Arc;
use std::time::Duration;

use pvc_bare::client::{Client as Wire, ClientError};
use pvc_bare::talk::{Event, Name, Read, Value, Watch, Why};
use raft_store::Key;
use tokio::time::timeout;

use super::clients::name;
use super::members::{Members, listen};
use crate::dice::Dice;
use crate::history::record::{COLLECTION, Group, KEYS, value_in};
use crate::history::watches::{Change, Notebook, Objects, Stored, Told};
use crate::members::clients::Work;

const ASK_WITHIN: Duration = Duration::from_secs(3);
/// Without an event or a bookmark for so long the connection is dead.
const QUIET_MAX: Duration = Duration::from_secs(8);
/// Between two watches, at most: long enough that some find their revision compacted.
const REST_MAX_MS: u64 = 3000;

pub struct Watching {
    pub members: Arc<Members>,
    pub dice: Dice,
    pub work: Work,
    pub notes: Notebook,
}

fn stored(value: &Value) -> Stored {
    Stored { value: value_in(&value.value), revision: value.revision }
}

/// All objects, by one linearizable read. Groups that are begun meanwhile are not there yet.
pub async fn list(place: u8, groups: std::ops::Range<Group>) -> Result<(u64, Objects), ClientError> {
    let keys: Vec<Name> = groups.flat_map(|group| (0..KEYS).map(move |number| name(group, number))).collect();
    let asked = async {
        let mut wire = Wire::connect(&listen(place), ASK_WITHIN).await?;
        wire.read(Read { keys: keys.clone(), local: false }).await
    };
    let values = timeout(ASK_WITHIN * 2, asked).await.unwrap_or(Err(ClientError::Timeout))?;
    let there = keys.iter().zip(&values.values).filter(|(_, value)| value.revision > 0);
    let objects = there.filter_map(|(name, value)| Some((name.key().ok()?, stored(value))));
    Ok((values.revision, objects.collect()))
}

fn change(event: &Event) -> Option<Change> {
    let key: Key = event.key.as_ref()?.key().ok()?;
    Some(Change { key, old: None, new: event.new.as_ref().map(stored) })
}

impl Watching {
    /// Never ends by itself.
    pub async fn run(self) {
        loop {
            if let Some(place) = self.dice.pick(&self.members.places()).copied() {
                match self.notes.seen() {
                    None => {
                        // A round more than was begun: it may begin while the list is made.
                        let groups = self.work.groups();
                        let groups = 0..groups.end + (groups.end / 4).max(60);
                        if let Ok((revision, objects)) = list(place, groups).await {
                            self.notes.tell(Told::Listed { revision, objects });
                        }
                    }
                    Some(from) => self.watch(place, from).await,
                }
            }
            tokio::time::sleep(self.dice.millis(20, REST_MAX_MS)).await;
        }
    }

    async fn watch(&self, place: u8, from: u64) {
        let watch = Watch { collection: COLLECTION.to_owned(), prefix: String::new(), from: Some(from) };
        let begun = timeout(ASK_WITHIN, async {
            Wire::connect(&listen(place), ASK_WITHIN).await?.watch(watch).await
        });
        let Ok(Ok(mut watching)) = begun.await else { return };
        let mut resumed = false;
        let moves_on = tokio::time::sleep(self.dice.millis(500, 15_000));
        tokio::pin!(moves_on);
        loop {
            let event = tokio::select! {
                event = timeout(QUIET_MAX, watching.next()) => event,
                () = &mut moves_on, if !self.work.is_over() => return,
            };
            match event {
                // The first one says that the watch has begun.
                Ok(Ok(events)) if !resumed && events.events.is_empty() => {
                    resumed = true;
                    self.notes.tell(Told::Resumed { from: events.revision });
                }
                Ok(Ok(events)) if events.events.is_empty() => {
                    self.notes.tell(Told::Bookmark { revision: events.revision });
                }
                Ok(Ok(events)) => {
                    let revision = events.revision;
                    let events = events.events.iter().filter_map(change).collect();
                    self.notes.tell(Told::Changes { revision, events });
                }
                Ok(Err(ClientError::Failed(failed))) if failed.why() == Why::Compacted => {
                    return self.notes.tell(Told::Compacted);
                }
                _ => return,
            }
        }
    }
}
