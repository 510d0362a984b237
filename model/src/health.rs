//! The health of a coordinator's store: which of it needs a person, and for how long it must have been so.
//! Pure; the leader's controller brings what it knows, and raises or clears the faults.
//!
//! A fault is raised when a condition was bad for a while, and cleared when it was good for a while; between
//! the two, and while nothing is heard, it stands as it stood. Figures never change a fault that stands: they
//! would cost a commit each time.

use std::time::Duration;

use crate::name::Name;

/// Syncs of the log that ended within this are looked at.
pub const SYNC_WINDOW: Duration = Duration::from_secs(30);
/// Fewer syncs than this within the window say nothing of a disk. Raising and clearing a fault makes one each:
/// an idle cluster does not talk itself into trouble.
pub const SYNCS_LEAST: u32 = 5;
/// The limit of the log's fsync p99, unless people have set another one.
pub const SYNC_LIMIT_DEFAULT: Duration = Duration::from_millis(100);
/// The least and the most that people may set, milliseconds.
pub const SYNC_LIMIT_MS_RANGE: std::ops::RangeInclusive<u32> = 1..=10_000;
/// A voter so many entries behind lags.
pub const LAG_ENTRIES: u64 = 5_000;
/// What was heard longer ago says nothing about now.
pub const STALE: Duration = Duration::from_secs(10);
/// A voter that has answered nothing for longer does not take part.
pub const SILENT_MAX: Duration = Duration::from_secs(10);

const GIB: u64 = 1 << 30;

/// What a coordinator tells of its own store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Syncs of the log within [`SYNC_WINDOW`], and their 99th percentile.
    pub syncs: u32,
    pub sync_p99: Duration,
    pub sync_limit: Duration,
    pub log_bytes: u64,
    pub state_bytes: u64,
    /// Of the file system; 0: not known.
    pub disk_bytes: u64,
    pub free_bytes: u64,
    /// The revision that the durable state reaches.
    pub checkpoint: u64,
    /// None: there was no checkpoint since the start.
    pub checkpoint_age: Option<Duration>,
    /// Why the state database was rebuilt lately; empty: it was not.
    pub rebuilt: String,
    /// Why the store has stopped; empty: it goes on.
    pub failed: String,
    pub timing: StoreTiming,
}

/// The timing that a coordinator's store runs with, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreTiming {
    pub heartbeat_ms: u32,
    pub election_min_ms: u32,
    pub election_max_ms: u32,
}

/// What the leader sees of a voter by Raft. All of it is as it should be for the leader itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// Committed entries that it has not confirmed.
    pub behind: u64,
    /// It lacks some, and has confirmed nothing since the last look.
    pub stands_still: bool,
    pub silent_for: Duration,
    /// Entries that are kept in the leader's log because it does not take them; 0: none.
    pub held: u64,
}

/// What can be wrong with a coordinator's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    DiskSlow,
    DiskFilling,
    Behind,
    Lagging,
    LogHeld,
    Rebuilt,
    Failed,
}

/// How a condition is at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Bad,
    /// Neither: what stands goes on to stand.
    Between,
    Good,
    /// Nothing is known now.
    Unknown,
}

/// For how long a condition must have been so; `forget`: for how long nothing may be known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    pub raise: Duration,
    pub clear: Duration,
    pub forget: Option<Duration>,
}

/// A condition of one coordinator, with the words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub condition: Condition,
    pub level: Level,
    pub message: String,
    pub help: String,
}

impl Condition {
    pub const ALL: [Condition; 7] = [
        Condition::DiskSlow,
        Condition::DiskFilling,
        Condition::Behind,
        Condition::Lagging,
        Condition::LogHeld,
        Condition::Rebuilt,
        Condition::Failed,
    ];

