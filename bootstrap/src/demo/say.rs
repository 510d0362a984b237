//! How the demo speaks: chapters, the command that would do the same, and plain sentences. All on stdout, since it is what
//! the user has asked for; nothing is coloured unless a terminal reads it.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// The teller of the demo.
#[derive(Debug)]
pub struct Teller {
    began: Instant,
    terminal: bool,
    pvc: String,
    bootstrap: String,
}

impl Teller {
    /// `bootstrap` is this program's file; `pvc` lies beside it.
    pub fn new(bootstrap: &Path) -> Self {
        let here = |path: &Path| shortest(path, std::env::current_dir().ok());
        Self {
            began: Instant::now(),
            terminal: std::io::stdout().is_terminal(),
            pvc: here(&bootstrap.with_file_name("pvc")),
            // who has come here by sudo needs it again
            bootstrap: match std::env::var_os("SUDO_UID") {
                Some(_) => format!("sudo {}", here(bootstrap)),
                None => here(bootstrap),
            },
        }
    }

    /// How long the demo has lasted.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn chapter(&self, title: &str) {
        let at = match self.elapsed() {
            short if short < Duration::from_secs(1) => String::new(),
            long => format!("  ({} after the start)", seconds(long)),
        };
        if self.terminal {
            println!("\n\x1b[1m{title}\x1b[0m\x1b[2m{at}\x1b[0m");
        } else {
            println!("\n{title}{at}");
        }
    }

    pub fn line(&self, text: &str) {
        println!("  {text}");
    }

    /// The command line of `pvc` that does the same as the call that follows.
    pub fn pvc(&self, args: &[&str]) {
        self.command(&format!("pvc {}", typed(args)));
    }

    /// Any other command line that does the same.
    pub fn command(&self, line: &str) {
        if self.terminal {
            println!("  \x1b[36m$ {line}\x1b[0m");
        } else {
            println!("  $ {line}");
        }
    }

    /// `pvc` as the reader can type it here.
    pub fn pvc_here(&self, args: &str) -> String {
        format!("{} {args}", self.pvc)
    }

    /// `pvc-bootstrap` as the reader can type it here.
    pub fn bootstrap_here(&self) -> &str {
        &self.bootstrap
    }
}

/// The path from the working directory if it lies below that.
fn shortest(path: &Path, here: Option<PathBuf>) -> String {
    let below = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.unwrap_or_else(|| path.to_owned()).display().to_string()
}

/// Arguments as one would type them at a shell.
fn typed(args: &[&str]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=+.,:/@%".contains(c);
    let quoted = |arg: &&str| {
        if !arg.is_empty() && arg.chars().all(plain) {
            (*arg).to_owned()
        } else {
            format!("'{}'", arg.replace('\'', "'\\''"))
        }
    };
    args.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// "4.2 s", "130 ms".
pub fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        assert_eq!(
            typed(&["vm", "define", "demo1", "--cmdline", "console=ttyS0 quiet"]),
            "vm define demo1 --cmdline 'console=ttyS0 quiet'"
        );
        assert_eq!(typed(&["it's", ""]), "'it'\\''s' ''");
    }

    #[test]
    fn paths_are_told_as_short_as_they_can_be_typed() {
        let pvc = Path::new("/src/target/release/pvc");
        assert_eq!(shortest(pvc, Some("/src".into())), "target/release/pvc");
        assert_eq!(shortest(pvc, Some("/home".into())), "/src/target/release/pvc");
        assert_eq!(shortest(pvc, None), "/src/target/release/pvc");
    }

    #[test]
    fn times_are_told_as_people_read_them() {
        assert_eq!(seconds(Duration::from_millis(130)), "130 ms");
        assert_eq!(seconds(Duration::from_millis(4249)), "4.2 s");
    }
}
