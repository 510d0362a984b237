//! The client against real TLS servers in this process.

mod broken_stream;
mod fail_over;
mod follow_task;
mod renew;
mod tls;
