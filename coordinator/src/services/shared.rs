//! What every service needs: the core, who we are, and the ways in which all of them submit, read and
//! answer.

use std::sync::Arc;
use std::time::Duration;

use pvc_identity::{CaPin, Vault};
use pvc_model::change::Collection;
use pvc_model::{Command, Name, Node, Rejection, Task, World};
use pvc_proto::convert::{At, task_view};
use pvc_proto::v1;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::caller::Caller;
use super::hosts::Hosts;
use crate::core::{Committed, Coordinator};
use crate::status;

/// Longest request id, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// How long a page of a list waits for a replica to reach the revision of the page before.
const PAGE_PATIENCE: Duration = Duration::from_secs(5);

/// Shared by all services of one coordinator. Clones are cheap.
#[derive(Clone)]
pub struct Shared {
    pub core: Coordinator,
    /// This coordinator's own node.
    pub node: Name,
    pub cluster_id: String,
    /// What join tokens pin: the CA's fingerprint, as it was when this process started.
    pub ca_pin: CaPin,
    /// Seals the passwords that go into the cluster's state.
    pub vault: Vault,
    pub hosts: Arc<dyn Hosts>,
    /// Cancelled when the server drains: every stream ends then.
    pub closing: CancellationToken,
}

impl Shared {
    /// Decides and commits `command` in the caller's name.
    pub async fn submit(
        &self,
        caller: &Caller,
        command: Command,
        request_id: &str,
    ) -> Result<Committed, Status> {
        let request_id = checked_request_id(request_id)?;
        let result = self.core.submit(command, &caller.identity, request_id).await;
        result.map_err(|error| status::submit(&error, self.leader().as_ref()))
    }

    /// The leader's name and address, as far as known.
    pub fn leader(&self) -> Option<(Name, String)> {
        let world = self.core.world();
        let name = self.core.leader()?;
        let address = world.nodes.get(&name)?.status.address.clone();
        Some((name, address))
    }

    /// The world, as fresh as asked.
    pub async fn world(&self, consistency: i32) -> Result<World, Status> {
        match v1::Consistency::try_from(consistency) {
            Ok(v1::Consistency::Cached) => Ok(self.core.world()),
            Ok(v1::Consistency::Unspecified | v1::Consistency::Linearizable) => {
                self.core.linearizable_world().await.map_err(|error| status::read(&error))
            }
            Err(error) => {
                Err(refuse(Rejection::invalid("unknown-value", "request", format!("consistency: {error}"))))
            }
        }
    }

    /// The world for a page of a list: not older than the page before.
    pub async fn page_world(&self, consistency: i32, at_least: u64) -> Result<World, Status> {
        let world = self.world(consistency).await?;
        if world.revision >= at_least {
            return Ok(world);
        }
        let mut worlds = self.core.worlds();
        let reached = worlds.wait_for(|world| world.revision >= at_least);
        match tokio::time::timeout(PAGE_PATIENCE, reached).await {
            Ok(Ok(world)) => Ok(world.clone()),
            Ok(Err(_)) => Err(status::stopping()),
            Err(_) => {
                Err(status::unreachable("cluster", "this coordinator lags behind the page before this one"))
            }
        }
    }

    /// A node's connection details.
    pub fn node_address(world: &World, node: &Name) -> Result<String, Status> {
        let node = world.node(node).map_err(refuse)?;
        Ok(node.status.address.clone())
    }

    /// A task as it is shown, with its progress where this coordinator knows it.
    pub fn show_task(&self, task: &Task) -> v1::Task {
        let progress = self.core.heartbeats().progress(&task.meta.name).filter(|_| !task.is_over());
        task_view(task, progress.map(|p| (p.percent, p.text)))
    }

    /// A node as it is shown, with its load where this coordinator knows it.
    pub fn show_node(&self, world: &World, node: &Node) -> v1::Node {
        let load = self.core.leading().and_then(|_| self.core.heartbeats().load(&node.meta.name));
        let load = load.map(|(load, age)| v1::NodeLoad {
            load: load.load,
            memory_used_mib: load.memory_used_mib,
            vms_running: load.vms_running,
            heartbeat_age_seconds: age.as_secs_f64(),
        });
        pvc_proto::convert::node_view(world, node, self.core.leader().as_ref(), load)
    }

    /// The task that a command was answered with.
    pub fn reply_task(&self, committed: &Committed) -> Result<v1::Task, Status> {
        let name = reply_name(committed, Collection::Tasks)?;
        let task = committed.world.task(name).map_err(refuse)?;
        Ok(self.show_task(task))
    }
}

/// The name of the object that a command was answered with.
pub fn reply_name(committed: &Committed, collection: Collection) -> Result<&Name, Status> {
    match &committed.reply {
        Some(key) if key.collection == collection => Ok(&key.name),
        Some(key) => {
            let detail = format!("this request id was used for something else, answered with {key}");
            Err(refuse(Rejection::precondition("request-id-unique", "request", detail)))
        }
        None => Err(status::internal("a decision without an answer")),
    }
}

pub fn refuse(rejection: Rejection) -> Status {
    status::rejected(&rejection)
}

/// A name in a request. `field` is where it stands.
pub fn name(kind: &str, field: &str, text: &str) -> Result<Name, Status> {
    let subject = format!("{kind}/{text}");
    At::new(&subject).field(field).name(text).map_err(refuse)
}

/// A name that may be left out.
pub fn optional_name(kind: &str, field: &str, text: &str) -> Result<Option<Name>, Status> {
    if text.is_empty() { Ok(None) } else { name(kind, field, text).map(Some) }
}

fn checked_request_id(id: &str) -> Result<Option<String>, Status> {
    if id.len() > REQUEST_ID_BYTES_MAX || !id.bytes().all(|b| b.is_ascii_graphic()) {
        let detail =
            format!("request_id: at most {REQUEST_ID_BYTES_MAX} printable ASCII characters, no blanks");
        return Err(refuse(Rejection::invalid("request-id", "request", detail)));
    }
    Ok((!id.is_empty()).then(|| id.to_owned()))
}
