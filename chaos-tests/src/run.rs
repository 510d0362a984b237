//! Running one story to its end, on a runtime and a clock of its own.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::script::Outcome;
use crate::witness::{Accusation, Rule};

/// No story takes longer; one that does hangs.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Counts the panics of all tasks from now on: a task that dies alone is a defect too, and nobody else
/// might notice.
pub fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(info);
    }));
}

/// Runs a story in virtual time.
pub fn run(story: impl Future<Output = Outcome>) -> Outcome {
    run_within(LONGEST, story)
}

/// The same, for a story that may take so long in virtual time.
pub fn run_within(longest: Duration, story: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O can always be made");
    let panics = PANICS.load(Ordering::Relaxed);
    let mut outcome = runtime.block_on(async {
        let ended = tokio::time::timeout(longest, story).await;
        ended.unwrap_or_else(|_| Outcome::hanging())
    });
    let died = PANICS.load(Ordering::Relaxed) - panics;
    if died > 0 {
        let detail = format!("{died} tasks panicked; see above");
        outcome.accusations.push(Accusation { rule: Rule::NobodyGivesUp, detail });
    }
    outcome
}

impl Outcome {
    fn hanging() -> Outcome {
        let accusation = Accusation { rule: Rule::Heals, detail: "the story does not end".to_owned() };
        Outcome {
            accusations: vec![accusation],
            hash: 0,
            events: 0,
            seconds: LONGEST.as_secs(),
            deeds: 0,
            acknowledged: 0,
            tail: Vec::new(),
        }
    }
}
