//! Watching changes: a ring of the latest ones, and a bounded queue for each watcher. Publishing never
//! waits: a watcher that does not keep up is cut and lists again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::key::Key;
use crate::limits::Limits;
use crate::transaction::{Entry, Revision};

/// An idle watcher is told this often how far it has seen.
const BOOKMARK_EVERY: Duration = Duration::from_secs(5);

/// One key's net change in one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub key: Key,
    pub old: Option<Entry>,
    pub new: Option<Entry>,
}

/// All events of one revision, by key.
#[derive(Debug)]
pub(crate) struct Changes {
    pub revision: Revision,
    pub events: Arc<[Event]>,
    bytes: usize,
}

impl Changes {
    pub fn new(revision: Revision, events: Vec<Event>) -> Changes {
        let size = |entry: &Option<Entry>| entry.as_ref().map_or(0, |e| e.value.len());
        let bytes = events.iter().map(|e| size(&e.old) + size(&e.new) + e.key.name.len()).sum();
        Changes { revision, events: events.into(), bytes }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// A whole revision; its events are in order of their keys.
    Changes { revision: Revision, events: Arc<[Event]> },
    /// Nothing that was not delivered has happened up to here. Resume from here.
    Bookmark { revision: Revision },
}

impl WatchEvent {
    pub fn revision(&self) -> Revision {
        match self {
            WatchEvent::Changes { revision, .. } | WatchEvent::Bookmark { revision } => *revision,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// What happened since then is no longer kept.
    #[error("changes before revision {oldest} are compacted: list again and watch from there")]
    Compacted { oldest: Revision },
    #[error("this member has no contact with a leader")]
    NoLeader,
    #[error("{limit} watchers are already served")]
    TooMany { limit: usize },
    #[error("the store has stopped")]
    Stopped,
}

/// Why a watch ended. After each of them: list and watch again, here or elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    #[error("the watcher did not keep up")]
    TooSlow,
    #[error("this member lost contact with the leader")]
    LostLeader,
    /// This member was brought up to date by a snapshot, which holds no single changes.
    #[error("changes were skipped by a snapshot: list again")]
    Compacted,
    #[error("the store has stopped")]
    Stopped,
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watcher {
    hub: Arc<Hub>,
    /// What the ring held when the watch began.
    backlog: VecDeque<Arc<Changes>>,
    queue: mpsc::Receiver<Arc<Changes>>,
    end: Arc<Mutex<Option<WatchEnd>>>,
    seen: Revision,
}

impl Watcher {
    /// The next event in order. Safe to cancel. Once it has returned an end it returns it again.
    pub async fn next(&mut self) -> Result<WatchEvent, WatchEnd> {
        if let Some(changes) = self.backlog.pop_front() {
            return Ok(self.deliver(&changes));
        }
        loop {
            match tokio::time::timeout(BOOKMARK_EVERY, self.queue.recv()).await {
                Ok(Some(changes)) => return Ok(self.deliver(&changes)),
                Ok(None) => return Err(self.end.lock().unwrap_or(WatchEnd::Stopped)),
                Err(_) => {
                    // Under the hub's lock nothing can be published between the look at the queue
                    // and the look at the revision.
                    let inner = self.hub.inner.lock();
                    if let Ok(changes) = self.queue.try_recv() {
                        drop(inner);
                        return Ok(self.deliver(&changes));
                    }
                    if self.end.lock().is_some() {
                        continue;
                    }
                    self.seen = self.seen.max(inner.revision);
                    return Ok(WatchEvent::Bookmark { revision: self.seen });
                }
            }
        }
    }

    fn deliver(&mut self, changes: &Changes) -> WatchEvent {
        self.seen = changes.revision;
        WatchEvent::Changes { revision: changes.revision, events: changes.events.clone() }
    }
}

#[derive(Debug)]
struct Subscriber {
    from: Revision,
    queue: mpsc::Sender<Arc<Changes>>,
    end: Arc<Mutex<Option<WatchEnd>>>,
}

impl Subscriber {
    fn close(self, why: WatchEnd) {
        // Set before the sender is dropped, so that the receiver finds it when the queue runs dry.
        *self.end.lock() = Some(why);
    }
}

#[derive(Debug)]
struct Inner {
    ring: VecDeque<Arc<Changes>>,
    ring_events: usize,
    ring_bytes: usize,
    /// Every change after this revision is in the ring.
    floor: Revision,
    revision: Revision,
    subscribers: Vec<Subscriber>,
    /// Why no watch is served now.
    closed: Option<WatchEnd>,
}

/// Where `apply` publishes and watchers subscribe.
#[derive(Debug)]
pub(crate) struct Hub {
    limits: Limits,
    inner: Mutex<Inner>,
}

impl Hub {
    pub fn new(limits: Limits, revision: Revision) -> Arc<Hub> {
        let inner = Inner {
            ring: VecDeque::new(),
            ring_events: 0,
            ring_bytes: 0,
            floor: revision,
            revision,
            subscribers: Vec::new(),
            closed: None,
        };
        Arc::new(Hub { limits, inner: Mutex::new(inner) })
    }

    pub fn watch(self: &Arc<Self>, from: Revision) -> Result<Watcher, WatchError> {
        let mut inner = self.inner.lock();
        match inner.closed {
            Some(WatchEnd::Stopped) => return Err(WatchError::Stopped),
            Some(_) => return Err(WatchError::NoLeader),
            None => {}
        }
        if from < inner.floor {
            return Err(WatchError::Compacted { oldest: inner.floor });
        }
        inner.subscribers.retain(|s| !s.queue.is_closed());
        if inner.subscribers.len() >= self.limits.watchers {
            return Err(WatchError::TooMany { limit: self.limits.watchers });
        }
        let start = inner.ring.partition_point(|changes| changes.revision <= from);
        let backlog = inner.ring.range(start..).cloned().collect();
        let (sender, queue) = mpsc::channel(self.limits.watcher_queue.max(1));
        let end = Arc::new(Mutex::new(None));
        inner.subscribers.push(Subscriber { from, queue: sender, end: end.clone() });
        Ok(Watcher { hub: self.clone(), backlog, queue, end, seen: from })
    }

    /// Hands one applied entry to all watchers; `None` only moves the revision on.
    pub fn publish(&self, revision: Revision, changes: Option<Changes>) {
        let mut inner = self.inner.lock();
        inner.revision = revision;
        let Some(changes) = changes else { return };
        let changes = Arc::new(changes);
        inner.keep(changes.clone(), &self.limits);
        let mut i = 0;
        while i < inner.subscribers.len() {
            let subscriber = &inner.subscribers[i];
            if subscriber.from >= revision {
                i += 1;
                continue;
            }
            match subscriber.queue.try_send(changes.clone()) {
                Ok(()) => i += 1,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    inner.subscribers.swap_remove(i).close(WatchEnd::TooSlow);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    inner.subscribers.swap_remove(i);
                }
            }
        }
    }

    /// A snapshot was installed: nothing before it can be told any more.
    pub fn reset(&self, revision: Revision) {
        let mut inner = self.inner.lock();
        inner.ring.clear();
        (inner.ring_events, inner.ring_bytes) = (0, 0);
        (inner.floor, inner.revision) = (revision, revision);
        inner.end_all(WatchEnd::Compacted);
    }

    /// Ends all watches and refuses new ones until `reopen`.
    pub fn close(&self, why: WatchEnd) {
        let mut inner = self.inner.lock();
        if inner.closed != Some(WatchEnd::Stopped) {
            inner.closed = Some(why);
        }
        inner.end_all(why);
    }

    pub fn reopen(&self) {
        let mut inner = self.inner.lock();
        if inner.closed != Some(WatchEnd::Stopped) {
            inner.closed = None;
        }
    }
}

impl Inner {
    fn keep(&mut self, changes: Arc<Changes>, limits: &Limits) {
        self.ring_events += changes.events.len();
        self.ring_bytes += changes.bytes;
        self.ring.push_back(changes);
        while self.ring_events > limits.ring_events || self.ring_bytes > limits.ring_bytes {
            let Some(oldest) = self.ring.pop_front() else {
                break;
            };
            self.ring_events -= oldest.events.len();
            self.ring_bytes -= oldest.bytes;
            self.floor = oldest.revision;
        }
    }

