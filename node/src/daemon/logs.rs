//! The daemon's own log: to journald where systemd started it, else to stderr; and its last lines in memory,
//! for `pvc node log`.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines kept in memory, and the bytes that they may take.
const LINES_MAX: usize = 10_000;
const BYTES_MAX: usize = 4 << 20;
const LEVELS_DEFAULT: &str = "info,openraft=error,h2=warn,hyper=warn,tower=warn,rustls=warn,sled=warn";

/// The last lines. Clones share them.
#[derive(Clone)]
pub struct LogTail(Arc<Shared>);

struct Shared {
    lines: Mutex<Lines>,
    /// Number of lines ever written.
    written: watch::Sender<u64>,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<Vec<u8>>,
    bytes: usize,
    written: u64,
}

impl LogTail {
    fn new() -> Self {
        LogTail(Arc::new(Shared { lines: Mutex::default(), written: watch::Sender::new(0) }))
    }

    fn push(&self, line: &[u8]) {
        let written = {
            let mut lines = self.0.lines.lock();
            lines.bytes += line.len();
            lines.kept.push_back(line.to_vec());
            while lines.kept.len() > LINES_MAX || lines.bytes > BYTES_MAX {
                let Some(oldest) = lines.kept.pop_front() else { break };
                lines.bytes -= oldest.len();
            }
            lines.written += 1;
            lines.written
        };
        self.0.written.send_replace(written);
    }

    /// The last `count` lines as one text, and the number to go on from.
    pub fn last(&self, count: usize) -> (Vec<u8>, u64) {
        let lines = self.0.lines.lock();
        let skip = lines.kept.len().saturating_sub(count);
        (lines.kept.iter().skip(skip).flatten().copied().collect(), lines.written)
    }

    /// Waits for lines after the number `after`; what has been dropped meanwhile is left out.
    pub async fn next(&self, after: u64) -> (Vec<u8>, u64) {
        let mut written = self.0.written.subscribe();
        // The sender lives as long as this.
        let _ = written.wait_for(|written| *written > after).await;
        let lines = self.0.lines.lock();
        let new = usize::try_from(lines.written - after).unwrap_or(usize::MAX);
        let skip = lines.kept.len().saturating_sub(new);
        (lines.kept.iter().skip(skip).flatten().copied().collect(), lines.written)
    }
}

/// Writes whole events to the tail.
impl<'a> MakeWriter<'a> for LogTail {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event { tail: self, text: Vec::new() }
    }
}

/// One event on its way.
pub struct Event<'a> {
    tail: &'a LogTail,
    text: Vec<u8>,
}

impl io::Write for Event<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.tail.push(&self.text);
        }
    }
}

/// Sets the log up, once. `RUST_LOG` chooses the levels.
pub fn start() -> LogTail {
    let tail = LogTail::new();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LEVELS_DEFAULT));
    let kept = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(tail.clone());
    // systemd sets it where it has connected our stderr with the journal.
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let shown = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(io::stderr);
    let stderr = journal.is_none().then_some(shown);
    tracing_subscriber::registry().with(filter).with(kept).with(journal).with(stderr).init();
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_tail_keeps_the_last_lines_and_follows() {
        let tail = LogTail::new();
        for number in 0..3 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        let (text, after) = tail.last(2);
        assert_eq!((text.as_slice(), after), (&b"line 1\nline 2\n"[..], 3));
        let other = tail.clone();
        let waiting = tokio::spawn(async move { other.next(after).await });
        tokio::task::yield_now().await;
        tail.push(b"line 3\n");
        assert_eq!(waiting.await.expect("no panic"), (b"line 3\n".to_vec(), 4));
        for number in 0..LINES_MAX + 5 {
            tail.push(format!("{number}\n").as_bytes());
        }
        assert_eq!(tail.0.lines.lock().kept.len(), LINES_MAX);
    }
}
