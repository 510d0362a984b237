//! Watches and consoles.

use futures::{SinkExt as _, StreamExt as _};
use pvc_identity::ApiToken;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::fake;
use crate::http::ask;

#[tokio::test]
async fn events_carry_revisions_and_tell_why_they_end() {
    let gateway = fake::gateway().await.address;
    let events = ask(gateway, "GET", "/api/v1/vms:watch", "Accept: text/event-stream\r\n", "").await;
    assert!(events.head.contains("content-type: text/event-stream"), "{}", events.head);
    for part in ["id: 5\ndata: {", "id: 6\ndata: {", "event: failure\ndata: {"] {
        assert!(events.body.contains(part), "{part} is not in {}", events.body);
    }
    let lines = ask(gateway, "GET", "/api/v1/vms:watch", "Accept: application/x-ndjson\r\n", "").await;
    assert!(lines.body.contains(r#"{"error":{"#), "{}", lines.body);
}

#[tokio::test]
async fn a_console_echoes_until_the_gateway_stops() {
    let gateway = fake::gateway().await;
    let mut request =
        format!("ws://{}/api/v1/vms/web1/console", gateway.address).into_client_request().unwrap();
    let offered = format!("pvc.console, bearer.{}", ApiToken::generate().expose());
    request.headers_mut().insert("sec-websocket-protocol", offered.parse().unwrap());
    let (mut socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "pvc.console");

    assert_eq!(socket.next().await.unwrap().unwrap().into_data().as_ref(), b"[web1]");
    socket.send(Message::Binary(b"ls\n".to_vec().into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_data().as_ref(), b"ls\n");

    gateway.shutdown.cancel();
    let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else { panic!("not closed") };
    assert_eq!(u16::from(close.code), 1001);
}
