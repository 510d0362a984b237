//! The way to a node's own services (logs, consoles, dumps). A trait, so that tests need no network.

use async_trait::async_trait;
use pvc_model::Name;
use pvc_proto::internal::v1::host_service_client::HostServiceClient;
use tonic::Status;
use tonic::transport::Channel;

/// Largest message from a host.
pub const HOST_MESSAGE_BYTES_MAX: usize = 4 << 20;

#[async_trait]
pub trait Hosts: Send + Sync {
    /// A client of the host service of `node` at `address`; the node's certificate name is checked.
    async fn host(&self, node: &Name, address: &str) -> Result<HostServiceClient<Channel>, Status>;
}