    fn end_all(&mut self, why: WatchEnd) {
        for subscriber in self.subscribers.drain(..) {
            subscriber.close(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(revision: Revision) -> Option<Changes> {
        let entry = Entry { value: "v".into(), create_revision: revision, revision };
        let key = Key::new("vm", &format!("n{revision}")).unwrap();
        Some(Changes::new(revision, vec![Event { key, old: None, new: Some(entry) }]))
    }

    fn hub(limits: Limits) -> Arc<Hub> {
        Hub::new(limits, 10)
    }

    #[tokio::test(start_paused = true)]
    async fn resumes_from_the_ring_and_then_follows() {
        let hub = hub(Limits::default());
        hub.publish(11, changes(11));
        hub.publish(12, None);
        hub.publish(13, changes(13));
        let mut watcher = hub.watch(11).unwrap();
        hub.publish(14, changes(14));
        for expected in [13, 14] {
            assert_eq!(watcher.next().await.unwrap().revision(), expected);
        }
        hub.publish(15, None);
        assert_eq!(watcher.next().await, Ok(WatchEvent::Bookmark { revision: 15 }));
        hub.close(WatchEnd::LostLeader);
        assert_eq!(watcher.next().await, Err(WatchEnd::LostLeader));
        assert_eq!(watcher.next().await, Err(WatchEnd::LostLeader));
        assert!(matches!(hub.watch(15), Err(WatchError::NoLeader)));
        hub.reopen();
        assert!(hub.watch(15).is_ok());
    }

    #[tokio::test]
    async fn too_old_is_compacted() {
        let hub = hub(Limits { ring_events: 2, ..Limits::default() });
        assert_eq!(hub.watch(9).unwrap_err(), WatchError::Compacted { oldest: 10 });
        for revision in 11..=14 {
            hub.publish(revision, changes(revision));
        }
        assert_eq!(hub.watch(11).unwrap_err(), WatchError::Compacted { oldest: 12 });
        let mut watcher = hub.watch(12).unwrap();
        assert_eq!(watcher.next().await.unwrap().revision(), 13);
    }

    #[tokio::test]
    async fn a_slow_watcher_is_cut_and_the_others_go_on() {
        let hub = hub(Limits { watcher_queue: 2, ..Limits::default() });
        let mut slow = hub.watch(10).unwrap();
        hub.publish(11, changes(11));
        hub.publish(12, changes(12));
        let mut quick = hub.watch(12).unwrap();
        hub.publish(13, changes(13));
        assert_eq!(quick.next().await.unwrap().revision(), 13);
        assert_eq!(slow.next().await.unwrap().revision(), 11);
        assert_eq!(slow.next().await.unwrap().revision(), 12);
        assert_eq!(slow.next().await, Err(WatchEnd::TooSlow));
    }

    #[tokio::test]
    async fn a_watch_from_the_future_waits_for_it() {
        let hub = hub(Limits::default());
        let mut ahead = hub.watch(12).unwrap();
        hub.publish(12, changes(12));
        hub.publish(13, changes(13));
        assert_eq!(ahead.next().await.unwrap().revision(), 13);
    }
}
