//! What has happened, from the command line.

use pvc_proto::v1::event_service_server::{EventService, EventServiceServer};
use pvc_proto::v1::{Event, ListEventsRequest, ListEventsResponse};
use tonic::{Request, Response, Status};

use crate::coordinator::serve_with;
use crate::home::Home;

/// Tells what it was asked, newest first.
struct Asked;

#[tonic::async_trait]
impl EventService for Asked {
    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let request = request.into_inner();
        let event = |seconds, text: String| Event {
            time: Some(pbjson_types::Timestamp { seconds, nanos: 0 }),
            topic: "state".into(),
            text,
            actor: "pvc".into(),
        };
        let events = vec![
            event(1_763_892_060, format!("the newer of {}", request.subject)),
            event(1_763_892_000, format!("the older, of at most {}", request.limit)),
        ];
        Ok(Response::new(ListEventsResponse { events, revision: 1 }))
    }
}

#[tokio::test]
async fn it_is_read_from_the_top_to_the_bottom() {
    let home = Home::new();
    let server = tonic::transport::Server::builder().add_service(EventServiceServer::new(Asked));
    home.connect(&serve_with(&home, server).await).await;
    for (words, subject, limit) in [
        (&["vm", "history", "web1"][..], "vm/web1", 0),
        (&["node", "history", "hv1", "-n", "5"], "node/hv1", 5),
        (&["cluster", "history"], "cluster", 0),
    ] {
        let ran = home.pvc(words).await;
        assert_eq!(ran.exit, 0, "{ran:?}");
        let lines: Vec<_> = ran.out.lines().collect();
        assert!(lines[0].starts_with("TIME") && lines[0].ends_with("BY"), "{ran:?}");
        assert!(lines[1].contains(&format!("the older, of at most {limit}")), "{ran:?}");
        assert!(lines[2].contains(&format!("the newer of {subject}")), "{ran:?}");
    }
    assert_eq!(home.pvc(&["vm", "history", "web1", "-n", "51"]).await.exit, 2);
}
