//! What dnsmasq calls with each lease. A program of its own because it is started for each of them: it is small, and
//! `pvcd` with all its libraries is not.

use std::process::ExitCode;

fn main() -> ExitCode {
    pvc_network::dhcp::hook::run(std::env::args_os().skip(1))
}
