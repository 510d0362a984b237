//! `history` of a VM, a node, a client network and the cluster.

use pvc_proto::v1::ListEventsRequest;

use crate::args::Last;
use crate::context::Context;
use crate::failure::Failure;
use crate::show;

/// `subject`: "vm/web1", "node/hv1", "network/1001", "cluster".
pub async fn run(cx: &mut Context<'_>, subject: String, newest: Last) -> Result<(), Failure> {
    let session = cx.session()?;
    let limit = newest.last.unwrap_or(0);
    let request = session.ask(ListEventsRequest { subject, limit, consistency: 0 });
    let mut reply = session.events().list_events(request).await?.into_inner();
    // Read from the top to the bottom, like a log; the API has the newest first.
    reply.events.reverse();
    let texts = || reply.events.iter().map(|event| event.text.clone()).collect();
    cx.reply(&reply, |colour| show::event::table(&reply.events, colour), texts)
}
