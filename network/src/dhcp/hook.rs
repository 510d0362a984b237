//! What dnsmasq calls with each lease: a program that hands the call to the daemon and ends. It is another process than the
//! daemon's, and lives for a millisecond; the binary `pvc-dhcp-event` is nothing but this.
//!
//! What may never happen here: a server that starts without its leases (a failed `init` ends with an error, and dnsmasq
//! does not start then); waiting longer than [`PATIENCE`].

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use super::wire::{Call, VARIABLES};

/// The variable that says where the daemon listens.
pub const SOCKET_VARIABLE: &str = "PVC_DHCP_SOCKET";
/// The variable that says which server calls.
pub const SERVER_VARIABLE: &str = "PVC_DHCP_SERVER";

/// How long a call may take, with a daemon that starts anew meanwhile. dnsmasq goes on serving while its script runs.
const PATIENCE: Duration = Duration::from_secs(4);
const TRY_EVERY: Duration = Duration::from_millis(50);
/// An answer, at most: a hundred thousand leases.
const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// The whole program: its arguments are dnsmasq's, without the program's own name.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    ignore_signals();
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    // "Scripts should be written to ignore unknown actions", says its manual.
    if !args.first().is_some_and(|action| matches!(action.as_str(), "init" | "add" | "old" | "del")) {
        return ExitCode::SUCCESS;
    }
    match call(args) {
        Ok(answer) => match io::stdout().write_all(answer.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            // dnsmasq writes it to its log.
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn call(args: Vec<String>) -> io::Result<String> {
    let missing =
        |name: &str| io::Error::other(format!("{name} is not set: dnsmasq was not started by pvcd"));
    let variable = |name: &str| std::env::var(name).map_err(|_| missing(name));
    let socket = PathBuf::from(variable(SOCKET_VARIABLE)?);
    let mut call = Call { args: vec![variable(SERVER_VARIABLE)?], ..Call::default() };
    call.args.extend(args);
    call.env
        .extend(VARIABLES.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))));
    let mut line = serde_json::to_vec(&call)?;
    line.push(b'\n');

    let until = Instant::now() + PATIENCE;
    loop {
        match ask(&socket, &line, until) {
            // The daemon starts anew: it is back soon. What has been refused is not asked again.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput && Instant::now() < until => {
                std::thread::sleep(TRY_EVERY);
            }
            answered => return answered,
        }
    }
}

fn ask(socket: &PathBuf, line: &[u8], until: Instant) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    // Zero would mean for ever.
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))?;
    stream.write_all(line)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    // "ok <bytes>", and as many: an answer that was cut off is none.
    let (head, body) = answer.split_once('\n').ok_or(io::ErrorKind::UnexpectedEof)?;
    match head.split_once(' ') {
        Some(("ok", bytes)) if bytes.parse() == Ok(body.len()) => Ok(body.to_owned()),
        Some(("refused", why)) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("pvcd refuses: {why}")))
        }
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A server that is asked to end, or to read its files anew, is asked with its whole process group; what it reports at
/// that moment is to arrive.
fn ignore_signals() {
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        // SAFETY: SIG_IGN installs no handler; no memory of ours is touched.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
