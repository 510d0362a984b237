//! A watch that goes on: re-opened where it broke off, begun anew with a list where that is too long ago.

use std::future::Future;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use pvc_proto::v1;
use tonic::{Code, Status};

use crate::error::is_final;

const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// A message of a watch.
pub trait WatchMessage {
    fn change_kind(&self) -> v1::ChangeKind;
    fn revision(&self) -> u64;
}

macro_rules! watch_message {
    ($($message:ty),+) => {
        $(impl WatchMessage for $message {
            fn change_kind(&self) -> v1::ChangeKind {
                self.kind()
            }

            fn revision(&self) -> u64 {
                self.revision
            }
        })+
    };
}
watch_message!(v1::VmChange, v1::NodeChange, v1::VolumeChange);

#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<T> {
    /// Forget everything: a list follows, to its end at the next bookmark.
    Reset,
    /// A change, or a bookmark. After a break a change may come a second time.
    Change(T),
}

struct State<F, C> {
    open: F,
    current: Option<BoxStream<'static, Result<C, Status>>>,
    /// All up to here has been told: where to go on. 0: with a list.
    safe: u64,
    /// The revision that is being told: several changes may share it.
    telling: u64,
    must_reset: bool,
    failures: u32,
    over: bool,
}

/// Follows changes after `start` (0: begins with a list). `open` opens the watch at a revision. Ends only
/// with an error that asking again doesn't help.
pub fn watch<C, F, Fut, S>(start: u64, open: F) -> impl Stream<Item = Result<WatchEvent<C>, Status>>
where
    C: WatchMessage + Send + 'static,
    F: FnMut(u64) -> Fut,
    Fut: Future<Output = Result<S, Status>>,
    S: Stream<Item = Result<C, Status>> + Send + 'static,
{
    let state = State {
        open,
        current: None,
        safe: start,
        telling: start,
        must_reset: start == 0,
        failures: 0,
        over: false,
    };
    stream::unfold(state, |mut state| async move {
        if state.over {
            return None;
        }
        loop {
            let error = match &mut state.current {
                None => match (state.open)(state.safe).await {
                    Ok(opened) => {
                        state.current = Some(opened.boxed());
                        state.telling = state.safe;
                        if std::mem::take(&mut state.must_reset) {
                            return Some((Ok(WatchEvent::Reset), state));
                        }
                        continue;
                    }
                    Err(error) => error,
                },
                Some(current) => match current.next().await {
                    Some(Ok(message)) => {
                        state.failures = 0;
                        state.advance(&message);
                        return Some((Ok(WatchEvent::Change(message)), state));
                    }
                    Some(Err(error)) => error,
                    None => Status::unavailable("the watch has ended"),
                },
            };
            state.current = None;
            if error.code() == Code::OutOfRange {
                state.safe = 0;
            } else if is_final(error.code()) {
                state.over = true;
                return Some((Err(error), state));
            }
            state.must_reset = state.safe == 0;
            tracing::debug!(%error, revision = state.safe, "a watch broke off");
            let full = BACK_OFF_FIRST.saturating_mul(1 << state.failures.min(8)).min(BACK_OFF_MAX);
            state.failures += 1;
            tokio::time::sleep(full.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
        }
    })
}

impl<F, C: WatchMessage> State<F, C> {
    fn advance(&mut self, message: &C) {
        let revision = message.revision();
        if message.change_kind() == v1::ChangeKind::Bookmark {
            (self.safe, self.telling) = (revision, revision);
        } else if self.safe != 0 && revision > self.telling {
            // What went before is complete. Within a list (safe is 0) nothing is, before its bookmark.
            (self.safe, self.telling) = (self.telling, revision);
        }
    }
}
