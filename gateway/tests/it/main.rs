//! The gateway over real sockets, in front of a coordinator that is a few lines of gRPC.

mod fake;
mod http;
mod requests;
mod streams;
