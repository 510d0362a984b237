//! Hears from the kernel that a device or an address has changed.
//!
//! What has changed is not looked at here: a pass looks at everything anyway. So nothing is lost when the kernel has more to
//! say than the socket holds, and a thousand changes are one. Neighbours are not listened to: they change with the guests'
//! traffic, and nothing of ours follows from them.

use std::io;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use rtnetlink::MulticastGroup;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What follows each other faster is one change.
const SETTLE: Duration = Duration::from_millis(30);

type Messages = futures::channel::mpsc::UnboundedReceiver<(
    rtnetlink::packet_core::NetlinkMessage<rtnetlink::packet_route::RouteNetlinkMessage>,
    rtnetlink::sys::SocketAddr,
)>;

/// The kernel's announcements, of the namespace that it was opened in.
pub struct Wake {
    messages: Messages,
    connection: JoinHandle<()>,
}

impl Wake {
    pub fn open() -> io::Result<Wake> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, _, messages) = rtnetlink::new_multicast_connection(&groups)?;
        Ok(Wake { messages, connection: tokio::spawn(connection) })
    }

    /// Waits for a change, and until no more follow at once. False: the kernel is not heard any more; open it anew.
    pub async fn changed(&mut self) -> bool {
        if self.messages.next().await.is_none() {
            return false;
        }
        sleep(SETTLE).await;
        while let Some(next) = self.messages.next().now_or_never() {
            if next.is_none() {
                return false;
            }
        }
        true
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
