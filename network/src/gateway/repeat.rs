//! Says a few times where addresses are, for as long as they are here.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::announce::{Announcer, Speaker};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) index: u32,
    pub(super) mac: [u8; 6],
    pub(super) address: IpAddr,
}

/// Dropping it ends what is still to be said: nobody knows then whether the addresses are here.
#[derive(Default)]
pub(super) struct Repeater {
    held: Arc<Mutex<BTreeSet<(u32, IpAddr)>>>,
}

impl Repeater {
    /// What this host has from now on.
    pub(super) fn hold(&self, addresses: BTreeSet<(u32, IpAddr)>) {
        *self.held.lock() = addresses;
    }

    /// Says it at once, and again after each of these times.
    pub(super) fn announce(
        &self,
        announcer: Announcer,
        announced: Vec<Announced>,
        again: &'static [Duration],
    ) {
        say(&announcer, &announced);
        let held = Arc::downgrade(&self.held);
        tokio::spawn(async move {
            for after in again {
                sleep(*after).await;
                let Some(held) = held.upgrade() else { return };
                let here: Vec<Announced> = {
                    let held = held.lock();
                    announced.iter().filter(|one| held.contains(&(one.index, one.address))).copied().collect()
                };
                if here.is_empty() {
                    return;
                }
                say(&announcer, &here);
            }
        });
    }
}

fn say(announcer: &Announcer, announced: &[Announced]) {
    for one in announced {
        if let Err(error) = announcer.announce(Speaker::Router, one.index, one.mac, one.address) {
            tracing::warn!(address = %one.address, %error, "a gateway's address was not announced");
        }
    }
}
