//! All services of a cluster behind one handle.

use std::time::Duration;

use jiff::Timestamp;
use pvc_proto::internal::v1::agent_service_client::AgentServiceClient;
use pvc_proto::internal::v1::join_service_client::JoinServiceClient;
use pvc_proto::v1;
use pvc_proto::v1::cluster_service_client::ClusterServiceClient;
use pvc_proto::v1::event_service_client::EventServiceClient;
use pvc_proto::v1::network_service_client::NetworkServiceClient;
use pvc_proto::v1::node_service_client::NodeServiceClient;
use pvc_proto::v1::rule_service_client::RuleServiceClient;
use pvc_proto::v1::task_service_client::TaskServiceClient;
use pvc_proto::v1::token_service_client::TokenServiceClient;
use pvc_proto::v1::vm_service_client::VmServiceClient;
use pvc_proto::v1::volume_service_client::VolumeServiceClient;

use crate::connection::{Connection, ConnectionError};
use crate::coordinators::{Coordinators, Options};
use crate::error::{CallError, is_final};

/// A list of a thousand VMs, each with an XML of its own, is more than tonic's 4 MiB.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Before a task's broken stream is opened again.
const FOLLOW_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// An identity for a write: the same write, sent again with it, is made once.
pub fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Clones are cheap and share connections.
#[derive(Clone, Debug)]
pub struct Client(Coordinators);

macro_rules! services {
    ($($name:ident: $client:ident),+ $(,)?) => {
        $(pub fn $name(&self) -> $client<Coordinators> {
            $client::new(self.0.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
        })+
    };
}

impl Client {
    /// Reads the connection's credentials; connects with the first call.
    pub fn new(connection: &Connection) -> Result<Self, ConnectionError> {
        let trust = connection.trust(Timestamp::now())?;
        let options = Options { token: connection.token.clone(), ..Options::default() };
        Ok(Client(Coordinators::new(&connection.coordinators, trust, options)))
    }

    pub fn over(coordinators: Coordinators) -> Self {
        Client(coordinators)
    }

    pub fn coordinators(&self) -> &Coordinators {
        &self.0
    }

    services! {
        vms: VmServiceClient,
        events: EventServiceClient,
        networks: NetworkServiceClient,
        nodes: NodeServiceClient,
        rules: RuleServiceClient,
        tasks: TaskServiceClient,
        volumes: VolumeServiceClient,
        tokens: TokenServiceClient,
        cluster: ClusterServiceClient,
        agent: AgentServiceClient,
        join: JoinServiceClient,
    }

    /// Follows a task to its end and returns it as it ended; `seen` is told every state on the way. A stream
    /// that breaks is opened again, unless what broke it is a refusal that would come again.
    pub async fn follow_task(
        &self,
        name: &str,
        mut seen: impl FnMut(&v1::Task),
    ) -> Result<v1::Task, CallError> {
        loop {
            let request = v1::WatchTaskRequest { name: name.to_owned() };
            let mut states = self.tasks().watch_task(request).await?.into_inner();
            loop {
                match states.message().await {
                    Ok(Some(task)) => {
                        seen(&task);
                        if task.state() != v1::TaskState::Running {
                            return Ok(task);
                        }
                    }
                    Ok(None) => break,
                    Err(status) if is_final(status.code()) => return Err(status.into()),
                    Err(status) => {
                        tracing::debug!(%status, task = name, "a task's stream broke off");
                        break;
                    }
                }
            }
            tokio::time::sleep(FOLLOW_AGAIN_AFTER).await;
        }
    }
}
