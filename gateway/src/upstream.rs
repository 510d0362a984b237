//! The way to the coordinators: `pvc_client::Coordinators`, as a service that any generated client can call.
//!
//! The gateway proves by its certificate that it is a service of this cluster, and has no token of its own: whose call
//! it is stands in the call. What never happens here: that trouble between gateway and coordinators looks like the
//! caller's fault (401), or that the caller is told of the cluster's inside.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use pvc_client::{Coordinators, Options, Trust};
use pvc_identity::{ExpectedPeer, Identity, TlsStore};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::Service;

use crate::failure::DOMAIN;
use crate::metrics::Metrics;

/// The coordinators give up within this part of the time that a caller waits, so that it is told why.
const DEADLINE_PART: f64 = 0.9;

/// A node's or a person's certificate has powers of its own, which every caller of the gateway would get.
#[derive(Debug, thiserror::Error)]
#[error(
    "the credentials are those of {0}, and a gateway must be a service: \
     make some by `pvc-bootstrap service-certificate api --out DIR` on a coordinator"
)]
pub struct NotAService(Identity);

/// All coordinators, over mutual TLS as the service that `store` holds. `answer_timeout` is how long a caller waits.
pub fn coordinators(
    addresses: &[String],
    store: &Arc<TlsStore>,
    answer_timeout: Duration,
) -> Result<Coordinators, NotAService> {
    match store.leaf().identity {
        Identity::Service(_) => {}
        other @ (Identity::Node(_) | Identity::Admin(_)) => return Err(NotAService(other)),
    }
    let trust = Trust::Mutual(Arc::clone(store), ExpectedPeer::AnyNode);
    let options = Options { deadline: answer_timeout.mul_f64(DEADLINE_PART), ..Options::default() };
    Ok(Coordinators::new(addresses, trust, options))
}

/// A call to whichever coordinator can answer it. Its error is a call that nobody answered.
#[derive(Clone, Debug)]
pub struct Upstream {
    coordinators: Coordinators,
    metrics: Metrics,
}

impl Upstream {
    pub fn new(coordinators: Coordinators, metrics: Metrics) -> Self {
        Self { coordinators, metrics }
    }
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.coordinators.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (metrics, path) = (self.metrics.clone(), request.uri().path().to_owned());
        let answer = self.coordinators.call(request);
        Box::pin(async move {
            let started = Instant::now();
            let answer = answer.await;
            metrics.called(&path, answer.is_ok(), started.elapsed());
            answer.map_err(|status| {
                tracing::warn!(path, %status, "no coordinator answered");
                unanswered(status)
            })
        })
    }
}

/// What a coordinator says of itself (it knows no leader) goes on; what the transport says does not: it may name addresses,
/// and its codes are about the gateway.
fn unanswered(status: Status) -> Status {
    if status.code() == Code::Unavailable && !status.details().is_empty() {
        return status;
    }
    let message = "no coordinator answered in time; whether a change was made is unknown, \
                   and the same Idempotency-Key may be sent again";
    let help = ("help".to_owned(), "try again; see the log of pvc-api".to_owned());
    let details = ErrorDetails::with_error_info("answer-in-time", DOMAIN, [help]);
    Status::with_error_details(Code::Unavailable, message, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_the_gateways_is_not_the_callers() {
        for code in [Code::Unauthenticated, Code::DeadlineExceeded, Code::Unavailable, Code::Unknown] {
            let told = unanswered(Status::new(code, "10.0.0.1:7371 is not to be trusted"));
            assert_eq!(told.code(), Code::Unavailable, "{code:?}");
            assert!(!told.message().contains("10.0.0.1"), "{told}");
        }
        let details = ErrorDetails::with_error_info("not-leader", DOMAIN, [("a".to_owned(), "b".to_owned())]);
        let told = unanswered(Status::with_error_details(Code::Unavailable, "no leader", details));
        assert_eq!(told.message(), "no leader");
    }
}
