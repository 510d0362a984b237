//! The way to a node's own services (logs, consoles, dumps). A trait, so that tests need no network.
//! A host that does not answer is told from one that refuses, and no stream of it outlasts our own server.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::{Name, Rejection};
use pvc_proto::internal::v1::host_service_client::HostServiceClient;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::answers::{Answers, answers};
use super::shared::{Shared, refuse};
use crate::status;

/// How long a host may take to answer, or to open a stream.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines that a log begins with at most, and where the request doesn't say.
const LOG_LINES_MAX: u32 = 10_000;
const LOG_LINES_DEFAULT: u32 = 100;
/// Largest message from a host.
pub const HOST_MESSAGE_BYTES_MAX: usize = 4 << 20;

#[async_trait]
pub trait Hosts: Send + Sync {
    /// A client of the host service of `node` at `address`; the node's certificate name is checked.
    async fn host(&self, node: &Name, address: &str) -> Result<HostServiceClient<Channel>, Status>;
}

/// The answer of `node` to a call, or what became of it.
pub(super) async fn in_time<T>(
    node: &Name,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    match timeout(PATIENCE, call).await {
        Ok(answer) => answer.map(Response::into_inner).map_err(|status| from_host(node, &status)),
        Err(_) => {
            let detail = format!("it has not answered for {PATIENCE:?}");
            Err(status::unreachable(&format!("node/{node}"), &detail))
        }
    }
}

/// Hands a host's stream on, until either side or our own server ends.
pub(super) fn relay<T: Send + 'static>(shared: &Shared, node: &Name, mut stream: Streaming<T>) -> Answers<T> {
    let node = node.clone();
    answers(&shared.closing, move |sink| async move {
        while let Some(message) = stream.message().await.map_err(|status| from_host(&node, &status))? {
            sink.send(message).await?;
        }
        Ok(())
    })
}

/// A refusal of the host's goes on as it is, without the headers of its answer. What tonic says of a
/// connection has a source; what came over it has none.
fn from_host(node: &Name, status: &Status) -> Status {
    match status.source() {
        Some(_) => {
            let detail = format!("the connection to its pvcd broke ({})", status.message());
            status::unreachable(&format!("node/{node}"), &detail)
        }
        None => Status::with_details(status.code(), status.message(), status.details().to_vec().into()),
    }
}

/// Lines of a log to begin with; 0 stands for the default.
pub(super) fn log_lines(asked: u32) -> Result<u32, Status> {
    match asked {
        0 => Ok(LOG_LINES_DEFAULT),
        1..=LOG_LINES_MAX => Ok(asked),
        _ => {
            let detail = format!("lines: 0 to {LOG_LINES_MAX}, not {asked}");
            Err(refuse(Rejection::invalid("out-of-range", "request", detail)))
        }
    }
}
