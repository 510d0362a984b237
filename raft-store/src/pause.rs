//! A member that stands still: what SIGSTOP does to a process, for simulations. Nothing of the member runs
//! meanwhile, and what had become due is done late, when it goes on. A member that is given no `Pause` is not
//! touched by any of this.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Clones stop and resume the same member.
#[derive(Clone, Default)]
pub struct Pause(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    stopped: bool,
    /// Who wanted to run meanwhile, in their order.
    waiting: Vec<Waker>,
}

impl std::fmt::Debug for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pause").field("stopped", &self.is_stopped()).finish_non_exhaustive()
    }
}

impl Pause {
    pub fn new() -> Pause {
        Pause::default()
    }

    pub fn stop(&self) {
        self.0.lock().stopped = true;
    }

    pub fn resume(&self) {
        let waiting = {
            let mut state = self.0.lock();
            state.stopped = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub fn is_stopped(&self) -> bool {
        self.0.lock().stopped
    }

    /// A future of the member: it does not move while the member is stopped. What serves the member's peers
    /// and clients must be one.
    pub fn hold<F: Future>(&self, future: F) -> Held<F> {
        Held { pause: self.clone(), future: Box::pin(future) }
    }

    fn is_stopped_for(&self, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        if state.stopped && !state.waiting.iter().any(|other| other.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
        state.stopped
    }
}

/// See [`Pause::hold`].
pub struct Held<F> {
    pause: Pause,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Held<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.pause.is_stopped_for(context.waker()) {
            return Poll::Pending;
        }
        self.future.as_mut().poll(context)
    }
}

/// Spawns a task of a member.
pub(crate) fn spawn(pause: Option<&Pause>, task: impl Future<Output = ()> + Send + 'static) {
    match pause {
        None => drop(tokio::spawn(task)),
        Some(pause) => drop(tokio::spawn(pause.hold(task))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_stopped_goes_on_late() {
        let (begun, pause) = (Instant::now(), Pause::new());
        let task = tokio::spawn(pause.hold(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            begun.elapsed()
        }));
        tokio::time::sleep(Duration::from_millis(500)).await;
        pause.stop();
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(!task.is_finished());
        pause.resume();
        let late = task.await.unwrap();
        assert!(late >= Duration::from_millis(9500), "{late:?}");
    }
}
