//! A guest's serial console: libvirt's stream on a thread of its own, joined to a tokio pipe.
//!
//! The thread owns the stream. It ends, and frees it, when the user lets go, when another takes the
//! console over, and when the guest or the connection goes. The guest notices none of it.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::stream::Stream;
use virt::sys;

use super::connection::Connection;
use super::threads::CallError;
use crate::hypervisor::HypervisorError;
use pvc_model::Uid;

/// Bytes taken at once.
const CHUNK: usize = 4096;
/// Chunks on their way, each direction.
const CHUNKS: usize = 16;
/// Wait before more is given to a stream that takes nothing now.
const FULL_WAIT: Duration = Duration::from_millis(5);
const WATCH_ALL: u32 =
    sys::VIR_STREAM_EVENT_READABLE | sys::VIR_STREAM_EVENT_ERROR | sys::VIR_STREAM_EVENT_HANGUP;

enum Wake {
    /// The stream has something to say, its end perhaps.
    Stream,
    Typed(Bytes),
    Gone,
}

/// An open console's two pipes.
pub(super) struct Session {
    wakes: mpsc::Sender<Wake>,
    said: mpsc::Receiver<Bytes>,
}

/// Opens a console. Blocks, and belongs on a thread of libvirt's.
pub(super) fn open(
    connection: &Arc<Connection>,
    domain: &Domain,
    uid: Uid,
    take_over: bool,
) -> Result<Session, CallError> {
    let stream = Stream::new(connection, sys::VIR_STREAM_NONBLOCK)?;
    let flags = if take_over { sys::VIR_DOMAIN_CONSOLE_FORCE } else { 0 };
    domain.open_console(None, &stream, flags).map_err(|error| match error.code() {
        // libvirt has no number of its own for it.
        ErrorNumber::OperationFailed if error.message().contains("console session") => {
            CallError::Said(HypervisorError::ConsoleBusy { uid })
        }
        _ => CallError::Libvirt(error),
    })?;
    let (wakes, woken) = mpsc::channel(CHUNKS);
    let (say, said) = mpsc::channel(CHUNKS);
    watch(&stream, &wakes)?;
    let connection = connection.clone();
    let serve = move || {
        relay(&stream, woken, &say);
        // SAFETY: the stream is alive, and the callback was added by `watch`.
        unsafe { sys::virStreamEventRemoveCallback(stream.as_ptr()) };
        // One that has ended by itself says that it has; the memory is freed either way.
        let _ = stream.abort();
        drop(connection);
    };
    let refused = |e: std::io::Error| {
        let detail = format!("no thread for it: {e}");
        CallError::Said(HypervisorError::Refused { request: "open the console", detail })
    };
    super::threads::named("libvirt-console").spawn(serve).map_err(refused)?;
    Ok(Session { wakes, said })
}

impl Session {
    /// Joins the session to a pipe; the end that is given back is the console.
    pub fn join(self) -> DuplexStream {
        let Session { wakes, mut said } = self;
        let (ours, theirs) = tokio::io::duplex(CHUNK * CHUNKS);
        let (mut typed, mut screen) = tokio::io::split(theirs);
        tokio::spawn(async move {
            let mut buffer = vec![0; CHUNK];
            while let Ok(n @ 1..) = typed.read(&mut buffer).await {
                if wakes.send(Wake::Typed(Bytes::copy_from_slice(&buffer[..n]))).await.is_err() {
                    return;
                }
            }
            // Nobody listens where the thread has ended before.
            let _ = wakes.send(Wake::Gone).await;
        });
        tokio::spawn(async move {
            while let Some(chunk) = said.recv().await {
                if screen.write_all(&chunk).await.is_err() {
                    return;
                }
            }
            // The user may have gone before the guest.
            let _ = screen.shutdown().await;
        });
        ours
    }
}

/// Carries both ways until one side ends.
fn relay(stream: &Stream, mut woken: mpsc::Receiver<Wake>, say: &mpsc::Sender<Bytes>) {
    let mut typed = Bytes::new();
    loop {
        loop {
            let mut buffer = [0u8; CHUNK];
            // SAFETY: the stream is alive and libvirt writes at most the buffer's length.
            let n = unsafe { sys::virStreamRecv(stream.as_ptr(), buffer.as_mut_ptr().cast(), CHUNK) };
            match n {
                1.. => {
                    if say.blocking_send(Bytes::copy_from_slice(&buffer[..n as usize])).is_err() {
                        return;
                    }
                }
                // Nothing more for now.
                -2 => break,
                _ => return,
            }
        }
        while !typed.is_empty() {
            // SAFETY: the stream is alive and libvirt reads at most `typed`'s length.
            let n = unsafe { sys::virStreamSend(stream.as_ptr(), typed.as_ptr().cast(), typed.len()) };
            match n {
                0.. => typed.advance(n as usize),
                -2 => break,
                _ => return,
            }
        }
        // SAFETY: the stream is alive and has its callback; `on_stream` had narrowed what it hears.
        unsafe { sys::virStreamEventUpdateCallback(stream.as_ptr(), WATCH_ALL as c_int) };
        if !typed.is_empty() {
            std::thread::sleep(FULL_WAIT);
            continue;
        }
        match woken.blocking_recv() {
            Some(Wake::Stream) => {}
            Some(Wake::Typed(bytes)) => typed = bytes,
            Some(Wake::Gone) | None => return,
        }
    }
}

/// Has libvirt wake the thread when the stream has something to say.
fn watch(stream: &Stream, wakes: &mpsc::Sender<Wake>) -> Result<(), Error> {
    // Weak, or the thread would never learn that the session was dropped.
    let opaque = Box::into_raw(Box::new(wakes.downgrade())).cast::<c_void>();
    // SAFETY: the stream is alive; `opaque` is a box that only `release` ends.
    let added = unsafe {
        sys::virStreamEventAddCallback(
            stream.as_ptr(),
            WATCH_ALL as c_int,
            Some(on_stream),
            opaque,
            Some(release),
        )
    };
    if added < 0 {
        let error = Error::last_error();
        // SAFETY: libvirt refused it, so it will not call `release`.
        unsafe { release(opaque) };
        return Err(error);
    }
    Ok(())
}

/// # Safety
/// `opaque` comes from [`watch`], and nothing uses it afterwards.
unsafe extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: the caller's promise; this gives back what `watch` took.
    drop(unsafe { Box::from_raw(opaque.cast::<mpsc::WeakSender<Wake>>()) });
}

/// # Safety
/// Called by libvirt alone, as its header says, with an `opaque` of [`watch`].
unsafe extern "C" fn on_stream(stream: sys::virStreamPtr, _: c_int, opaque: *mut c_void) {
    // SAFETY: libvirt releases `opaque` only after the last call.
    let wakes = unsafe { &*opaque.cast::<mpsc::WeakSender<Wake>>() };
    // Told again and again until it is read: not before the thread has looked.
    // SAFETY: libvirt holds the stream for the time of the call, and allows this from within.
    unsafe { sys::virStreamEventUpdateCallback(stream, 0) };
    if let Some(wakes) = wakes.upgrade() {
        // When it is full, the thread is awake and will look.
        let _ = wakes.try_send(Wake::Stream);
    }
}
