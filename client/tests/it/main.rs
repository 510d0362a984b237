//! The client against real TLS servers in this process.

mod fail_over;
mod renew;
mod tls;
