//! How large a packet the host's bridges take, asked of the kernel.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use rtnetlink::packet_route::link::LinkAttribute;

use crate::Blocked;

/// Of all devices by name, in one answer.
pub(super) async fn mtus() -> Result<HashMap<String, u32>, Blocked> {
    let blocked = |error: &dyn std::fmt::Display| {
        Blocked::new(format!("the kernel does not tell its devices: {error}"))
    };
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| blocked(&error))?;
    let connection = tokio::spawn(connection);
    let links = handle.link().get().execute().try_collect::<Vec<_>>().await;
    connection.abort();
    let mut mtus = HashMap::new();
    for link in links.map_err(|error| blocked(&error))? {
        let (mut name, mut mtu) = (None, None);
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(given) => name = Some(given),
                LinkAttribute::Mtu(given) => mtu = Some(given),
                _ => {}
            }
        }
        mtus.extend(name.zip(mtu));
    }
    Ok(mtus)
}
