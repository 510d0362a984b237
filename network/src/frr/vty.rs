//! Speaks with one of FRRouting's daemons by its own socket, as `vtysh` does: 0.2 ms for a command, where a `vtysh` takes 100.
//!
//! A command ends with a NUL; the answer with three and a byte that says how it went: 0 well.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// A daemon that computes routes may be busy for a while.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
const END: [u8; 3] = [0; 3];

#[derive(Debug, thiserror::Error)]
pub enum VtyError {
    #[error("{daemon} does not run: nothing answers at its socket ({source})")]
    NotRunning { daemon: String, source: io::Error },
    #[error("{daemon} has gone away: {source}")]
    Broken { daemon: String, source: io::Error },
    #[error("{daemon} does not answer `{command}` within {} s", ANSWERS_WITHIN.as_secs())]
    Silent { daemon: String, command: String },
    #[error("{daemon} refuses `{command}`: {said}")]
    Refused { daemon: String, command: String, said: String },
    #[error("{daemon} answers `{command}` with what can't be read: {source}")]
    Unreadable { daemon: String, command: String, source: serde_json::Error },
}

pub(super) struct Vty {
    daemon: String,
    stream: UnixStream,
}

impl Vty {
    pub(super) async fn open(run_dir: &Path, daemon: &str) -> Result<Vty, VtyError> {
        let path = run_dir.join(format!("{daemon}.vty"));
        let stream = UnixStream::connect(&path)
            .await
            .map_err(|source| VtyError::NotRunning { daemon: daemon.to_owned(), source })?;
        let mut vty = Vty { daemon: daemon.to_owned(), stream };
        vty.command("enable").await?;
        Ok(vty)
    }

    /// What it answers; a refusal is an error.
    pub(super) async fn command(&mut self, command: &str) -> Result<String, VtyError> {
        let answer = timeout(ANSWERS_WITHIN, self.exchange(command))
            .await
            .map_err(|_| VtyError::Silent { daemon: self.daemon.clone(), command: command.to_owned() })?;
        let (status, text) =
            answer.map_err(|source| VtyError::Broken { daemon: self.daemon.clone(), source })?;
        if status == 0 {
            return Ok(text);
        }
        let said = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        Err(VtyError::Refused { daemon: self.daemon.clone(), command: command.to_owned(), said })
    }

    pub(super) async fn json(&mut self, command: &str) -> Result<serde_json::Value, VtyError> {
        let text = self.command(command).await?;
        // Of what there is none, some daemons say nothing at all.
        if text.trim().is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_str(&text).map_err(|source| VtyError::Unreadable {
            daemon: self.daemon.clone(),
            command: command.to_owned(),
            source,
        })
    }

    async fn exchange(&mut self, command: &str) -> io::Result<(u8, String)> {
        self.stream.write_all(command.as_bytes()).await?;
        self.stream.write_all(&[0]).await?;
        let mut answer = Vec::new();
        loop {
            if self.stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((status, rest)) = answer.split_last()
                && let Some(text) = rest.strip_suffix(&END)
            {
                return Ok((*status, String::from_utf8_lossy(text).into_owned()));
            }
        }
    }
}
