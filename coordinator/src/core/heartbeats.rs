//! What the leader has heard from nodes in its term: kept in memory, never stored. When a node was
//! last heard, its load, and how far its long work has come.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_model::Name;
use pvc_model::health::StoreHealth;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A node's sign of life.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// Rises with each start of the node's daemon.
    pub session: u64,
    /// Rises by one with each heartbeat of a session.
    pub sequence: u64,
    pub load: Load,
    pub progress: Vec<Progress>,
    /// On a coordinator: its store's health.
    pub store: Option<StoreHealth>,
}

/// How busy a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// 1-minute load average.
    pub load: f64,
    /// MiB.
    pub memory_used_mib: u64,
    /// Guests running now.
    pub vms_running: u32,
}

/// How far a task's present stage has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub task: Name,
    /// 0 to 100.
    pub percent: u32,
    /// What the figures are: "83 of 128 MiB".
    pub text: String,
}

/// What an acknowledged heartbeat tells the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAck {
    pub sequence: u64,
    pub term: u64,
    /// The node may not rely on a view of the cluster that is older than this for long.
    pub revision: u64,
    /// A node that has heard a higher one does not listen to a lower one.
    pub incarnation: u64,
}

#[derive(Debug)]
struct Heard {
    at: Instant,
    /// Heard since then without a gap.
    unbroken: Instant,
    session: u64,
    sequence: u64,
    load: Load,
    store: Option<StoreHealth>,
}

#[derive(Debug)]
struct Inner {
    armed: Instant,
    heard: HashMap<Name, Heard>,
    /// When the last heartbeat was heard that may have been acknowledged in this term.
    acknowledged: HashMap<Name, Instant>,
    /// When this term began; a process that stood still begins none.
    term_began: Instant,
    progress: HashMap<Name, (Name, Progress)>,
    /// A node that gets no acknowledgement: another one becomes the primary in its place.
    withheld: Option<Name>,
}

/// The leader's memory of heartbeats. Emptied with each new term.
#[derive(Debug)]
pub struct Heartbeats {
    inner: Mutex<Inner>,
    /// Told when a node was heard for the first time in this term, or after a silence.
    pub(super) noticed: Notify,
    noticed_by_all: watch::Sender<()>,
    progress_changed: watch::Sender<()>,
}

impl Default for Heartbeats {
    fn default() -> Self {
        let now = Instant::now();
        let inner = Inner {
            armed: now,
            heard: HashMap::new(),
            acknowledged: HashMap::new(),
            term_began: now,
            progress: HashMap::new(),
            withheld: None,
        };
        Heartbeats {
            inner: Mutex::new(inner),
            noticed: Notify::new(),
            noticed_by_all: watch::Sender::new(()),
            progress_changed: watch::Sender::new(()),
        }
    }
}

impl Heartbeats {
    /// A new term: every node has its full grace from now on.
    pub fn arm(&self) {
        let mut inner = self.inner.lock();
        inner.armed = Instant::now();
        inner.term_began = inner.armed;
        inner.heard.clear();
        inner.acknowledged.clear();
        inner.progress.clear();
        inner.withheld = None;
    }

    /// This process stood still: nobody else is to blame. Every node has its full grace from now on,
    /// and what was heard stays heard.
    pub fn rearm(&self) {
        self.inner.lock().armed = Instant::now();
    }

    /// A heartbeat has come in that may yet be acknowledged: it counts as acknowledged from now on.
    pub fn may_be_acknowledged(&self, node: &Name) {
        self.inner.lock().acknowledged.insert(node.clone(), Instant::now());
    }

    /// Whether it may be acknowledged, as far as the node itself goes.
    pub fn hear(&self, node: &Name, beat: Heartbeat) -> bool {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let Heartbeat { session, sequence, load, progress, store } = beat;
        let news = match inner.heard.get_mut(node) {
            // A late one of before says nothing new about now.
            Some(known) if (session, sequence) <= (known.session, known.sequence) => {
                return inner.withheld.as_ref() != Some(node);
            }
            Some(known) => {
                let silent = now - known.at > Duration::from_secs(1);
                let unbroken = if silent { now } else { known.unbroken };
                *known = Heard { at: now, unbroken, session, sequence, load, store };
                silent
            }
            None => {
                let heard = Heard { at: now, unbroken: now, session, sequence, load, store };
                inner.heard.insert(node.clone(), heard);
                true
            }
        };
        let moved = inner.take_progress(node, progress);
        let acknowledged = inner.withheld.as_ref() != Some(node);
        drop(inner);
        if news {
            self.noticed.notify_one();
            self.noticed_by_all.send_replace(());
        }
        if moved {
            self.progress_changed.send_replace(());
        }
        acknowledged
    }

