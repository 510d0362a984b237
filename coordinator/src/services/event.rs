//! `EventService`.

use pvc_model::{Rejection, World};
use pvc_proto::v1;
use pvc_proto::v1::event_service_server::EventService;
use tonic::{Request, Response, Status};

use super::shared::{Shared, name, refuse};
use crate::core::events_of;

/// Serves what has happened.
pub struct Events(pub Shared);

#[tonic::async_trait]
impl EventService for Events {
    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let request = request.into_inner();
        let world = self.0.world(request.consistency).await?;
        let uid = uid_of(&world, &request.subject)?;
        // At least as new as the world: both follow the same replica.
        let view = self.0.core.store().view();
        let mut events = uid.map(|uid| events_of(&view, uid)).unwrap_or_default();
        if request.limit > 0 {
            events.truncate(request.limit as usize);
        }
        Ok(Response::new(v1::ListEventsResponse { events, revision: view.revision }))
    }
}

/// None: the cluster's own object was not made yet, so nothing has happened to it.
fn uid_of(world: &World, subject: &str) -> Result<Option<pvc_model::Uid>, Status> {
    match subject.split_once('/') {
        Some(("vm", vm)) => {
            let vm = name("vm", "subject", vm)?;
            Ok(Some(world.vm(&vm).map_err(refuse)?.uid()))
        }
        Some(("node", node)) => {
            let node = name("node", "subject", node)?;
            Ok(Some(world.node(&node).map_err(refuse)?.meta.uid))
        }
        Some(("network", network)) => {
            let network = name("network", "subject", network)?;
            Ok(Some(world.network(&network).map_err(refuse)?.meta.uid))
        }
        None if subject == "cluster" => Ok(world.cluster.as_ref().map(|cluster| cluster.meta.uid)),
        Some(_) | None => {
            let detail =
                format!("subject: {subject:?} is none of vm/NAME, node/NAME, network/VNI and cluster");
            Err(refuse(Rejection::invalid("event-subject", "request", detail)))
        }
    }
}
