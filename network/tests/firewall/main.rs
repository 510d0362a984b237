//! The firewall on the kernel itself, in network namespaces of the tests' own. Skipped, with a word, where those can't be made.

mod changing;
mod frames;
mod gateway;
mod goldens;
mod lab;
mod plans;
mod routing;
mod spoofing;
