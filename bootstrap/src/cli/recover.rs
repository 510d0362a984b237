//! `pvc-bootstrap recover`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use crate::daemon_config;
use crate::recover::{self, Plan};

#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// The configuration of this host's pvcd
    #[arg(long, default_value = daemon_config::PATH)]
    config: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl RecoverArgs {
    /// Tells what this host has, asks, and makes it the only voter.
    pub async fn run(self) -> anyhow::Result<()> {
        let plan = Plan::read(&self.config)?;
        let survivor = plan.survivor().await?;
        eprint!("{}", plan.tell(survivor.as_ref()));
        if !self.yes && !recover::confirmed() {
            bail!("nothing was changed");
        }
        plan.run().await?;
        eprintln!("recovered; the old store is kept in {}", plan.kept().display());
        eprintln!(
            "start pvcd (systemctl start pvcd), then see `pvc cluster status`; docs/recover.md tells the rest"
        );
        Ok(())
    }
}