    /// The kind of its fault: "disk-slow" of "disk-slow.hv2".
    pub fn kind(self) -> &'static str {
        match self {
            Condition::DiskSlow => "disk-slow",
            Condition::DiskFilling => "disk-filling",
            Condition::Behind => "coordinator-behind",
            Condition::Lagging => "coordinator-lagging",
            Condition::LogHeld => "log-held",
            Condition::Rebuilt => "store-rebuilt",
            Condition::Failed => "store-failed",
        }
    }

    pub fn patience(self) -> Patience {
        let of = |raise, clear, forget: Option<u64>| Patience {
            raise: Duration::from_secs(raise),
            clear: Duration::from_secs(clear),
            forget: forget.map(Duration::from_secs),
        };
        match self {
            // Longer than the window: a single slow moment has left it by then.
            Condition::DiskSlow => of(60, 60, Some(600)),
            Condition::DiskFilling => of(10, 10, Some(600)),
            Condition::Behind | Condition::Rebuilt | Condition::Failed => of(0, 0, None),
            Condition::Lagging | Condition::LogHeld => of(60, 10, Some(60)),
        }
    }
}

/// How one condition of one coordinator has gone on. Times are of the observer's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trend {
    since: Option<(Level, Duration)>,
}

impl Trend {
    /// Whether the fault shall stand, now that the condition is at `level`. `stands`: it does already.
    pub fn look(&mut self, level: Level, now: Duration, stands: bool, patience: Patience) -> bool {
        let begun = match self.since {
            Some((known, begun)) if known == level => begun,
            Some(_) | None => now,
        };
        self.since = Some((level, begun));
        let lasted = now.saturating_sub(begun);
        match level {
            Level::Bad => stands || lasted >= patience.raise,
            Level::Good => stands && lasted < patience.clear,
            Level::Unknown => stands && patience.forget.is_none_or(|forget| lasted < forget),
            Level::Between => stands,
        }
    }
}

/// The log's fsyncs: slow above the limit, well again below half of it.
pub fn disk_speed(health: &StoreHealth) -> Level {
    if health.syncs < SYNCS_LEAST || health.sync_limit.is_zero() {
        Level::Unknown
    } else if health.sync_p99 > health.sync_limit {
        Level::Bad
    } else if health.sync_p99 <= health.sync_limit / 2 {
        Level::Good
    } else {
        Level::Between
    }
}

/// So much of a disk must be free: a tenth, at least 1 GiB, at most 10 GiB; never more than a quarter, for a
/// disk may be small.
pub fn free_least(disk_bytes: u64) -> u64 {
    (disk_bytes / 10).clamp(GIB, 10 * GIB).min(disk_bytes / 4)
}

pub fn disk_room(health: &StoreHealth) -> Level {
    let least = free_least(health.disk_bytes);
    if health.disk_bytes == 0 {
        Level::Unknown
    } else if health.free_bytes < least {
        Level::Bad
    } else if health.free_bytes >= least + least / 4 {
        Level::Good
    } else {
        Level::Between
    }
}

fn behind(following: &Following) -> Level {
    if following.silent_for > SILENT_MAX || following.stands_still { Level::Bad } else { Level::Good }
}

fn lagging(following: &Following) -> Level {
    match following.behind {
        LAG_ENTRIES.. => Level::Bad,
        entries if entries < LAG_ENTRIES / 10 => Level::Good,
        _ => Level::Between,
    }
}

/// Said of itself: bad while it says so.
fn said(words: &str) -> Level {
    if words.is_empty() { Level::Good } else { Level::Bad }
}

