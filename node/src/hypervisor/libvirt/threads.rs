//! The threads that call libvirt. Every call of libvirt's blocks, some for ever, so none is made on
//! the runtime's threads, and whoever waits for one waits no longer than its deadline.
//!
//! A call that missed its deadline can't be taken back. Its lane (a connection with its threads) is
//! suspect then: it is left to itself, and the next call gets a fresh one. A lane's idle threads end;
//! those that hang are counted, and beyond a number of them nothing more is tried until some return.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use virt::error::Error;

use super::connection::Connection;
use super::events::Notices;
use crate::hypervisor::HypervisorError;

/// Calls at once on one lane.
const WORKERS: usize = 4;
/// Threads of all lanes; those of left lanes hang in libvirt.
const THREADS_MAX: usize = 32;
const BACK_OFF_FIRST: Duration = Duration::from_millis(200);
const BACK_OFF_LAST: Duration = Duration::from_secs(5);

/// A thread as all of ours are: named, with a small stack.
pub(super) fn named(name: &str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(1024 * 1024)
}

/// Why a piece of work gave nothing.
pub(super) enum CallError {
    Libvirt(Error),
    Said(HypervisorError),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        CallError::Libvirt(error)
    }
}

/// On what terms a call is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub deadline: Duration,
    /// It may change something: when the connection breaks in the midst, the outcome is unknown.
    pub changes: bool,
    /// When it misses its deadline, the whole connection is to blame.
    pub suspects: bool,
}

type Work = Box<dyn FnOnce(&Link) + Send>;

pub(super) struct Threads {
    uri: String,
    notices: Arc<Notices>,
    lane: Mutex<Option<Lane>>,
    alive: Arc<AtomicUsize>,
    back_off: Arc<Mutex<BackOff>>,
}

struct Lane {
    number: u64,
    work: mpsc::Sender<Work>,
    suspect: bool,
}

/// Waits between attempts to connect.
struct BackOff {
    until: Option<Instant>,
    wait: Duration,
    detail: String,
}

/// What a lane's threads share.
struct Link {
    uri: String,
    notices: Arc<Notices>,
    back_off: Arc<Mutex<BackOff>>,
    connection: Mutex<Option<Arc<Connection>>>,
}

enum Failure {
    /// Nothing was asked of libvirt.
    NotReached(String),
    /// The connection broke while it was asked.
    Lost(String),
    Said(HypervisorError),
    Libvirt(Error),
}

impl Threads {
    pub fn new(uri: String, notices: Arc<Notices>) -> Self {
        let back_off = BackOff { until: None, wait: BACK_OFF_FIRST, detail: String::new() };
        Threads {
            uri,
            notices,
            lane: Mutex::new(None),
            alive: Arc::default(),
            back_off: Arc::new(Mutex::new(back_off)),
        }
    }