    /// From now on the node gets no acknowledgement, if it was silent for so long: no lease of it can come alive
    /// again meanwhile. One node at a time.
    pub fn withhold(&self, node: &Name, silent_for: Duration) -> bool {
        let mut inner = self.inner.lock();
        if inner.withheld.as_ref() == Some(node) {
            return true;
        }
        let silent = inner.silence_of(node) >= silent_for;
        if silent {
            inner.withheld = Some(node.clone());
        }
        silent
    }

    /// Whoever got no acknowledgement gets them again.
    pub fn acknowledge_all(&self) {
        self.inner.lock().withheld = None;
    }

    /// For how long the node has been heard without a gap.
    pub fn unbroken(&self, node: &Name) -> Duration {
        self.inner.lock().heard.get(node).map_or(Duration::ZERO, |heard| heard.at - heard.unbroken)
    }

    /// Since when nothing was heard; the start of the term where nothing ever was.
    pub fn silence_of(&self, node: &Name) -> Duration {
        self.inner.lock().silence_of(node)
    }

    /// How long ago the last heartbeat of the node was heard that was acknowledged. One that was acknowledged by a leader
    /// before this term was heard by `overlap` after its beginning at the latest.
    pub fn unacknowledged_for(&self, node: &Name, overlap: Duration) -> Duration {
        let inner = self.inner.lock();
        let of_before = inner.term_began + overlap;
        let last = inner.acknowledged.get(node).map_or(of_before, |heard| (*heard).max(of_before));
        Instant::now().saturating_duration_since(last)
    }

