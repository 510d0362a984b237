//! The one place where the cluster is reached: which connection, which clients, how an answer's error reads.

use std::time::Duration;

use pvc_client::{Client, Connections, Coordinators};
use pvc_proto::v1::cluster_service_client::ClusterServiceClient;
use pvc_proto::v1::event_service_client::EventServiceClient;
use pvc_proto::v1::network_service_client::NetworkServiceClient;
use pvc_proto::v1::node_service_client::NodeServiceClient;
use pvc_proto::v1::rule_service_client::RuleServiceClient;
use pvc_proto::v1::task_service_client::TaskServiceClient;
use pvc_proto::v1::token_service_client::TokenServiceClient;
use pvc_proto::v1::vm_service_client::VmServiceClient;
use pvc_proto::v1::volume_service_client::VolumeServiceClient;

pub use pvc_client::request_id;

use crate::failure::Failure;

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// A connection to a cluster. Cheap to clone; nothing is sent before the first call.
#[derive(Clone, Debug)]
pub struct Session {
    client: Client,
    timeout: Duration,
    described: String,
}

impl Session {
    /// Opens the connection of this name, or the default one. `timeout` is for each call with all its
    /// attempts.
    pub fn open(name: Option<&str>, timeout: Option<Duration>) -> Result<Session, Failure> {
        let (name, connection) = Connections::load()?.choose(name)?;
        let client = Client::new(&connection).map_err(|error| Failure::of_connection(&name, &error))?;
        let described = format!("{name} ({})", connection.coordinators.join(", "));
        Ok(Session { client, timeout: timeout.unwrap_or(TIMEOUT_DEFAULT), described })
    }

    /// Over a client that is there already.
    pub fn over(client: Client) -> Session {
        Session { client, timeout: TIMEOUT_DEFAULT, described: "given".to_owned() }
    }

    pub fn describe(&self) -> &str {
        &self.described
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A request that is given up after the timeout.
    pub fn ask<M>(&self, message: M) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    pub fn vms(&self) -> VmServiceClient<Coordinators> {
        self.client.vms()
    }

    pub fn nodes(&self) -> NodeServiceClient<Coordinators> {
        self.client.nodes()
    }

    pub fn networks(&self) -> NetworkServiceClient<Coordinators> {
        self.client.networks()
    }

    pub fn events(&self) -> EventServiceClient<Coordinators> {
        self.client.events()
    }

    pub fn rules(&self) -> RuleServiceClient<Coordinators> {
        self.client.rules()
    }

    pub fn tasks(&self) -> TaskServiceClient<Coordinators> {
        self.client.tasks()
    }

    pub fn volumes(&self) -> VolumeServiceClient<Coordinators> {
        self.client.volumes()
    }

    pub fn tokens(&self) -> TokenServiceClient<Coordinators> {
        self.client.tokens()
    }

    pub fn cluster(&self) -> ClusterServiceClient<Coordinators> {
        self.client.cluster()
    }
}