    /// Calls libvirt on a thread, and waits for the answer until the deadline. What is not begun by then
    /// is not begun at all; what is, goes on.
    pub async fn run<T, F>(&self, request: &'static str, terms: Terms, work: F) -> Result<T, HypervisorError>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Connection>) -> Result<T, CallError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let began = Instant::now();
        let number = self.submit(Box::new(move |link| {
            if reply.is_closed() {
                return;
            }
            // Whoever asked may have gone since; the deed is done all the same.
            let _ = reply.send(link.call(work));
        }))?;
        let unreachable = |detail| HypervisorError::Unreachable { uri: self.uri.clone(), detail };
        let unknown = |after: Duration| HypervisorError::Deadline { request, seconds: after.as_secs() };
        match tokio::time::timeout(terms.deadline, answer).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(Failure::NotReached(detail)))) => Err(unreachable(detail)),
            Ok(Ok(Err(Failure::Lost(detail)))) if terms.changes => {
                tracing::warn!(request, detail, "the connection to libvirt was lost during a request");
                Err(unknown(began.elapsed()))
            }
            Ok(Ok(Err(Failure::Lost(detail)))) => Err(unreachable(detail)),
            Ok(Ok(Err(Failure::Said(error)))) => Err(error),
            Ok(Ok(Err(Failure::Libvirt(error)))) => {
                Err(HypervisorError::Refused { request, detail: error.message().to_owned() })
            }
            // The thread died of a panic, or the deadline passed: either way nobody knows.
            Ok(Err(_)) => Err(unknown(began.elapsed())),
            Err(_) => {
                if terms.suspects {
                    self.suspect(number, request);
                }
                Err(unknown(terms.deadline))
            }
        }
    }

    /// Hands work to the present lane; makes one where there is none to trust. Its number.
    fn submit(&self, work: Work) -> Result<u64, HypervisorError> {
        let mut lane = self.lane.lock();
        let trusted = lane.as_ref().is_some_and(|l| !l.suspect);
        if !trusted {
            let number = lane.as_ref().map_or(0, |l| l.number + 1);
            let fresh = self.open_lane(number);
            let unreachable = |detail| HypervisorError::Unreachable { uri: self.uri.clone(), detail };
            *lane = Some(fresh.map_err(unreachable)?);
        }
        let Some(lane) = lane.as_ref() else { unreachable!("it was made above") };
        let unreachable = |_| HypervisorError::Unreachable {
            uri: self.uri.clone(),
            detail: "its threads have died".to_owned(),
        };
        lane.work.send(work).map_err(unreachable)?;
        Ok(lane.number)
    }

    fn open_lane(&self, number: u64) -> Result<Lane, String> {
        let hanging = self.alive.load(Ordering::Acquire);
        if hanging + WORKERS > THREADS_MAX {
            return Err(format!("{hanging} earlier requests hang in it"));
        }
        let (sender, work) = mpsc::channel::<Work>();
        let work = Arc::new(Mutex::new(work));
        let link = Arc::new(Link {
            uri: self.uri.clone(),
            notices: self.notices.clone(),
            back_off: self.back_off.clone(),
            connection: Mutex::new(None),
        });
        for _ in 0..WORKERS {
            let (work, link, alive) = (work.clone(), link.clone(), Alive::new(&self.alive));
            let serve = move || {
                let _alive = alive;
                loop {
                    let next = work.lock().recv();
                    let Ok(next) = next else { break };
                    next(&link);
                }
            };
            named("libvirt").spawn(serve).map_err(|e| format!("no thread to call it: {e}"))?;
        }
        Ok(Lane { number, work: sender, suspect: false })
    }

    fn suspect(&self, number: u64, request: &'static str) {
        let mut lane = self.lane.lock();
        if let Some(lane) = lane.as_mut().filter(|l| l.number == number && !l.suspect) {
            tracing::warn!(request, "libvirt missed a deadline; its next request gets a new connection");
            lane.suspect = true;
            // With no one to send, its idle threads end.
            lane.work = mpsc::channel().0;
        }
    }
}