    /// Resolves when the node has been silent for no longer than this.
    pub async fn is_heard(&self, node: &Name, grace: Duration) {
        let mut noticed = self.noticed_by_all.subscribe();
        while self.silence_of(node) > grace {
            if noticed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Whether the node was heard in this term, and how long ago.
    pub fn heard(&self, node: &Name) -> Option<Duration> {
        Some(self.inner.lock().heard.get(node)?.at.elapsed())
    }

    /// The node's load and the age of the heartbeat that told it; None on a coordinator that does not lead.
    pub fn load(&self, node: &Name) -> Option<(Load, Duration)> {
        let inner = self.inner.lock();
        let heard = inner.heard.get(node)?;
        Some((heard.load, heard.at.elapsed()))
    }

    /// Whether it was heard for long enough to have looked at its guests, and says that none runs.
    pub fn is_empty(&self, node: &Name, beats: u64) -> bool {
        let inner = self.inner.lock();
        inner.heard.get(node).is_some_and(|heard| heard.sequence >= beats && heard.load.vms_running == 0)
    }

    /// What a coordinator last told of its store in this term, and how long ago.
    pub fn store(&self, node: &Name) -> Option<(StoreHealth, Duration)> {
        let inner = self.inner.lock();
        let heard = inner.heard.get(node)?;
        Some((heard.store.clone()?, heard.at.elapsed()))
    }

    pub fn progress(&self, task: &Name) -> Option<Progress> {
        Some(self.inner.lock().progress.get(task)?.1.clone())
    }

    /// Changes with each progress of any task.
    pub fn progress_changes(&self) -> watch::Receiver<()> {
        self.progress_changed.subscribe()
    }

    /// Drops nodes that are no longer there.
    pub fn retain(&self, exists: impl Fn(&Name) -> bool) {
        let mut inner = self.inner.lock();
        inner.heard.retain(|node, _| exists(node));
        inner.acknowledged.retain(|node, _| exists(node));
        inner.progress.retain(|_, (node, _)| exists(node));
    }
}

impl Inner {
    fn silence_of(&self, node: &Name) -> Duration {
        let last = self.heard.get(node).map_or(self.armed, |heard| heard.at.max(self.armed));
        last.elapsed()
    }

    /// A heartbeat carries all of its node's work: what it no longer names is over.
    fn take_progress(&mut self, node: &Name, progress: Vec<Progress>) -> bool {
        let mut moved = false;
        self.progress.retain(|task, (by, _)| by != node || progress.iter().any(|p| p.task == *task));
        for item in progress {
            let known = self.progress.get(&item.task);
            moved |= known.is_none_or(|(_, known)| *known != item);
            self.progress.insert(item.task.clone(), (node.clone(), item));
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(session: u64, sequence: u64, percent: Option<u32>) -> Heartbeat {
        let task: Name = "0000000a".parse().expect("a name");
        let progress = percent.map(|percent| Progress { task, percent, text: String::new() });
        Heartbeat {
            session,
            sequence,
            load: Load::default(),
            progress: progress.into_iter().collect(),
            store: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_heartbeat_does_not_prove_life() {
        let hearts = Heartbeats::default();
        let node: Name = "hv1".parse().expect("a name");
        hearts.hear(&node, beat(1, 2, None));
        tokio::time::advance(Duration::from_secs(2)).await;
        hearts.hear(&node, beat(1, 1, None));
        assert_eq!(hearts.silence_of(&node), Duration::from_secs(2));
        hearts.hear(&node, beat(2, 1, None));
        assert_eq!(hearts.silence_of(&node), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_goes_with_the_heartbeat_that_no_longer_names_it() {
        let hearts = Heartbeats::default();
        let node: Name = "hv1".parse().expect("a name");
        let task: Name = "0000000a".parse().expect("a name");
        let mut changes = hearts.progress_changes();
        hearts.hear(&node, beat(1, 1, Some(40)));
        assert_eq!(hearts.progress(&task).map(|p| p.percent), Some(40));
        assert!(changes.has_changed().expect("open"));
        changes.mark_unchanged();
        hearts.hear(&node, beat(1, 2, Some(40)));
        assert!(!changes.has_changed().expect("open"), "nothing has moved");
        hearts.hear(&node, beat(1, 3, None));
        assert_eq!(hearts.progress(&task), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_to_lose_a_role_gets_no_acknowledgement_meanwhile() {
        let hearts = Heartbeats::default();
        let node: Name = "hv1".parse().expect("a name");
        let lease = Duration::from_millis(2500);
        assert!(hearts.hear(&node, beat(1, 1, None)));
        tokio::time::advance(Duration::from_millis(2499)).await;
        assert!(!hearts.withhold(&node, lease), "its lease may be alive");
        assert!(hearts.hear(&node, beat(1, 2, None)));
        tokio::time::advance(lease).await;
        assert!(hearts.withhold(&node, lease));
        assert!(!hearts.hear(&node, beat(1, 3, None)) && !hearts.hear(&node, beat(1, 3, None)));
        assert!(hearts.withhold(&node, lease), "until it is let go, though it is heard");
        assert!(hearts.hear(&"hv2".parse().expect("a name"), beat(1, 1, None)));
        hearts.acknowledge_all();
        assert!(hearts.hear(&node, beat(1, 4, None)));
        tokio::time::advance(lease).await;
        assert!(hearts.withhold(&node, lease));
        hearts.arm();
        assert!(hearts.hear(&node, beat(1, 5, None)), "a new term begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_leader_before_has_acknowledged_is_reckoned_with() {
        let hearts = Heartbeats::default();
        let node: Name = "hv1".parse().expect("a name");
        let (s, overlap) = (Duration::from_secs, Duration::from_secs(1));
        assert_eq!(hearts.unacknowledged_for(&node, overlap), s(0));
        tokio::time::advance(s(5)).await;
        assert_eq!(
            hearts.unacknowledged_for(&node, overlap),
            s(4),
            "from the end of the last leader's lease"
        );
        hearts.may_be_acknowledged(&node);
        tokio::time::advance(s(3)).await;
        hearts.hear(&node, beat(1, 2, None));
        assert_eq!(hearts.unacknowledged_for(&node, overlap), s(3), "what is refused counts for nothing");
        hearts.rearm();
        assert_eq!(hearts.unacknowledged_for(&node, overlap), s(3), "nor does a stall");
        hearts.arm();
        tokio::time::advance(s(3)).await;
        assert_eq!(hearts.unacknowledged_for(&node, overlap), s(2), "in a new term");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_breaks_the_time_that_a_node_was_heard() {
        let hearts = Heartbeats::default();
        let node: Name = "hv1".parse().expect("a name");
        for sequence in 1..=20 {
            hearts.hear(&node, beat(1, sequence, None));
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        assert_eq!(hearts.unbroken(&node), Duration::from_millis(9500));
        tokio::time::advance(Duration::from_millis(600)).await;
        hearts.hear(&node, beat(1, 21, None));
        assert_eq!(hearts.unbroken(&node), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_term_gives_everybody_the_full_grace() {
        let hearts = Heartbeats::default();
        let node: Name = "hv1".parse().expect("a name");
        hearts.hear(&node, beat(1, 1, None));
        tokio::time::advance(Duration::from_secs(60)).await;
        hearts.arm();
        assert_eq!(hearts.silence_of(&node), Duration::ZERO);
        assert_eq!(hearts.heard(&node), None);
    }
}
