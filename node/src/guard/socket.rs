//! How the daemon and the guard of one host talk: a socket, and one line of JSON each way for each connection. Only root may
//! open it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::{Answer, Ask, GuardError, GuardPort, SinceBoot, since_boot};

/// A guard that lives answers at once.
const WITHIN: Duration = Duration::from_secs(1);
/// Nobody has more to say.
const LINE_MAX: u64 = 4096;

pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("guard.sock")
}

/// Where there was one of a guard before, it is gone: two guards of one host are kept apart otherwise.
pub(super) fn listen(run_dir: &Path) -> io::Result<UnixListener> {
    let path = path(run_dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers one connection.
pub(super) async fn serve(
    stream: UnixStream,
    answer: impl FnOnce(Ask) -> Result<Answer, String>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream.take(LINE_MAX));
    let mut line = String::new();
    let asked = timeout(WITHIN, stream.read_line(&mut line)).await;
    asked.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let answered = serde_json::from_str(&line).map_err(|error| error.to_string()).and_then(answer);
    let mut text = serde_json::to_vec(&answered)?;
    text.push(b'\n');
    stream.into_inner().into_inner().write_all(&text).await
}

/// The daemon's end.
pub struct SocketPort {
    path: PathBuf,
}

impl SocketPort {
    pub fn of(run_dir: &Path) -> Self {
        SocketPort { path: path(run_dir) }
    }

    async fn call(&self, ask: Ask) -> io::Result<Result<Answer, String>> {
        let mut stream = UnixStream::connect(&self.path).await?;
        let mut text = serde_json::to_vec(&ask)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        let mut line = String::new();
        BufReader::new(stream.take(LINE_MAX)).read_line(&mut line).await?;
        Ok(serde_json::from_str(&line)?)
    }
}

#[async_trait]
impl GuardPort for SocketPort {
    async fn ask(&self, ask: Ask) -> Result<Answer, GuardError> {
        match timeout(WITHIN, self.call(ask)).await {
            Ok(Ok(answer)) => answer.map_err(GuardError),
            Ok(Err(error)) => Err(GuardError(error.to_string())),
            Err(_) => Err(GuardError(format!("not within {WITHIN:?}"))),
        }
    }

    fn now(&self) -> SinceBoot {
        since_boot()
    }
}