/// Counts a thread for as long as it lives.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Alive(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Link {
    fn call<T>(&self, work: impl FnOnce(&Arc<Connection>) -> Result<T, CallError>) -> Result<T, Failure> {
        let connection = self.connect().map_err(Failure::NotReached)?;
        work(&connection).map_err(|error| match error {
            CallError::Said(error) => Failure::Said(error),
            CallError::Libvirt(error) if connection.is_usable() => Failure::Libvirt(error),
            CallError::Libvirt(error) => Failure::Lost(error.message().to_owned()),
        })
    }

    /// The lane's connection; a new one where it has none that lives.
    fn connect(&self) -> Result<Arc<Connection>, String> {
        let mut connection = self.connection.lock();
        if let Some(usable) = connection.as_ref().filter(|c| c.is_usable()) {
            return Ok(usable.clone());
        }
        *connection = None;
        {
            let back_off = self.back_off.lock();
            if back_off.until.is_some_and(|until| Instant::now() < until) {
                return Err(back_off.detail.clone());
            }
        }
        match Connection::open(&self.uri, Some(&self.notices)) {
            Ok(fresh) => {
                *self.back_off.lock() = BackOff { until: None, wait: BACK_OFF_FIRST, detail: String::new() };
                let fresh = Arc::new(fresh);
                *connection = Some(fresh.clone());
                // Whatever happened in between was not heard.
                self.notices.wake();
                Ok(fresh)
            }
            Err(error) => {
                let mut back_off = self.back_off.lock();
                back_off.until = Some(Instant::now() + back_off.wait);
                back_off.wait = (back_off.wait * 2).min(BACK_OFF_LAST);
                back_off.detail = error.message().to_owned();
                Err(back_off.detail.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(uri: &str) -> Threads {
        Threads::new(uri.to_owned(), Arc::new(Notices::new()))
    }

    fn terms(deadline_ms: u64) -> Terms {
        Terms { deadline: Duration::from_millis(deadline_ms), changes: true, suspects: true }
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_left_and_the_next_is_served() {
        let threads = threads("test:///default");
        let (release, hung) = mpsc::channel::<()>();
        let hang = move |_: &Arc<Connection>| {
            let _ = hung.recv();
            Ok(())
        };
        let error = threads.run("hang", terms(300), hang).await.expect_err("it hangs");
        assert!(matches!(error, HypervisorError::Deadline { request: "hang", .. }), "{error}");
        assert!(error.outcome_unknown());
        let name = threads.run("say its type", terms(20_000), |c| Ok(c.get_type()?)).await;
        assert_eq!(name.expect("a fresh lane serves").to_lowercase(), "test");
        drop(release);
    }

    #[tokio::test]
    async fn what_was_not_begun_by_its_deadline_is_not_done() {
        let threads = threads("test:///default");
        let (release, hung) = mpsc::channel::<()>();
        let hung = Arc::new(Mutex::new(hung));
        let mut hanging = Vec::new();
        for _ in 0..WORKERS {
            let hung = hung.clone();
            let hang = move |_: &Arc<Connection>| {
                let _ = hung.lock().recv();
                Ok(())
            };
            let terms = Terms { suspects: false, ..terms(100) };
            hanging.push(threads.run("hang", terms, hang).await.is_err());
        }
        assert_eq!(hanging, [true; WORKERS]);
        let done = Arc::new(AtomicUsize::new(0));
        let doing = done.clone();
        let late = threads.run("do", Terms { suspects: false, ..terms(100) }, move |_| {
            doing.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        assert!(late.await.is_err());
        drop(release);
        threads.run("go on", terms(20_000), |_| Ok(())).await.expect("the threads are free again");
        assert_eq!(done.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn hanging_threads_are_bounded() {
        let threads = threads("test:///default");
        let (release, hung) = mpsc::channel::<()>();
        let hung = Arc::new(Mutex::new(hung));
        let mut last = None;
        for _ in 0..THREADS_MAX + 8 {
            let hung = hung.clone();
            let hang = move |_: &Arc<Connection>| {
                let _ = hung.lock().recv();
                Ok(())
            };
            last = threads.run("hang", terms(60), hang).await.err();
        }
        assert!(matches!(last, Some(HypervisorError::Unreachable { .. })), "{last:?}");
        assert!(threads.alive.load(Ordering::SeqCst) <= THREADS_MAX);
        drop(release);
    }

    #[tokio::test]
    async fn who_is_not_there_is_tried_again_after_a_while() {
        let threads = threads("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
        for _ in 0..3 {
            let error = threads.run("ask", terms(20_000), |_| Ok(())).await.expect_err("nobody is there");
            assert!(matches!(&error, HypervisorError::Unreachable { .. }), "{error}");
            assert!(error.to_string().contains("nonexistent"), "{error}");
        }
        assert!(threads.back_off.lock().until.is_some());
    }
}
