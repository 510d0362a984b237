//! The program `pvc` as a user runs it: its own process, its own home, real TLS to a coordinator that is
//! played by this test. Nothing may be read from the home of whoever runs the tests.

mod affinity;
mod bmc;
mod connecting;
mod coordinator;
mod guide;
mod history;
mod home;
mod maintenance;
mod networks;
mod nodes;
mod tasks;
