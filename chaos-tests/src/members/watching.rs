//! Watchers: now at this member and now at that one, over connections that carry every event in its order or
//! break. What each was told goes into its log.

use std::time::Duration;

use raft_store::{Revision, WatchError, WatchEvent, Watcher};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::clients::Work;
use super::cluster::{Members, Served};
use super::sabotage::Saboteur;
use crate::dice::Dice;
use crate::history::watches::{Notebook, Told};
use crate::net::{Net, Place};

const ASK_WITHIN: Duration = Duration::from_secs(3);
/// A message that was lost is sent again after this long, as TCP does.
const SEND_AGAIN: Duration = Duration::from_millis(300);
/// Without an event or a bookmark for so long the connection is dead.
const QUIET_MAX: Duration = Duration::from_secs(8);
const LOOK_AGAIN: Duration = Duration::from_millis(150);

pub struct Watching {
    pub here: Place,
    pub members: Members,
    pub dice: Dice,
    pub saboteur: Saboteur,
    pub work: Work,
    pub notes: Notebook,
}

impl Watching {
    /// Never ends by itself.
    pub async fn run(self) {
        loop {
            if let Some(place) = self.dice.pick(&self.members.places()).copied() {
                match self.notes.seen() {
                    None => self.list(place).await,
                    Some(from) => self.watch(place, from).await,
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn list(&self, place: Place) {
        let asked = self.members.net.call(self.here, place, ASK_WITHIN, |there| async move {
            let view = there.store.linearizable().await.ok()?;
            let objects = view.iter().map(|(key, entry)| (key.clone(), entry.into())).collect();
            Some(Told::Listed { revision: view.revision, objects })
        });
        if let Ok(Some(listed)) = asked.await {
            self.notes.tell(listed);
        }
    }

    async fn watch(&self, place: Place, from: Revision) {
        let asked = self.members.net.call(self.here, place, ASK_WITHIN, move |there| async move {
            there.store.watch(from).map(|watch| (watch, there))
        });
        let (watch, there) = match asked.await {
            Ok(Ok(begun)) => begun,
            Ok(Err(WatchError::Compacted { .. })) => return self.notes.tell(Told::Compacted),
            _ => return,
        };
        self.notes.tell(Told::Resumed { from });
        let (sender, mut events) = mpsc::channel(64);
        let sending = send(self.members.net.clone(), place, self.here, watch, sender);
        let process = there.gone.clone();
        let sending = there.pause.hold(async move { process.run_until_cancelled_owned(sending).await });
        let _sending = AbortOnDropHandle::new(tokio::spawn(sending));
        let moves_on = tokio::time::sleep(self.dice.millis(300, 6000));
        tokio::pin!(moves_on);
        loop {
            let event = tokio::select! {
                biased;
                event = tokio::time::timeout(QUIET_MAX, events.recv()) => event,
                () = &mut moves_on, if !self.work.is_over() => return,
            };
            let Ok(Some(event)) = event else { return };
            let told = match event {
                WatchEvent::Changes { revision, events } => {
                    Told::Changes { revision, events: events.iter().map(Into::into).collect() }
                }
                WatchEvent::Bookmark { revision } => Told::Bookmark { revision },
            };
            self.saboteur.watch(told).into_iter().for_each(|told| self.notes.tell(told));
        }
    }
}

/// The member's end of the connection.
async fn send(net: Net<Served>, at: Place, to: Place, mut watch: Watcher, sender: mpsc::Sender<WatchEvent>) {
    while let Ok(event) = watch.next().await {
        while !net.carry(at, to).await {
            tokio::time::sleep(SEND_AGAIN).await;
        }
        if sender.send(event).await.is_err() {
            return;
        }
    }
}