/// Every condition of a coordinator. `health` is the last that it told, and how long ago; None: nothing yet.
/// `following`: None where it does not vote.
pub fn readings(
    node: &Name,
    health: Option<(&StoreHealth, Duration)>,
    following: Option<&Following>,
) -> Vec<Reading> {
    let told = health.map(|(health, _)| health);
    let fresh = health.filter(|(_, age)| *age <= STALE).map(|(health, _)| health);
    let of = |condition| {
        let (level, message, help) = match condition {
            Condition::DiskSlow => (
                fresh.map(disk_speed),
                fresh.map_or_else(String::new, |h| {
                    format!(
                        "the disk of coordinator {node} is too slow: the log's fsync p99 is {} ms, the limit {} ms",
                        h.sync_p99.as_millis(),
                        h.sync_limit.as_millis()
                    )
                }),
                format!(
                    "every change waits for the disks of a majority: give {node}'s data_dir a faster disk, or one \
                     of its own; `pvc cluster status` shows the figures"
                ),
            ),
            Condition::DiskFilling => (
                fresh.map(disk_room),
                fresh.map_or_else(String::new, |h| {
                    format!(
                        "the disk of coordinator {node} fills up: {} MiB are free, and {} MiB should be",
                        h.free_bytes >> 20,
                        free_least(h.disk_bytes) >> 20
                    )
                }),
                format!("make space on the file system of {node}'s data_dir; without any, it stops taking part"),
            ),
            Condition::Behind => (
                Some(following.map_or(Level::Good, behind)),
                format!("coordinator {node} does not take part: it does not confirm what is committed"),
                format!("check that its pvcd runs and that its disk has space: pvc node log {node}"),
            ),
            Condition::Lagging => (
                Some(following.map_or(Level::Good, lagging)),
                format!("coordinator {node} lags: it is thousands of entries behind, and does not catch up"),
                format!("see `pvc cluster status` for its disk and its lag; check its network: pvc node log {node}"),
            ),
            Condition::LogHeld => (
                Some(following.map_or(Level::Good, |f| if f.held > 0 { Level::Bad } else { Level::Good })),
                format!("the leader's log grows, for it is kept for coordinator {node}, which does not take it"),
                format!("bring {node} back, or take its vote away: pvc cluster voter remove {node}"),
            ),
            Condition::Rebuilt => (
                told.map(|h| said(&h.rebuilt)),
                format!("on node {node}, the state database was rebuilt: {}", told.map_or("", |h| &h.rebuilt)),
                "check the disk; this is told for a day, or until its pvcd is restarted".to_owned(),
            ),
            Condition::Failed => (
                told.map(|h| said(&h.failed)),
                format!("on node {node}, {}", told.map_or("", |h| &h.failed)),
                "make space or replace the disk, then restart its pvcd".to_owned(),
            ),
        };
        Reading { condition, level: level.unwrap_or(Level::Unknown), message, help }
    };
    Condition::ALL.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_disk_is_slow_above_the_limit_and_well_below_half_of_it() {
        for (syncs, p99_ms, expected) in [
            (0, 0, Level::Unknown),
            (4, 9000, Level::Unknown),
            (5, 101, Level::Bad),
            (1000, 2000, Level::Bad),
            (5, 100, Level::Between),
            (5, 51, Level::Between),
            (5, 50, Level::Good),
        ] {
            let health = StoreHealth {
                syncs,
                sync_p99: Duration::from_millis(p99_ms),
                sync_limit: SYNC_LIMIT_DEFAULT,
                ..StoreHealth::default()
            };
            assert_eq!(disk_speed(&health), expected, "{syncs} syncs, {p99_ms} ms");
        }
    }

    #[test]
    fn a_disk_fills_up_long_before_it_is_full() {
        let mib = 1 << 20;
        for (disk_mib, free_mib, expected) in [
            (0, 0, Level::Unknown),
            // A tenth.
            (40 << 10, 4095, Level::Bad),
            (40 << 10, 4096, Level::Between),
            (40 << 10, 5120, Level::Good),
            // At most 10 GiB of a large one,
            (4 << 20, 10_239, Level::Bad),
            (4 << 20, 12_800, Level::Good),
            // at least 1 GiB of a small one,
            (6 << 10, 1023, Level::Bad),
            (6 << 10, 1280, Level::Good),
            // and a quarter of a tiny one.
            (64, 15, Level::Bad),
            (64, 20, Level::Good),
        ] {
            let health = StoreHealth {
                disk_bytes: disk_mib * mib,
                free_bytes: free_mib * mib,
                ..StoreHealth::default()
            };
            assert_eq!(disk_room(&health), expected, "{free_mib} of {disk_mib} MiB free");
        }
    }

    /// One look each ten seconds: "b", "-", "g" and "?" are levels, what follows is whether the fault stands.
    fn story(levels: &str, patience: Patience) -> String {
        let mut trend = Trend::default();
        let mut stands = false;
        let look = |(step, level): (usize, char)| {
            let level = match level {
                'b' => Level::Bad,
                '-' => Level::Between,
                'g' => Level::Good,
                _ => Level::Unknown,
            };
            stands = trend.look(level, secs(step as u64 * 10), stands, patience);
            if stands { '!' } else { '.' }
        };
        levels.chars().enumerate().map(look).collect()
    }

    #[test]
    fn a_fault_needs_time_to_come_and_to_go() {
        let patience = Patience { raise: secs(30), clear: secs(20), forget: Some(secs(40)) };
        for (levels, expected) in [
            ("gggg", "...."),
            ("bbbb", "...!"),
            // Interrupted.
            ("bbbgbbbb", ".......!"),
            ("bb-bbbb", "......!"),
            // Between, it stays as it was.
            ("-----", "....."),
            ("bbbb---", "...!!!!"),
            // It goes when it was good for a while,
            ("bbbbggg", "...!!!."),
            ("bbbbggbggg", "...!!!!!!."),
            // or when nothing was heard for long.
            ("bbbb?????", "...!!!!!."),
            ("?????b", "......"),
        ] {
            assert_eq!(story(levels, patience), expected, "{levels}");
        }
        let never = Patience { raise: secs(0), clear: secs(0), forget: None };
        assert_eq!(story("b??????g", never), "!!!!!!!.");
    }

    /// The conditions that are bad.
    fn bad(health: Option<(StoreHealth, u64)>, following: Option<Following>) -> Vec<&'static str> {
        let health = health.as_ref().map(|(health, age)| (health, secs(*age)));
        let readings = readings(&"hv2".parse().unwrap(), health, following.as_ref());
        for reading in readings.iter().filter(|reading| reading.level == Level::Bad) {
            assert!(reading.message.contains("hv2") && !reading.help.is_empty(), "{reading:?}");
        }
        let bad = readings.iter().filter(|reading| reading.level == Level::Bad);
        bad.map(|reading| reading.condition.kind()).collect()
    }

    #[test]
    fn what_is_wrong_is_named() {
        let well = StoreHealth {
            syncs: 9,
            sync_limit: SYNC_LIMIT_DEFAULT,
            disk_bytes: 100 * GIB,
            free_bytes: 50 * GIB,
            ..StoreHealth::default()
        };
        let follows = Following::default();
        assert_eq!(bad(Some((well.clone(), 0)), Some(follows)), [""; 0]);
        assert_eq!(bad(None, None), [""; 0]);
        let slow = StoreHealth { sync_p99: secs(2), free_bytes: GIB, ..well.clone() };
        assert_eq!(bad(Some((slow.clone(), 10)), Some(follows)), ["disk-slow", "disk-filling"]);
        // What was heard long ago says nothing of its speed and room,
        assert_eq!(bad(Some((slow, 11)), Some(follows)), [""; 0]);
        // but what it said of its end holds until it says otherwise.
        let failed = StoreHealth { failed: "the disk failed".into(), rebuilt: "torn".into(), ..well };
        assert_eq!(bad(Some((failed, 3600)), None), ["store-rebuilt", "store-failed"]);
        for (following, expected) in [
            (Following { silent_for: secs(10), ..follows }, &[][..]),
            (Following { silent_for: secs(11), ..follows }, &["coordinator-behind"]),
            (Following { behind: 3, stands_still: true, ..follows }, &["coordinator-behind"]),
            (Following { behind: LAG_ENTRIES, ..follows }, &["coordinator-lagging"]),
            (Following { behind: LAG_ENTRIES - 1, ..follows }, &[]),
            (Following { held: 50_000, ..follows }, &["log-held"]),
        ] {
            assert_eq!(bad(None, Some(following)), expected, "{following:?}");
        }
    }
}
