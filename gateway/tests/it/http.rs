//! The smallest HTTP client that shows everything of an answer.

use std::net::SocketAddr;

use pvc_identity::ApiToken;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One request with a good token on a connection of its own.
pub async fn ask(gateway: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Answer {
    let token = ApiToken::generate().expose();
    ask_bare(gateway, method, target, &format!("Authorization: Bearer {token}\r\n{headers}"), body).await
}

/// Like [`ask`], without a token.
pub async fn ask_bare(gateway: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Answer {
    let mut tcp = TcpStream::connect(gateway).await.unwrap();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: pvc\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    // A gateway that has seen enough may close before it has read all.
    drop(tcp.write_all(body.as_bytes()).await);
    let mut bytes = Vec::new();
    drop(tcp.read_to_end(&mut bytes).await);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}
