//! The primary's role: at no look do two hosts whose daemons have a lease have the floating address, and what a
//! host without a lease has left goes.

use std::net::IpAddr;
use std::time::Duration;

use pvc_model::Name;
use pvc_model::primary::Cidr;
use tokio::time::Instant;

use crate::net::Place;
use crate::setting::{FLOATING, Setting};
use crate::witness::Rule;

/// A daemon drops the address as soon as it runs without a lease: some looks later it is gone.
const DROPS_WITHIN: Duration = Duration::from_millis(500);

#[derive(Default)]
pub struct RoleWatch {
    /// The last look at which each host had the address with a daemon and without a lease.
    unlicensed: std::collections::BTreeMap<Name, Instant>,
}

pub fn address() -> IpAddr {
    let floating: Cidr = FLOATING.parse().expect("an address");
    floating.address
}

impl RoleWatch {
    pub fn look(&mut self, setting: &Setting) {
        let holders = setting.segment.holders(address());
        let leases = setting.leases.lock();
        let daemon = |name: &Name| leases.iter().find(|(place, _)| place.node() == *name);
        let (mut licensed, mut unlicensed): (Vec<Place>, Vec<Name>) = (Vec::new(), Vec::new());
        for holder in &holders {
            match daemon(holder) {
                Some((place, lease)) if lease.is_valid() => licensed.push(*place),
                Some((place, _)) if setting.frozen.lock().contains(place) => {}
                Some(_) => unlicensed.push(holder.clone()),
                // A dead daemon drops nothing, nor does one that stands still.
                None => {}
            }
        }
        if licensed.len() > 1 {
            let detail = format!("{licensed:?} have the floating address at once, each with a lease");
            setting.witness.accuse(Rule::OneHolder, detail);
        }
        self.unlicensed.retain(|name, _| unlicensed.contains(name));
        for name in unlicensed {
            let since = *self.unlicensed.entry(name.clone()).or_insert_with(Instant::now);
            if since.elapsed() > DROPS_WITHIN {
                let detail = format!("{name} has no lease for {:?} and still the address", since.elapsed());
                setting.witness.accuse(Rule::OneHolder, detail);
            }
        }
    }
}
