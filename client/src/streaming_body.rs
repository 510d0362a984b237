//! The body of a client-streaming call. It can't be sent twice; but as long as nobody has begun to read it,
//! a connection that did not come about costs nothing, and the call can go to another coordinator.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;
use tonic::Status;
use tonic::body::Body;

/// Holds the body until one attempt begins to read it.
#[derive(Clone, Debug)]
pub(crate) struct Unread(Arc<Mutex<Option<Body>>>);

impl Unread {
    pub fn new(body: Body) -> Self {
        Unread(Arc::new(Mutex::new(Some(body))))
    }

    pub fn is_unread(&self) -> bool {
        self.0.lock().is_some()
    }

    /// The body for one attempt.
    pub fn body(&self) -> Body {
        Body::new(OnFirstRead { held: self.clone(), taken: None })
    }
}

struct OnFirstRead {
    held: Unread,
    taken: Option<Body>,
}

impl http_body::Body for OnFirstRead {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.taken.is_none() {
            let body = self.held.0.lock().take();
            self.taken = body;
        }
        match &mut self.taken {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(Some(Err(Status::internal("a stream was sent twice")))),
        }
    }
}
