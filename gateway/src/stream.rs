//! What a stream needs on its way to a browser beyond the messages: ids to resume from, comments that keep idle
//! connections open, an error that can be read, and an end when the gateway stops.
//!
//! Server-sent events: `id: <revision>` with each message that has a revision; `event: failure` with a
//! `google.rpc.Status` when the stream breaks; `event: end` when it is complete (the client must close it, else browsers
//! connect again). JSON lines: a last line `{"error": <google.rpc.Status>}` when it breaks. A JSON array that breaks is
//! left without its closing bracket and the connection is cut.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::Uri;
use rest_over_grpc::transcoding::FrameStream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const KEEP_ALIVE: &[u8] = b":\n\n";
const END: &[u8] = b"event: end\ndata: {}\n\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Events,
    Lines,
    Array,
}

impl Framing {
    pub fn of(content_type: &HeaderValue) -> Self {
        match content_type.as_bytes() {
            b"text/event-stream" => Self::Events,
            b"application/x-ndjson" => Self::Lines,
            _ => Self::Array,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("the stream broke: {0}")]
    Broke(String),
    #[error("the gateway is stopping")]
    Stopping,
}

/// Where a browser's `EventSource` goes on after a cut: its `Last-Event-ID` becomes `start_revision` on the paths that
/// watch a collection.
pub fn resume_target(uri: &Uri, headers: &HeaderMap) -> String {
    let target = uri.path_and_query().map_or(uri.path(), |whole| whole.as_str());
    let last = headers
        .get(LAST_EVENT_ID)
        .and_then(|value| value.to_str().ok())
        .and_then(|id| id.parse::<u64>().ok());
    let query = uri.query().unwrap_or_default();
    let collection = uri.path().ends_with(":watch") && uri.path().matches('/').count() == 3;
    match last {
        Some(last) if collection && !query.contains("start") => {
            let joint = if query.is_empty() { "?" } else { "&" };
            format!("{}{joint}start_revision={last}", target.trim_end_matches('?'))
        }
        _ => target.to_owned(),
    }
}

struct State {
    frames: Option<FrameStream>,
    framing: Framing,
    keep_alive: Duration,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

/// The body of a streaming answer. Holds `permit` until it ends.
pub fn decorate(
    frames: FrameStream,
    framing: Framing,
    keep_alive: Duration,
    shutdown: CancellationToken,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, StreamError>> + Send {
    let state = State { frames: Some(frames), framing, keep_alive, shutdown, _permit: permit };
    futures::stream::unfold(state, |mut state| async move {
        let item = state.next().await?;
        Some((item, state))
    })
}

impl State {
    async fn next(&mut self) -> Option<Result<Bytes, StreamError>> {
        let frames = self.frames.as_mut()?;
        let quiet = async {
            match self.framing {
                Framing::Events => tokio::time::sleep(self.keep_alive).await,
                Framing::Lines | Framing::Array => std::future::pending().await,
            }
        };
        let item = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => {
                self.frames = None;
                return (self.framing == Framing::Array).then_some(Err(StreamError::Stopping));
            }
            item = frames.next() => item,
            () = quiet => return Some(Ok(Bytes::from_static(KEEP_ALIVE))),
        };
        match item {
            Some(Ok(frame)) => Some(Ok(self.frame(frame))),
            Some(Err(status)) => {
                self.frames = None;
                Some(self.failure(&Failure::of_rest(&status)))
            }
            None => {
                self.frames = None;
                (self.framing == Framing::Events).then_some(Ok(Bytes::from_static(END)))
            }
        }
    }

    fn frame(&self, frame: Vec<u8>) -> Bytes {
        match (self.framing, revision_of(&frame)) {
            (Framing::Events, Some(revision)) => {
                let mut with_id = format!("id: {revision}\n").into_bytes();
                with_id.extend_from_slice(&frame);
                with_id.into()
            }
            _ => frame.into(),
        }
    }

    fn failure(&self, failure: &Failure) -> Result<Bytes, StreamError> {
        let json = failure.json();
        match self.framing {
            Framing::Events => Ok(format!("event: failure\ndata: {json}\n\n").into()),
            Framing::Lines => Ok(format!("{}\n", json!({"error": json})).into()),
            Framing::Array => Err(StreamError::Broke(failure.message().to_owned())),
        }
    }
}

/// The revision of a change, in a frame `data: {…}`.
fn revision_of(frame: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Change {
        revision: Option<String>,
    }
    let json = frame.strip_prefix(b"data: ")?;
    serde_json::from_slice::<Change>(json).ok()?.revision?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resumes_where_the_browser_was() {
        let last = HeaderMap::from_iter([(LAST_EVENT_ID, HeaderValue::from_static("42"))]);
        for (uri, target) in [
            ("/api/v1/vms:watch", "/api/v1/vms:watch?start_revision=42"),
            ("/api/v1/vms:watch?node=hv1", "/api/v1/vms:watch?node=hv1&start_revision=42"),
            ("/api/v1/vms:watch?startRevision=7", "/api/v1/vms:watch?startRevision=7"),
            ("/api/v1/tasks/t1:watch", "/api/v1/tasks/t1:watch"),
            ("/api/v1/vms", "/api/v1/vms"),
        ] {
            assert_eq!(resume_target(&uri.parse().unwrap(), &last), target);
        }
        assert_eq!(
            resume_target(&"/api/v1/vms:watch".parse().unwrap(), &HeaderMap::new()),
            "/api/v1/vms:watch"
        );
    }

    #[test]
    fn finds_revisions() {
        assert_eq!(revision_of(b"data: {\"kind\":\"X\",\"revision\":\"17\"}\n\n"), Some(17));
        assert_eq!(revision_of(b"data: {\"meta\":{\"revision\":\"17\"}}\n\n"), None);
        assert_eq!(revision_of(b"{\"revision\":\"17\"}\n"), None);
    }
}
