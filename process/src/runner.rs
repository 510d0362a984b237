//! The seam for tests: adapters take a [`Runner`] and do not know whether programs really run.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::cmd::Cmd;
use crate::error::CmdError;
use crate::run::Output;

/// Somebody who runs programs to their end; the contract is that of [`Cmd::run`].
#[async_trait]
pub trait Runner: fmt::Debug + Send + Sync {
    async fn run(&self, cmd: Cmd, deadline: Duration) -> Result<Output, CmdError>;
}

/// Runs them.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealRunner;

#[async_trait]
impl Runner for RealRunner {
    async fn run(&self, cmd: Cmd, deadline: Duration) -> Result<Output, CmdError> {
        cmd.run(deadline).await
    }
}
