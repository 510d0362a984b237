//! A VM's serial console on this terminal, or on a pipe.

use std::io::Read;
use std::time::Duration;

use pvc_proto::v1::ConsoleInput;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::terminal::RawMode;

/// Ctrl-].
const DETACH: u8 = 0x1d;
const KEYS_MAX: usize = 4096;
const QUEUE_CHUNKS: usize = 64;

/// Attaches to the console until the user detaches, the console closes, or, when stdin is no
/// terminal, its input has ended and the guest has been silent for `linger`.
pub async fn attach(cx: &mut Context<'_>, vm: &str, linger: Duration) -> Result<(), Failure> {
    let subject = format!("vm/{vm}");
    let session = cx.session()?;
    let (to_guest, queued) = mpsc::channel::<ConsoleInput>(QUEUE_CHUNKS);
    // The first message names the VM. The queue is empty, so this does not wait.
    let hello = ConsoleInput { vm: vm.to_owned(), data: Default::default() };
    let gone = |_| Failure::new(Exit::Other, &subject, "the console closed");
    to_guest.send(hello).await.map_err(gone)?;
    let mut from_guest = session.vms().console(ReceiverStream::new(queued)).await?.into_inner();

    let interactive = cx.io.in_terminal;
    if !cx.global.quiet {
        let how = if interactive { " Ctrl-] detaches." } else { "" };
        cx.io.note(format!("Console of {vm}.{how}"));
    }
    let mut keys = read_keys(cx);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let raw = if interactive { Some(RawMode::enter()?) } else { None };

    let mut input_ended = false;
    let end = loop {
        tokio::select! {
            message = from_guest.message() => match message {
                Ok(Some(output)) => {
                    cx.io.out.write_all(&output.data)?;
                    cx.io.out.flush()?;
                }
                Ok(None) => break End::Closed,
                Err(status) => break End::Failed(status.into()),
            },
            pressed = keys.recv(), if !input_ended => match pressed {
                None => input_ended = true,
                Some(data) => {
                    let detach = if interactive { data.iter().position(|key| *key == DETACH) } else { None };
                    let data = &data[..detach.unwrap_or(data.len())];
                    if !data.is_empty() {
                        let input = ConsoleInput { vm: String::new(), data: data.to_vec() };
                        if to_guest.send(input).await.is_err() {
                            break End::Closed;
                        }
                    }
                    if detach.is_some() {
                        break End::Detached;
                    }
                }
            },
            // Starts anew with each output, so it measures the guest's silence.
            () = tokio::time::sleep(linger), if input_ended => break End::Detached,
            _ = terminate.recv() => break End::Stopped,
            _ = hang_up.recv() => break End::Stopped,
            _ = tokio::signal::ctrl_c() => break End::Stopped,
        }
    };
    drop(raw);
    if interactive && !cx.global.quiet {
        cx.io.note("");
    }
    match end {
        End::Detached => Ok(()),
        End::Closed => {
            cx.io.note(format!("the console of {vm} closed"));
            Ok(())
        }
        End::Stopped => Err(Failure::new(Exit::Interrupted, subject, "detached by a signal")),
        End::Failed(failure) => Err(failure),
    }
}

enum End {
    Detached,
    Closed,
    Stopped,
    Failed(Failure),
}

/// Reads stdin on a thread of its own: a read that waits for a key can't be given up, so the thread
/// is left behind when the program ends.
fn read_keys(cx: &mut Context<'_>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(QUEUE_CHUNKS);
    if let Some(mut input) = cx.io.input.take() {
        std::thread::spawn(move || {
            let mut buffer = [0; KEYS_MAX];
            while let Ok(count) = input.read(&mut buffer) {
                if count == 0 || sender.blocking_send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}
