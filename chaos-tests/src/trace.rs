//! What happened, for two readers: a hash, by which two runs of one seed are compared, and the last lines,
//! by which a person understands a failure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines that are kept of a run that nobody reads along.
const LINES_KEPT: usize = 600;

/// Clones write the same trace.
#[derive(Clone)]
pub struct Trace {
    begun: Instant,
    aloud: bool,
    state: Arc<Mutex<State>>,
}

struct State {
    hash: u64,
    events: u64,
    lines: VecDeque<String>,
    passed_over: Duration,
}

impl Trace {
    /// `aloud`: each line goes to stderr at once.
    pub fn new(aloud: bool) -> Trace {
        let state = State {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            lines: VecDeque::new(),
            passed_over: Duration::ZERO,
        };
        Trace { begun: Instant::now(), aloud, state: Arc::new(Mutex::new(state)) }
    }

    /// Time since the beginning; what was passed over has gone by too.
    pub fn lived(&self) -> Duration {
        self.begun.elapsed() + self.state.lock().passed_over
    }

    /// So much time has gone by in which nothing changed, and which nobody has played.
    pub fn pass_over(&self, time: Duration) {
        self.state.lock().passed_over += time;
    }

    pub fn millis(&self) -> u64 {
        self.lived().as_millis() as u64
    }

    /// Something too frequent for words.
    pub fn count(&self, numbers: &[u64]) {
        let now = self.millis();
        let mut state = self.state.lock();
        state.events += 1;
        state.mix(now);
        numbers.iter().for_each(|number| state.mix(*number));
    }

    pub fn say(&self, line: impl Into<String>) {
        let (now, line) = (self.millis(), line.into());
        let line = format!("{:>7}.{:03} {line}", now / 1000, now % 1000);
        if self.aloud {
            eprintln!("{line}");
        }
        let mut state = self.state.lock();
        state.events += 1;
        line.bytes().for_each(|byte| state.mix(u64::from(byte)));
        if state.lines.len() == LINES_KEPT {
            state.lines.pop_front();
        }
        state.lines.push_back(line);
    }

    /// Of everything so far; two runs that did the same have the same.
    pub fn hash(&self) -> u64 {
        self.state.lock().hash
    }

    pub fn events(&self) -> u64 {
        self.state.lock().events
    }

    pub fn tail(&self) -> Vec<String> {
        self.state.lock().lines.iter().cloned().collect()
    }
}

impl State {
    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
    }
}
