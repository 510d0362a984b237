//! The host's watchdog: it resets the host when nobody has petted it for a while. Opened only while the guard is armed; let go
//! in order only when it is disarmed. A guard that dies with it open has the host reset.
//!
//! What may never happen here: opening a watchdog that can't be let go (`nowayout`), for then every end of the guard would
//! reset the host.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::ioctl::{Getter, Opcode, Updater, ioctl, opcode};

use super::{Kind, WATCHDOG_TIMEOUT};

/// What resets the host unless it is petted.
pub(super) trait Dog: Send {
    fn pet(&mut self) -> io::Result<()>;

    /// It resets nobody any more.
    fn let_go(self: Box<Self>) -> io::Result<()>;
}

/// A watchdog that is held, and what it is.
pub(super) struct Held {
    pub dog: Box<dyn Dog>,
    pub kind: Kind,
    pub name: String,
}

/// Where the watchdog is, or that there is none to be used.
#[derive(Clone, Debug)]
pub struct Kennel {
    pub device: Option<PathBuf>,
    /// Where the kernel tells of its watchdogs.
    pub class: PathBuf,
}

impl Kennel {
    pub fn at(device: Option<PathBuf>) -> Self {
        Kennel { device, class: PathBuf::from("/sys/class/watchdog") }
    }

    /// None: there is none that can be used, and the log says why.
    pub(super) fn open(&self) -> Option<Held> {
        let device = self.device.as_ref()?;
        if !device.exists() {
            tracing::info!(device = %device.display(), "there is no watchdog: this process guards alone");
            return None;
        }
        if let Some(which) = cannot_be_let_go(&self.class) {
            tracing::warn!(which, "its watchdog can't be let go (nowayout): this process guards alone");
            return None;
        }
        match Device::open(device) {
            Ok(held) => {
                tracing::info!(kind = ?held.kind, name = held.name, "the watchdog resets this host if it is not petted");
                Some(held)
            }
            Err(error) => {
                tracing::warn!(device = %device.display(), %error, "the watchdog can't be used: this process guards alone");
                None
            }
        }
    }
}

fn cannot_be_let_go(class: &Path) -> Option<String> {
    let dogs = fs::read_dir(class).ok()?;
    dogs.flatten().find_map(|dog| {
        let told = fs::read_to_string(dog.path().join("nowayout")).unwrap_or_default();
        (told.trim() == "1").then(|| dog.file_name().to_string_lossy().into_owned())
    })
}

/// `struct watchdog_info` of linux/watchdog.h.
#[repr(C)]
struct Info {
    options: u32,
    firmware: u32,
    identity: [u8; 32],
}

const GET_SUPPORT: Opcode = opcode::read::<Info>(b'W', 0);
const SET_TIMEOUT: Opcode = opcode::read_write::<i32>(b'W', 6);
/// It can be let go by writing a `V`.
const MAGIC_CLOSE: u32 = 0x0100;
/// How the kernel's own one calls itself.
const SOFTDOG: &str = "Software Watchdog";

struct Device {
    file: File,
}

impl Device {
    fn open(path: &Path) -> io::Result<Held> {
        let file = OpenOptions::new().write(true).open(path)?;
        let mut device = Device { file };
        match device.set_up() {
            Ok((kind, name)) => Ok(Held { dog: Box::new(device), kind, name }),
            Err(error) => {
                Box::new(device).let_go()?;
                Err(error)
            }
        }
    }

    fn set_up(&mut self) -> io::Result<(Kind, String)> {
        // SAFETY: the opcode is that of linux/watchdog.h, and fills a struct of this very layout.
        let info = unsafe { ioctl(&self.file, Getter::<GET_SUPPORT, Info>::new())? };
        if info.options & MAGIC_CLOSE == 0 {
            return Err(io::Error::other("it can't be let go"));
        }
        let mut seconds = WATCHDOG_TIMEOUT.as_secs() as i32;
        // SAFETY: the opcode is that of linux/watchdog.h, and reads and writes one int.
        unsafe { ioctl(&self.file, Updater::<SET_TIMEOUT, i32>::new(&mut seconds))? };
        // It takes what it can do.
        if Duration::from_secs(seconds.max(0).unsigned_abs().into()) > WATCHDOG_TIMEOUT {
            return Err(io::Error::other(format!("it resets after {seconds} s, and not sooner")));
        }
        let end = info.identity.iter().position(|byte| *byte == 0).unwrap_or(info.identity.len());
        let name = String::from_utf8_lossy(&info.identity[..end]).trim().to_owned();
        let kind = if name == SOFTDOG { Kind::Softdog } else { Kind::Device };
        self.pet()?;
        Ok((kind, name))
    }
}

impl Dog for Device {
    fn pet(&mut self) -> io::Result<()> {
        self.file.write_all(b"\0")
    }

    fn let_go(mut self: Box<Self>) -> io::Result<()> {
        self.file.write_all(b"V")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_that_cannot_be_let_go_is_not_opened() {
        let dir = tempfile::tempdir().expect("a directory");
        let (class, device) = (dir.path().join("class"), dir.path().join("watchdog"));
        fs::create_dir_all(class.join("watchdog0")).expect("made");
        fs::write(class.join("watchdog0/nowayout"), "1\n").expect("written");
        fs::write(&device, "").expect("written");
        let kennel = Kennel { device: Some(device.clone()), class: class.clone() };
        assert!(kennel.open().is_none());
        assert_eq!(fs::read(&device).expect("read"), b"", "nothing was asked of it");
        fs::write(class.join("watchdog0/nowayout"), "0\n").expect("written");
        assert!(kennel.open().is_none(), "a file is no watchdog");
        assert_eq!(fs::read(&device).expect("read"), b"V", "what was opened is let go");
        assert!(Kennel::at(None).open().is_none());
    }
}
