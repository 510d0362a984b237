//! The quorum is lost for ever: this host's coordinator goes on alone, with its log and state as they are, as the only
//! voter of a cluster that refuses the lost ones.
//!
//! The cluster keeps its id, its CA, certificates and tokens; the *store* gets another name (`store_id`), which its data, its
//! members and all calls between them carry. `pvcd` sees that the objects do not know of the recovery yet, begins a new
//! incarnation, and looks for all guests before it starts any (docs/decisions/0010).
//!
//! Never happens here: stopping or starting anything. Every step may be repeated.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use raft_store::{Member, OpenError, Recovery, Store, Survivor};

use crate::daemon_config::{DaemonConfig, Role, store_id};
use crate::durable_file;

/// What is recovered, read from a host's configuration.
pub struct Plan {
    path: PathBuf,
    config: DaemonConfig,
    recovery: Recovery,
}

impl Plan {
    /// Reads `pvcd.toml`.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = durable_file::read_text_if_there(path)?
            .with_context(|| format!("{} is not there: this host is no coordinator", path.display()))?;
        let config: DaemonConfig = toml::from_str(&text)
            .with_context(|| format!("{} is not a configuration of pvcd", path.display()))?;
        if config.role != Role::Coordinator {
            bail!(
                "this host is a hypervisor and has no copy of the state: recover on a coordinator that survived"
            );
        }
        let recovery = Recovery {
            dir: config.data_dir.join("store"),
            me: Member::new(config.member_id, config.listen.to_string()),
            old_cluster_id: store_id(&config.cluster_id, config.recoveries),
            new_cluster_id: store_id(&config.cluster_id, config.recoveries + 1),
        };
        Ok(Plan { path: path.to_owned(), config, recovery })
    }

    /// What this host has; None: its store was recovered already, and the rest is to be done.
    pub async fn survivor(&self) -> anyhow::Result<Option<Survivor>> {
        match Store::survivor(&self.recovery).await {
            Ok(survivor) => Ok(survivor),
            Err(error @ OpenError::InUse { .. }) => {
                Err(error).context("pvcd runs: stop it first (systemctl stop pvcd); guests go on")
            }
            Err(error) => Err(error).context("this host's store can't be recovered"),
        }
    }

    /// What a person should know before going on.
    pub fn tell(&self, survivor: Option<&Survivor>) -> String {
        let Some(survivor) = survivor else {
            return "the store is recovered already; the rest is still to be done\n".to_owned();
        };
        let when =
            survivor.last_write_ms.and_then(|ms| Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok());
        let when =
            when.map_or_else(|| "at a time that its log does not tell".to_owned(), |at| format!("at {at}"));
        let list = |collection| survivor.view.list(collection, "").count();
        let others: Vec<String> = survivor.others.iter().map(ToString::to_string).collect();
        format!(
            "node {node} of cluster {cluster} (member {id})\n\
             \x20 last revision   {revision}, written {when}\n\
             \x20 known committed {committed}\n\
             \x20 holds           {nodes} nodes, {vms} VMs, {volumes} volumes\n\
             \x20 lost for ever   {others}\n\
             What was written after revision {revision} and acknowledged by the others alone is lost. If another\n\
             coordinator survived, run this there too, answer no, and recover the one with the higher revision.\n\
             The lost ones are refused for ever: their data, their calls, their orders. Nothing that runs is touched.\n",
            node = self.config.node,
            cluster = self.config.cluster_id,
            id = self.config.member_id,
            revision = survivor.revision,
            committed = survivor.committed,
            nodes = list("nodes"),
            vms = list("vms"),
            volumes = list("volumes"),
            others = if others.is_empty() { "nobody".to_owned() } else { others.join(", ") },
        )
    }

    /// Does it. The configuration comes last: until it says so, pvcd refuses to start on the new store.
    pub async fn run(&self) -> anyhow::Result<()> {
        Store::recover(&self.recovery).await.context("the store was not recovered; run this again")?;
        let recoveries = self.config.recoveries + 1;
        let config = DaemonConfig {
            recoveries,
            // The others are of the past; joiners will tell of themselves.
            coordinators: self
                .config
                .coordinators
                .iter()
                .filter(|c| c.node == self.config.node)
                .cloned()
                .collect(),
            ..self.config.clone()
        };
        let text = toml::to_string(&config).context("the configuration has only texts and tables")?;
        durable_file::write(&self.path, text.as_bytes(), 0o644)?;
        Ok(())
    }

    /// Where the old store is kept.
    pub fn kept(&self) -> PathBuf {
        self.recovery.kept()
    }
}

/// Asks on the terminal. False where there is none.
pub fn confirmed() -> bool {
    eprint!("Recover the cluster from this host? [yes/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}
