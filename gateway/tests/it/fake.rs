//! A cluster with its CA, and coordinators that answer every method with an empty message, and some with more, by the
//! name that is asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::Timestamp;
use pvc_client::{Caller, incoming};
use pvc_gateway::{Gateway, Limits, Metrics, listener::Encryption, metrics, server, upstream};
use pvc_identity::{
    Alpn, Ca, ClientAuth, Credentials, Identity, KeyPair, LeafSpec, ListenerOptions, TlsListener, TlsStore,
};
use pvc_proto::v1::{ConsoleInput, ConsoleOutput, GetVmRequest, Meta, Vm, VmChange};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codegen::StdError;
use tonic::transport::Server;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// An address where nobody listens.
pub const DEAD: &str = "127.0.0.1:1";

/// A cluster's certificates.
pub struct Cluster(Ca);

/// A gateway that runs.
pub struct Running {
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub shutdown: CancellationToken,
}

impl Cluster {
    pub fn new() -> Self {
        Self(Ca::create("c-1", Timestamp::now()).unwrap())
    }

    pub fn store(&self, identity: Identity) -> Arc<TlsStore> {
        let key = KeyPair::generate().unwrap();
        let mut leaf = LeafSpec::new(identity);
        leaf.dns_names = vec!["localhost".to_owned()];
        let chain = self.0.sign(&key.csr_pem().unwrap(), &leaf, Timestamp::now()).unwrap();
        let credentials = Credentials::new(chain, key.pem(), self.0.cert_pem()).unwrap();
        TlsStore::new(credentials, Timestamp::now()).unwrap()
    }

    pub fn ca_pem(&self) -> &str {
        self.0.cert_pem()
    }

    /// Starts a coordinator; it lives as long as the test's runtime.
    pub async fn coordinator(&self) -> String {
        let store = self.store(Identity::node("hv1").unwrap());
        let options = ListenerOptions::new(ClientAuth::Required, Alpn::H2);
        let listener = TlsListener::bind("127.0.0.1:0".parse().unwrap(), store, options).await.unwrap();
        let address = listener.local_addr().to_string();
        let routes = tonic::service::Routes::from(axum::Router::new().fallback(answer));
        tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(incoming(listener)));
        address
    }

    /// Starts a gateway in front of these coordinators, on loopback.
    pub async fn gateway(&self, coordinators: &[String], limits: Limits) -> Running {
        self.gateway_behind(Encryption::Plain, coordinators, limits).await
    }

    pub async fn gateway_behind(&self, door: Encryption, coordinators: &[String], limits: Limits) -> Running {
        let store = self.store(Identity::service("api").unwrap());
        let coordinators = upstream::coordinators(coordinators, &store, limits.answer_timeout).unwrap();
        let (figures, shutdown) = (Metrics::default(), CancellationToken::new());
        figures.certificate_ends(store.leaf().not_after);
        let gateway = Gateway::new(coordinators, limits, figures.clone(), shutdown.clone());
        let address = serve(door, pvc_gateway::build(gateway), &shutdown).await;
        let metrics = serve(Encryption::Plain, metrics::router(figures), &shutdown).await;
        Running { address, metrics, shutdown }
    }
}

async fn serve(door: Encryption, router: axum::Router, shutdown: &CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server::serve(listener, door, router, shutdown.clone()));
    address
}

/// A gateway with one coordinator, as most tests need it.
pub async fn gateway() -> Running {
    let cluster = Cluster::new();
    let coordinator = cluster.coordinator().await;
    cluster.gateway(&[coordinator], Limits::default()).await
}

async fn answer(request: Request<Body>) -> Response<tonic::body::Body> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let caller = request.extensions().get::<Caller>().and_then(|caller| caller.peer.clone()).unwrap();
    let token = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let (Identity::Service(_), Some(token)) = (caller.identity, token) else {
        return Status::unauthenticated("not a service, or the token did not come through").into_http();
    };
    let body = request.into_body();
    match method.as_str() {
        "Console" => console(body),
        "WatchVms" => watch(),
        "GetVm" => {
            let mut bytes = body.collect().await.unwrap().to_bytes();
            bytes.advance(5);
            let asked: GetVmRequest = prost_decode(bytes);
            let name = if asked.name == "whoami" { token } else { asked.name };
            get_vm(&name).await
        }
        _ => {
            drop(body.collect().await);
            stream(vec![message(&Meta::default())])
        }
    }
}

async fn get_vm(name: &str) -> Response<tonic::body::Body> {
    let refused = |code, rule: &str| {
        let metadata = [
            ("subject".to_owned(), format!("vm/{name}")),
            ("help".to_owned(), "see `pvc vm list`".to_owned()),
        ];
        let details = ErrorDetails::with_error_info(rule, "pvc", std::collections::HashMap::from(metadata));
        Status::with_error_details(code, "refused", details).into_http()
    };
    match name {
        "missing" => refused(Code::NotFound, "must-exist"),
        "stale" => refused(Code::Aborted, "expected-revision"),
        "raced" => refused(Code::Aborted, "changed-meanwhile"),
        "running" => refused(Code::FailedPrecondition, "vm-must-be-off"),
        "forbidden" => refused(Code::PermissionDenied, "role"),
        "revoked" => refused(Code::Unauthenticated, "token-known"),
        "full" => refused(Code::ResourceExhausted, "no-node-fits"),
        "leaderless" => refused(Code::Unavailable, "not-leader"),
        "slow" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            refused(Code::Internal, "too-late")
        }
        _ => {
            let meta = Meta { name: name.to_owned(), revision: 7, ..Default::default() };
            stream(vec![message(&Vm { meta: Some(meta), ..Default::default() })])
        }
    }
}

/// Two changes, then a refusal.
fn watch() -> Response<tonic::body::Body> {
    let change = |revision| message(&VmChange { revision, ..Default::default() });
    with_status(vec![change(5), change(6)], "11")
}

/// Says back what is typed.
fn console(body: Body) -> Response<tonic::body::Body> {
    let echoed = body.into_data_stream().filter_map(|chunk| async move {
        let mut chunk = chunk.ok()?;
        chunk.advance(5);
        let input: ConsoleInput = prost_decode(chunk);
        let data = if input.vm.is_empty() { input.data } else { format!("[{}]", input.vm).into_bytes() };
        Some(Ok::<_, StdError>(Frame::data(message(&ConsoleOutput { data }))))
    });
    response(tonic::body::Body::new(StreamBody::new(echoed)))
}

fn stream(messages: Vec<Bytes>) -> Response<tonic::body::Body> {
    with_status(messages, "0")
}

fn with_status(messages: Vec<Bytes>, status: &'static str) -> Response<tonic::body::Body> {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(status))]);
    let frames =
        messages.into_iter().map(Frame::data).chain([Frame::trailers(trailers)]).map(Ok::<_, StdError>);
    response(tonic::body::Body::new(StreamBody::new(futures::stream::iter(frames))))
}

fn response(body: tonic::body::Body) -> Response<tonic::body::Body> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn message<M: prost::Message>(message: &M) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(encoded.len() as u32);
    framed.put_slice(&encoded);
    framed.freeze()
}

fn prost_decode<M: prost::Message + Default>(bytes: Bytes) -> M {
    M::decode(bytes).unwrap()
}
