//! `pvc-process`: who starts programs. The one way from PVC to an outside program.
//!
//! ```text
//! Cmd::new("ip").args(["-j", "link"]).run(deadline).await? ──▶ Output      a program that ends
//! Cmd::new("libvirtd").in_netns("hv1").spawn_daemon(&logs)? ─▶ Daemon      a program that outlives us
//! runner.run(cmd, deadline).await?                                         the same behind a trait: real, recorded, replayed
//! ```
//! What holds here, always:
//! * Arguments go to the program as they are. There is no shell, so there is nothing to quote or to inject.
//! * The environment is empty but for `PATH` and what the caller sets: programs speak C locale and find no surprises.
//! * A program that should end has a deadline, and a limit on what it may say. When either is passed, or the caller goes
//!   away, its whole process group is killed.
//! * An error names the program, its arguments (secrets left out), how it ended, and the last of what it said.
//!
//! What never happens here: knowing any particular program. Arguments and output belong to the adapters.
#![expect(clippy::disallowed_methods, reason = "this crate is the one that may start programs")]

mod cmd;
mod daemon;
mod error;
mod replay;
mod run;
mod runner;

pub use cmd::{Cmd, OUTPUT_BYTES_MAX_DEFAULT};
pub use daemon::{Daemon, DaemonId, DaemonIdError, DaemonLogs, StopError};
pub use error::{CmdError, Exit};
pub use replay::{Exchange, Recording, RecordingError, RecordingRunner, ReplayingRunner};
pub use run::Output;
pub use runner::{RealRunner, Runner};
