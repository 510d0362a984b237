//! The terminal in raw mode: every key goes to the guest. However the program ends, by return, by a
//! signal that it handles, or by a panic, the terminal is as it was before.

use std::sync::{Once, OnceLock};

/// The settings from before; there is one terminal on stdin, so they are kept once.
static BEFORE: OnceLock<libc::termios> = OnceLock::new();
static PANIC_HOOK: Once = Once::new();

/// Raw while it lives.
pub struct RawMode(());

impl RawMode {
    /// Makes the terminal on stdin raw.
    pub fn enter() -> std::io::Result<RawMode> {
        let before = match BEFORE.get() {
            Some(before) => *before,
            None => {
                let settings = read_settings()?;
                *BEFORE.get_or_init(|| settings)
            }
        };
        // A release build aborts on a panic, so Drop alone would leave the terminal raw.
        PANIC_HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                usual(panic);
            }));
        });
        let mut raw = before;
        // SAFETY: `raw` is a valid termios that this function owns; cfmakeraw only writes to it.
        unsafe { libc::cfmakeraw(&mut raw) };
        write_settings(&raw)?;
        Ok(RawMode(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = BEFORE.get() {
        // Nothing can be done about a terminal that is gone.
        let _ = write_settings(before);
    }
}

fn read_settings() -> std::io::Result<libc::termios> {
    // SAFETY: termios is plain integers and arrays of them, for which all zeroes is a valid value.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a termios that lives through the call.
    match unsafe { libc::tcgetattr(libc::STDIN_FILENO, &mut settings) } {
        0 => Ok(settings),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn write_settings(settings: &libc::termios) -> std::io::Result<()> {
    // SAFETY: the pointer is to a termios that lives through the call; it is only read.
    match unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSADRAIN, settings) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
