//! The one place where the cluster is reached: which connection, which clients, how an answer's error reads.

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use pvc_proto::v1::cluster_service_client::ClusterServiceClient;
use pvc_proto::v1::node_service_client::NodeServiceClient;
use pvc_proto::v1::task_service_client::TaskServiceClient;
use pvc_proto::v1::token_service_client::TokenServiceClient;
use pvc_proto::v1::vm_service_client::VmServiceClient;
use pvc_proto::v1::volume_service_client::VolumeServiceClient;
use pvc_proto::v1::{Task, WatchTaskRequest};
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::connections::Connections;
use crate::failure::{Exit, Failure};

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// A connection to a cluster. Cheap to clone; nothing is sent before the first call.
#[derive(Clone, Debug)]
pub struct Session {
    channel: Channel,
    timeout: Duration,
    described: String,
}

impl Session {
    /// Opens the connection of this name, or the default one.
    pub fn open(name: Option<&str>, timeout: Option<Duration>) -> Result<Session, Failure> {
        let connections = Connections::load()?;
        let (name, connection) = connections.choose(name)?;
        let channel = crate::dial::channel(name, connection)?;
        let described = format!("{name} ({})", connection.addresses.join(", "));
        Ok(Session { channel, timeout: timeout.unwrap_or(TIMEOUT_DEFAULT), described })
    }

    /// Over a channel that is there already.
    pub fn over(channel: Channel) -> Session {
        Session { channel, timeout: TIMEOUT_DEFAULT, described: "given".to_owned() }
    }

    pub fn describe(&self) -> &str {
        &self.described
    }

    /// A request that is given up after the timeout.
    pub fn ask<M>(&self, message: M) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    pub fn vms(&self) -> VmServiceClient<Channel> {
        VmServiceClient::new(self.channel.clone())
    }

    pub fn nodes(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel.clone())
    }

    pub fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel.clone())
    }

    pub fn volumes(&self) -> VolumeServiceClient<Channel> {
        VolumeServiceClient::new(self.channel.clone())
    }

    pub fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    pub fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
    }

    /// A task's states to its end.
    pub fn follow(&self, task: &str) -> BoxStream<'static, Result<Task, Failure>> {
        let mut tasks = self.tasks();
        let request = WatchTaskRequest { name: task.to_owned() };
        let opened = async move { tasks.watch_task(request).await.map(tonic::Response::into_inner) };
        futures::stream::once(opened).try_flatten().map_err(Failure::from).boxed()
    }
}

/// A fresh id, so that a write that is sent twice happens once.
pub fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Failure {
        let exit = Exit::of_code(status.code());
        let details = status.get_error_details();
        let rule = details.error_info().map_or(String::new(), |info| info.reason.clone());
        let fact = |name: &str| {
            details.error_info().and_then(|info| info.metadata.get(name)).cloned().unwrap_or_default()
        };
        let (subject, mut help) = (fact("subject"), fact("help"));
        let mut detail = match fact("detail") {
            detail if detail.is_empty() => status.message().to_owned(),
            detail => detail,
        };
        if exit == Exit::Unreachable && rule.is_empty() {
            // The transport's own words are at the end of the chain of causes.
            let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&status);
            while let Some(error) = cause {
                detail = error.to_string();
                cause = error.source();
            }
            detail = format!("the cluster can't be reached: {detail}");
            help = "see the connection: pvc connection detail".to_owned();
        }
        Failure { exit, subject, detail, rule, help }
    }
}
