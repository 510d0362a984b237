//! A VM's serial console as a WebSocket: binary messages both ways, over the bidirectional call that HTTP can't carry.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use pvc_proto::v1::vm_service_client::VmServiceClient;
use pvc_proto::v1::{ConsoleInput, ConsoleOutput};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;

use crate::failure::Failure;
use crate::router::Gateway;
use crate::{rest, token};

pub const PATH: &str = "/api/v1/vms/{name}/console";
/// What a browser offers beside its token, so that the token need not be repeated in the answer.
pub const SUBPROTOCOL: &str = "pvc.console";

const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Keystrokes on their way to the guest.
const INPUT_QUEUE: usize = 64;
const PING_EVERY: Duration = Duration::from_secs(20);
/// Without a sign of life for this long, the browser is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A close frame's reason, bytes (RFC 6455 allows 123).
const REASON_BYTES_MAX: usize = 120;

/// Opens the console first and upgrades then: what the coordinators refuse is an ordinary HTTP error.
pub async fn open(
    State(gateway): State<Gateway>,
    Path(name): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    headers: HeaderMap,
) -> Response {
    match attach(&gateway, name, upgrade, &headers).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn attach(
    gateway: &Gateway,
    name: String,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let token = token::of_websocket(headers)?;
    let upgrade = upgrade.map_err(|error| Failure::invalid("websocket", error.body_text()))?;
    let permit = Arc::clone(&gateway.streams).try_acquire_owned();
    let permit =
        permit.map_err(|_| Failure::unavailable("streams-open", "this gateway has too many streams"))?;

    let (input, inputs) = mpsc::channel(INPUT_QUEUE);
    input.try_send(ConsoleInput { vm: name, data: Vec::new() }).expect("a fresh queue has room");
    let mut call = tonic::Request::new(ReceiverStream::new(inputs));
    let bearer = MetadataValue::try_from(rest::bearer(&token)?.as_bytes())
        .map_err(|_| Failure::unauthenticated("the token is not visible ASCII"))?;
    call.metadata_mut().insert("authorization", bearer);
    let mut client = VmServiceClient::new(gateway.upstream.clone());
    let output = tokio::time::timeout(gateway.limits.answer_timeout, client.console(call))
        .await
        .map_err(|_| Failure::unavailable("answer-in-time", "no coordinator answered in time"))?
        .map_err(|status| Failure::of(&status))?
        .into_inner();

    let bearer_protocol = format!("{}{token}", token::SUBPROTOCOL_PREFIX);
    let session = Session { input, output, shutdown: gateway.shutdown.clone(), _permit: permit };
    Ok(upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .protocols([SUBPROTOCOL.to_owned(), bearer_protocol])
        .on_upgrade(|socket| session.run(socket)))
}

struct Session {
    input: mpsc::Sender<ConsoleInput>,
    output: tonic::Streaming<ConsoleOutput>,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

/// Why a session ended, for the close frame; `None` where there is nobody left to tell.
type Ending = Option<(u16, String)>;

impl Session {
    async fn run(mut self, mut socket: WebSocket) {
        let ending = self.pump(&mut socket).await;
        if let Some((code, mut reason)) = ending {
            while reason.len() > REASON_BYTES_MAX {
                reason.pop();
            }
            let frame = CloseFrame { code, reason: Utf8Bytes::from(reason) };
            // Nobody hears of it when the browser has gone meanwhile.
            drop(tokio::time::timeout(PING_EVERY, socket.send(Message::Close(Some(frame)))).await);
        }
    }

    async fn pump(&mut self, socket: &mut WebSocket) -> Ending {
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return Some((close_code::AWAY, "the gateway is stopping".into())),
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE_MAX || socket.send(Message::Ping(Vec::new().into())).await.is_err() {
                        return None;
                    }
                }
                printed = self.output.message() => match printed {
                    Ok(Some(output)) => {
                        let sent = tokio::time::timeout(SILENCE_MAX, socket.send(Message::Binary(output.data.into())));
                        if !matches!(sent.await, Ok(Ok(()))) {
                            return None;
                        }
                    }
                    Ok(None) => return Some((close_code::NORMAL, "the console has ended".into())),
                    Err(status) => return Some((close_code::ERROR, status.message().to_owned())),
                },
                typed = socket.recv() => {
                    heard = Instant::now();
                    let data = match typed {
                        Some(Ok(Message::Binary(data))) => data.to_vec(),
                        Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    };
                    let input = ConsoleInput { vm: String::new(), data };
                    // A full queue is a guest that doesn't read: the browser waits, and so does what the guest prints.
                    if self.input.send(input).await.is_err() {
                        return Some((close_code::ERROR, "the console takes no more input".into()));
                    }
                }
            }
        }
    }
}
