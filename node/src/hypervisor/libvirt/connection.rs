//! One connection to libvirt, with what libvirt tells over it unasked.
//!
//! A connection is closed on a thread of its own, for closing asks the daemon, who may hang: nothing
//! here may ever block whoever lets go of a connection.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use pvc_model::Uid;
use virt::connect::Connect;
use virt::error::Error;

use super::events::{Notices, Subscription};

/// Seconds between two signs of life, and how many may be missed before the connection is given up.
const KEEPALIVE_SECONDS: i32 = 5;
const KEEPALIVE_MISSED: u32 = 3;

pub(super) struct Connection {
    connect: ManuallyDrop<Connect>,
    subscription: Option<Subscription>,
    /// Guests whose job was asked for over this connection; true: it was being sent away.
    pub asked: Mutex<HashMap<Uid, bool>>,
}

impl Connection {
    /// Opens one. With `notices`, libvirt's events go there. Blocks; for long where libvirtd hangs.
    pub fn open(uri: &str, notices: Option<&Arc<Notices>>) -> Result<Self, Error> {
        super::events::run_event_loop()?;
        let connect = Connect::open(Some(uri))?;
        let mut connection = Connection {
            connect: ManuallyDrop::new(connect),
            subscription: None,
            asked: Mutex::new(HashMap::new()),
        };
        // Drivers within this process have no one to keep alive, and say so.
        if let Err(error) = connection.set_keep_alive(KEEPALIVE_SECONDS, KEEPALIVE_MISSED) {
            tracing::debug!(uri, %error, "no keepalive on this connection");
        }
        if let Some(notices) = notices {
            connection.subscription = Some(Subscription::new(&connection, notices)?);
        }
        Ok(connection)
    }

    /// Whether it still leads to a libvirt, as far as this end knows. Does not block.
    pub fn is_usable(&self) -> bool {
        let closed = self.subscription.as_ref().is_some_and(Subscription::is_closed);
        !closed && self.is_alive().unwrap_or(false)
    }
}

impl Deref for Connection {
    type Target = Connect;

    fn deref(&self) -> &Connect {
        &self.connect
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: this runs once, and `connect` is not touched after it.
        let mut connect = unsafe { ManuallyDrop::take(&mut self.connect) };
        let subscription = self.subscription.take();
        let close = move || {
            // Callbacks hold the connection: it would outlive its close.
            if let Some(subscription) = subscription {
                subscription.cancel(&connect);
            }
            if let Err(error) = connect.close() {
                tracing::debug!(%error, "closing a libvirt connection");
            }
        };
        if let Err(error) = super::threads::named("libvirt-close").spawn(close) {
            tracing::warn!(%error, "a libvirt connection stays open: no thread to close it");
        }
    }
}
