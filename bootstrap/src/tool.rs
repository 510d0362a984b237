//! Programs of the host that bootstrap needs (ip, nft, apt-get, …): short words for running them by `pvc-process`.

use std::path::Path;
use std::time::Duration;

use pvc_process::{Cmd, CmdError};

/// A program that did not do what it was asked; names the command and the last of what it said.
pub type ToolError = CmdError;

/// How long `ip` may take; it normally takes milliseconds.
const IP_LIMIT: Duration = Duration::from_secs(15);

/// Runs iproute2's `ip` and gives what it wrote.
pub async fn ip(args: &[&str]) -> Result<String, ToolError> {
    run("ip", args, IP_LIMIT).await
}

/// Runs a program to its end, at most `limit`, and gives what it wrote.
pub async fn run(program: &str, args: &[&str], limit: Duration) -> Result<String, ToolError> {
    text_of(Cmd::new(program).args(args), limit).await
}

/// As [`run`], in the folder `dir`.
pub async fn run_in(dir: &Path, program: &str, args: &[&str], limit: Duration) -> Result<String, ToolError> {
    text_of(Cmd::new(program).args(args).current_dir(dir), limit).await
}

/// Runs a command that was made elsewhere and gives what it wrote to its stdout.
pub async fn text_of(command: Cmd, limit: Duration) -> Result<String, ToolError> {
    Ok(command.run(limit).await?.stdout_text().into_owned())
}
