//! What Prometheus is told: requests by code, how long answers take, calls that no coordinator answered, and until when
//! the certificate is good. Shown on a loopback port of its own, never on the public one.
//!
//! Labels have few values, all of them known beforehand: nothing that a caller writes becomes one.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Upper bounds of what is counted together, seconds.
const BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    rpc: &'static str,
}

/// Clones share the figures.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Histogram,
    call_seconds: Family<Call, Histogram>,
    call_failures: Family<Call, Counter>,
    certificate_end: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("pvc_api");
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let figures = (
            Family::default(),
            histogram(),
            Family::new_with_constructor(histogram),
            Family::default(),
            Gauge::default(),
        );
        let (requests, request_seconds, call_seconds, call_failures, certificate_end) = figures;
        registry.register("requests", "Requests that were answered", requests.clone());
        registry.register_with_unit(
            "request",
            "From a request's head to the beginning of its answer",
            Unit::Seconds,
            request_seconds.clone(),
        );
        registry.register_with_unit(
            "call",
            "From a call to the coordinators to the beginning of its answer",
            Unit::Seconds,
            call_seconds.clone(),
        );
        registry.register(
            "call_failures",
            "Calls that no coordinator answered within the deadline",
            call_failures.clone(),
        );
        registry.register(
            "certificate_end",
            "When the certificate ends, Unix time in seconds",
            certificate_end.clone(),
        );
        Self(Arc::new(Figures {
            registry,
            requests,
            request_seconds,
            call_seconds,
            call_failures,
            certificate_end,
        }))
    }
}

impl Metrics {
    pub fn answered(&self, method: &Method, code: StatusCode, took: Duration) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PATCH => "PATCH",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        self.0.requests.get_or_create(&Request { method, code: code.as_u16() }).inc();
        self.0.request_seconds.observe(took.as_secs_f64());
    }

    /// A call to the coordinators by its path; whether one of them answered at all.
    pub fn called(&self, path: &str, answered: bool, took: Duration) {
        let call = Call { rpc: pvc_proto::method(path).map_or("other", |method| method.path) };
        self.0.call_seconds.get_or_create(&call).observe(took.as_secs_f64());
        if !answered {
            self.0.call_failures.get_or_create(&call).inc();
        }
    }

    pub fn certificate_ends(&self, at: Timestamp) {
        self.0.certificate_end.set(at.as_second());
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0.registry).expect("a String takes everything");
        text
    }
}

/// `/metrics`.
pub fn router(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(show)).with_state(metrics)
}

async fn show(State(metrics): State<Metrics>) -> Response {
    ([(CONTENT_TYPE, CONTENT)], metrics.text()).into_response()
}
