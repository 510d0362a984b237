//! `pvc-gateway`: who shows. The HTTP/JSON form of the public API, for programs and browsers.
//!
//! ```text
//! listener ─▶ server ─▶ router ─┬▶ /healthz, /api/v1/openapi.json
//!  (TLS)     (hyper)   (limits, ├▶ console   WebSocket ─┐
//!                       log)    └▶ rest      JSON, SSE ─┴▶ Upstream ─▶ coordinators
//! ```
//!
//! Nothing is kept here: any number of gateways may run, on coordinators or in VMs, and be killed at any time. Nothing
//! is decided here either: a token is passed on, and the coordinators say who it is and what it may do. Routes, schemas
//! and field names come from the .proto files; the only routes written by hand are in [`router`]. [`metrics`] are shown
//! at a loopback door of their own.

pub mod config;
pub mod console;
pub mod failure;
pub mod listener;
pub mod metrics;
pub mod rest;
pub mod router;
pub mod server;
pub mod stream;
pub mod token;
pub mod upstream;

pub use config::{Config, ConfigError};
pub use metrics::Metrics;
pub use router::{Gateway, Limits, build};
pub use upstream::Upstream;
