//! Talks with the kernel about devices and addresses: one dump tells all, requests go out in a row without waiting for
//! each answer.
//!
//! A connection belongs to the network namespace of the thread that opened it. It is opened for one pass: that costs
//! microseconds, and there is none that has gone stale.

mod addresses;
mod device;

use std::io;

use futures::{StreamExt, TryStreamExt, stream};
use rtnetlink::Handle;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::LinkExtentMask;
use tokio::task::JoinHandle;

pub(crate) use addresses::Address;
#[cfg(test)]
pub(crate) use device::Bridge;
pub(crate) use device::{Device, Kind, no_address_generation};

/// Requests that are under way at a time: the kernel carries them out in order, and its answers fit in the socket's buffer.
const UNDER_WAY: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    #[error("the kernel can't be asked about its network devices: {0}")]
    Open(#[from] io::Error),
    #[error("the kernel does not tell its network devices: {0}")]
    Dump(#[from] rtnetlink::Error),
}

pub(crate) struct Netlink {
    pub(crate) handle: Handle,
    connection: JoinHandle<()>,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Netlink { handle, connection: tokio::spawn(connection) })
    }

    /// All devices, with the settings (sysctls) that each has for IPv4 and IPv6.
    pub(crate) async fn devices(&self) -> Result<Vec<Device>, NetlinkError> {
        // Counters are most of what the kernel would say.
        let request =
            self.handle.link().get().set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats]);
        Ok(request.execute().map_ok(Device::from).try_collect().await?)
    }

    pub(crate) async fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        let found: Vec<Option<Address>> =
            self.handle.address().get().execute().map_ok(Address::read).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Carries out all, in order, and says for each how it ended.
    pub(crate) async fn each<T, F>(
        &self,
        requests: impl IntoIterator<Item = T>,
        send: impl Fn(Handle, T) -> F,
    ) -> Vec<Result<(), rtnetlink::Error>>
    where
        F: Future<Output = Result<(), rtnetlink::Error>>,
    {
        stream::iter(requests)
            .map(|request| send(self.handle.clone(), request))
            .buffered(UNDER_WAY)
            .collect()
            .await
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// What the kernel answered, as an error of the system's.
pub(crate) fn system_error(error: &rtnetlink::Error) -> Option<io::Error> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.to_io()),
        _ => None,
    }
}

/// The same in words.
pub(crate) fn said(error: &rtnetlink::Error) -> String {
    system_error(error).map_or_else(|| error.to_string(), |error| error.to_string())
}
