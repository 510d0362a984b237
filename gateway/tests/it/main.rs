//! The gateway over real sockets, in front of coordinators that are a few lines of gRPC behind the cluster's TLS.

mod coordinators;
mod document;
mod door;
mod fake;
mod http;
mod requests;
mod streams;
