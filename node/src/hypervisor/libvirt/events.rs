//! What libvirt tells unasked: a guest began, paused, ended; a migration's cost; the connection closed.
//!
//! libvirt calls us on its event loop's thread. There nothing may block, ask libvirt or panic: the
//! callbacks only wake, and note down what can't be asked for afterwards. All `unsafe` that is needed
//! for libvirt's callbacks is in this file and in `console`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use pvc_model::Uid;
use tokio::sync::watch;
use tokio::time::Instant;
use virt::connect::Connect;
use virt::error::Error;
use virt::sys;

use super::jobs::Figures;
use crate::hypervisor::{EndReason, Ending, MigrationReport};

/// Endings kept for someone to ask; more than this can't be of use.
const ENDINGS_MAX: usize = 4096;
/// A guest that has not ended so long after its power button was pressed did not hear it.
const PRESS_REMEMBERED: Duration = Duration::from_secs(180);

/// libvirt made the domain anew in its place. Newer than the bindings' libvirt.
const STOPPED_RECREATED: u32 = 7;

/// Starts the event loop, once for the process. libvirt wants it before the first connection.
pub(super) fn run_event_loop() -> Result<(), Error> {
    static LOOP: OnceLock<Result<(), Error>> = OnceLock::new();
    let start = || {
        // Errors are returned as well; libvirt need not write them on our stderr.
        virt::error::clear_error_callback();
        virt::event::event_register_default_impl()?;
        let turn = || {
            loop {
                if let Err(error) = virt::event::event_run_default_impl() {
                    tracing::warn!(%error, "libvirt's event loop");
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        };
        let spawned = super::threads::named("libvirt-events").spawn(turn);
        if let Err(error) = spawned {
            tracing::error!(%error, "libvirt's events will not be heard: no thread for them");
        }
        Ok(())
    };
    LOOP.get_or_init(start).clone()
}

/// What was told and not yet asked for. One for all connections.
pub(super) struct Notices {
    wakeups: watch::Sender<u64>,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    endings: VecDeque<Ending>,
    /// Guests being received: when one of them goes, none has ended.
    arriving: HashSet<Uid>,
    /// Guests whose power button was pressed, and when.
    pressed: HashMap<Uid, Instant>,
    /// Guests that this daemon is sending away, and what it has cost once that is known.
    leaving: HashMap<Uid, Option<MigrationReport>>,
}

impl Notices {
    pub fn new() -> Self {
        Notices { wakeups: watch::channel(0).0, noted: Mutex::default() }
    }

    pub fn wake(&self) {
        self.wakeups.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub fn wakeups(&self) -> watch::Receiver<u64> {
        self.wakeups.subscribe()
    }

    pub fn take_endings(&self) -> Vec<Ending> {
        self.noted.lock().endings.drain(..).collect()
    }

    pub fn pressed(&self, uid: Uid) {
        self.noted.lock().pressed.insert(uid, Instant::now());
    }

    pub fn not_pressed(&self, uid: Uid) {
        self.noted.lock().pressed.remove(&uid);
    }

    pub fn was_pressed(&self, uid: Uid) -> bool {
        self.noted.lock().pressed.get(&uid).is_some_and(|at| at.elapsed() < PRESS_REMEMBERED)
    }

    /// Corrects what events may have missed by what a listing has shown.
    pub fn set_arriving(&self, uids: HashSet<Uid>) {
        self.noted.lock().arriving = uids;
    }

    /// False: it is being sent away already.
    pub fn begin_leaving(&self, uid: Uid) -> bool {
        let mut noted = self.noted.lock();
        let fresh = !noted.leaving.contains_key(&uid);
        noted.leaving.entry(uid).or_insert(None);
        fresh
    }

    pub fn is_leaving(&self, uid: Uid) -> bool {
        self.noted.lock().leaving.contains_key(&uid)
    }

    pub fn cost(&self, uid: Uid) -> Option<MigrationReport> {
        self.noted.lock().leaving.get(&uid).copied().flatten()
    }

    pub fn end_leaving(&self, uid: Uid) {
        self.noted.lock().leaving.remove(&uid);
        self.wake();
    }

    fn lifecycle(&self, uid: Uid, event: u32, detail: u32) {
        let mut noted = self.noted.lock();
        match (event, detail) {
            (sys::VIR_DOMAIN_EVENT_STARTED, sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED) => {
                noted.arriving.insert(uid);
            }
            (sys::VIR_DOMAIN_EVENT_STARTED, _) => {
                noted.pressed.remove(&uid);
                noted.arriving.remove(&uid);
            }
            (sys::VIR_DOMAIN_EVENT_RESUMED, _) => {
                noted.arriving.remove(&uid);
            }
            (sys::VIR_DOMAIN_EVENT_STOPPED, detail) => {
                noted.pressed.remove(&uid);
                let arriving = noted.arriving.remove(&uid);
                if let (Some(reason), false) = (end_reason(detail), arriving) {
                    if noted.endings.len() == ENDINGS_MAX {
                        noted.endings.pop_front();
                    }
                    noted.endings.push_back(Ending { uid, reason });
                }
            }
            _ => {}
        }
        drop(noted);
        self.wake();
    }

    fn job_completed(&self, uid: Uid, figures: &Figures) {
        if let Some(cost) = self.noted.lock().leaving.get_mut(&uid) {
            *cost = Some(MigrationReport {
                total_ms: figures.elapsed_ms,
                downtime_ms: figures.downtime_ms,
                sent_bytes: figures.sent_bytes,
            });
        }
    }
}

/// None: it has not ended (libvirt made it anew in its place).
fn end_reason(detail: u32) -> Option<EndReason> {
    Some(match detail {
        sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN => EndReason::ShutDown,
        sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED => EndReason::Crashed,
        sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED => EndReason::MovedAway,
        sys::VIR_DOMAIN_EVENT_STOPPED_FAILED => EndReason::EmulatorDied,
        STOPPED_RECREATED => return None,
        // Destroyed, saved, reverted to a snapshot: by someone's hand.
        _ => EndReason::PoweredOff,
    })
}

/// What the callbacks of one connection share.
struct Watcher {
    notices: Arc<Notices>,
    closed: AtomicBool,
}

/// The callbacks of one connection. They hold it open until [`Subscription::cancel`].
pub(super) struct Subscription {
    watcher: Arc<Watcher>,
    callbacks: Vec<c_int>,
}

impl Subscription {
    pub fn new(connect: &Connect, notices: &Arc<Notices>) -> Result<Self, Error> {
        let watcher = Arc::new(Watcher { notices: notices.clone(), closed: AtomicBool::new(false) });
        let mut subscription = Subscription { watcher, callbacks: Vec::new() };
        // SAFETY: libvirt calls a lifecycle callback with exactly `on_lifecycle`'s arguments; its own
        // header asks for this cast (VIR_DOMAIN_EVENT_CALLBACK).
        let lifecycle = unsafe {
            std::mem::transmute::<sys::virConnectDomainEventCallback, sys::virConnectDomainEventGenericCallback>(
                Some(on_lifecycle),
            )
        };
        // SAFETY: as above, for job events and `on_job_completed`.
        let completed = unsafe {
            std::mem::transmute::<JobCompletedCallback, sys::virConnectDomainEventGenericCallback>(Some(
                on_job_completed,
            ))
        };
        subscription.register(connect, sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle)?;
        if let Err(error) = subscription.register(connect, sys::VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, completed)
        {
            tracing::debug!(%error, "migrations' costs will not be known");
        }
        let opaque = subscription.share();
        // SAFETY: the connection is open; `opaque` is an Arc's pointer that only `release` ends.
        let registered = unsafe {
            sys::virConnectRegisterCloseCallback(connect.as_ptr(), Some(on_close), opaque, Some(release))
        };
        if registered < 0 {
            // SAFETY: libvirt refused it, so it will not call `release`.
            unsafe { release(opaque) };
            tracing::debug!(error = %Error::last_error(), "a closed connection will be noticed when it is used");
        }
        Ok(subscription)
    }

    pub fn is_closed(&self) -> bool {
        self.watcher.closed.load(Ordering::Acquire)
    }

    /// Ends the callbacks; may ask libvirt, so may block.
    pub fn cancel(self, connect: &Connect) {
        for callback in self.callbacks {
            // SAFETY: registered on this connection and not ended before; a dead one refuses politely.
            unsafe { sys::virConnectDomainEventDeregisterAny(connect.as_ptr(), callback) };
        }
        // SAFETY: the same function that was registered; where none is, libvirt only says so.
        unsafe { sys::virConnectUnregisterCloseCallback(connect.as_ptr(), Some(on_close)) };
    }

    fn register(
        &mut self,
        connect: &Connect,
        event: sys::virDomainEventID,
        callback: sys::virConnectDomainEventGenericCallback,
    ) -> Result<(), Error> {
        let opaque = self.share();
        // SAFETY: the connection is open, null means every domain, `callback` fits `event`, and
        // `opaque` is an Arc's pointer that only `release` ends.
        let id = unsafe {
            sys::virConnectDomainEventRegisterAny(
                connect.as_ptr(),
                std::ptr::null_mut(),
                event as c_int,
                callback,
                opaque,
                Some(release),
            )
        };
        if id < 0 {
            let error = Error::last_error();
            // SAFETY: libvirt refused it, so it will not call `release`.
            unsafe { release(opaque) };
            return Err(error);
        }
        self.callbacks.push(id);
        Ok(())
    }

    fn share(&self) -> *mut c_void {
        Arc::into_raw(self.watcher.clone()).cast_mut().cast()
    }
}

/// # Safety
/// `opaque` comes from [`Subscription::share`], and nothing uses it afterwards.
unsafe extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: the caller's promise; this gives back what `share` took.
    drop(unsafe { Arc::from_raw(opaque.cast::<Watcher>().cast_const()) });
}

/// # Safety
/// `domain` is a live domain.
unsafe fn uid_of(domain: sys::virDomainPtr) -> Option<Uid> {
    let mut text = [0 as c_char; sys::VIR_UUID_STRING_BUFLEN as usize];
    // SAFETY: the buffer has the length that libvirt's header asks for; asks nobody, only formats.
    if unsafe { sys::virDomainGetUUIDString(domain, text.as_mut_ptr()) } < 0 {
        return None;
    }
    let bytes: Vec<u8> = text.iter().map(|c| *c as u8).take_while(|b| *b != 0).collect();
    std::str::from_utf8(&bytes).ok()?.parse().ok()
}

/// # Safety
/// Called by libvirt alone, as its header says, with an `opaque` of [`Subscription::share`].
unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: libvirt releases `opaque` only after the last call.
    let watcher = unsafe { &*opaque.cast::<Watcher>() };
    // SAFETY: libvirt holds the domain for the time of the call.
    if let Some(uid) = unsafe { uid_of(domain) } {
        watcher.notices.lifecycle(uid, event as u32, detail as u32);
    }
    0
}

type JobCompletedCallback = Option<
    unsafe extern "C" fn(
        sys::virConnectPtr,
        sys::virDomainPtr,
        sys::virTypedParameterPtr,
        c_int,
        *mut c_void,
    ),
>;

/// # Safety
/// Called by libvirt alone, as its header says, with an `opaque` of [`Subscription::share`].
unsafe extern "C" fn on_job_completed(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    params: sys::virTypedParameterPtr,
    count: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt releases `opaque` only after the last call.
    let watcher = unsafe { &*opaque.cast::<Watcher>() };
    // SAFETY: libvirt holds the domain and the parameters for the time of the call.
    if let (Some(uid), figures) = unsafe { (uid_of(domain), Figures::read(params, count)) } {
        watcher.notices.job_completed(uid, &figures);
    }
}

/// # Safety
/// Called by libvirt alone, as its header says, with an `opaque` of [`Subscription::share`].
unsafe extern "C" fn on_close(_: sys::virConnectPtr, reason: c_int, opaque: *mut c_void) {
    // SAFETY: libvirt releases `opaque` only after the last call.
    let watcher = unsafe { &*opaque.cast::<Watcher>() };
    watcher.closed.store(true, Ordering::Release);
    tracing::warn!(reason, "the connection to libvirt closed");
    watcher.notices.wake();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_did_not_arrive_has_not_ended() {
        let (notices, uid) = (Notices::new(), Uid::from_random(1));
        let started = (sys::VIR_DOMAIN_EVENT_STARTED, sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED);
        notices.lifecycle(uid, started.0, started.1);
        notices.lifecycle(uid, sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_FAILED);
        assert_eq!(notices.take_endings(), []);
        notices.lifecycle(uid, started.0, started.1);
        notices.lifecycle(uid, sys::VIR_DOMAIN_EVENT_RESUMED, 1);
        notices.lifecycle(uid, sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_FAILED);
        assert_eq!(notices.take_endings(), [Ending { uid, reason: EndReason::EmulatorDied }]);
        assert_eq!(notices.take_endings(), [], "told once");
    }

    #[test]
    fn every_way_to_end_has_its_reason() {
        let reasons = [
            (sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, Some(EndReason::ShutDown)),
            (sys::VIR_DOMAIN_EVENT_STOPPED_DESTROYED, Some(EndReason::PoweredOff)),
            (sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED, Some(EndReason::Crashed)),
            (sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED, Some(EndReason::MovedAway)),
            (sys::VIR_DOMAIN_EVENT_STOPPED_FAILED, Some(EndReason::EmulatorDied)),
            (STOPPED_RECREATED, None),
        ];
        for (detail, reason) in reasons {
            assert_eq!(end_reason(detail), reason, "detail {detail}");
        }
    }
}
