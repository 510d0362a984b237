//! Streams of answers, produced beside their calls. None outlasts the server, and none waits for a client
//! that has gone.

use std::pin::Pin;

use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::status;

/// A stream of answers.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers that may wait for a slow client, before its watch falls behind and is cut.
const WAITING_ANSWERS_MAX: usize = 64;

/// Runs `produce` beside the call, until it ends, the client goes, or `closing` is cancelled: the server
/// drains.
pub fn answers<T, P, F>(closing: &CancellationToken, produce: P) -> Answers<T>
where
    T: Send + 'static,
    P: FnOnce(Sink<T>) -> F,
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING_ANSWERS_MAX);
    let closing = closing.clone();
    let produced = produce(Sink { sender: sender.clone() });
    tokio::spawn(async move {
        let result = tokio::select! {
            biased;
            () = closing.cancelled() => Err(status::stopping()),
            () = sender.closed() => return,
            result = produced => result,
        };
        if let Err(status) = result {
            let _ = sender.send(Err(status)).await;
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

/// Where a stream's answers go. Waits for a client that is slow.
pub struct Sink<T> {
    sender: mpsc::Sender<Result<T, Status>>,
}

impl<T> Sink<T> {
    pub async fn send(&self, answer: T) -> Result<(), Status> {
        self.sender.send(Ok(answer)).await.map_err(|_| Status::cancelled("the client has gone"))
    }
}
