//! Real DHCP servers, name servers and guests, in network namespaces of their own. Needs root; says so and does nothing
//! where that is missing.

mod dhcp;
mod dns;
mod lab;
mod many;
