//! The daemon's one port: TLS, HTTP/2, and whatever routes it is given. Ends in bounded time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use pvc_client::incoming;
use pvc_identity::{Alpn, ClientAuth, ListenerOptions, TlsListener, TlsStore};
use pvc_proto::internal::v1::host_service_server::HostServiceServer;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use super::host_door::{self, KnownCoordinators};
use super::host_service::HostCalls;
use super::metrics::Gauges;

/// A port that an earlier daemon still holds is waited for.
const BIND_PATIENCE: Duration = Duration::from_secs(10);
/// Calls under way may take so long to end when the daemon stops.
const DRAIN: Duration = Duration::from_secs(5);
/// A caller that is silent for longer is taken for gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What every node serves.
pub fn common(host: HostCalls) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    // A daemon that answers serves; whether the cluster has a leader is the cluster's status to tell.
    drop(reporter);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pvc_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(health).add_service(HostServiceServer::new(host));
    // Many tools know the older protocol only, grpcio's own among them.
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "gRPC reflection is not served");
            routes
        }
    }
}

/// Adds `/metrics`.
pub fn with_metrics(routes: Routes, gauges: Gauges) -> Router {
    routes.into_axum_router().route("/metrics", get(move || std::future::ready(gauges.text())))
}

/// All that a hypervisor serves, behind its door.
pub fn host_router(host: HostCalls, gauges: Gauges, known: KnownCoordinators, cluster_id: String) -> Router {
    host_door::guard(with_metrics(common(host), gauges), known, &cluster_id)
}

/// A running server.
pub struct Serving {
    task: JoinHandle<()>,
}

/// Listens and serves until `stop`.
pub async fn start(
    address: SocketAddr,
    tls: Arc<TlsStore>,
    router: Router,
    stop: CancellationToken,
) -> anyhow::Result<Serving> {
    let options = ListenerOptions::new(ClientAuth::Optional, Alpn::H2OrHttp11);
    let since = tokio::time::Instant::now();
    let listener = loop {
        match TlsListener::bind(address, tls.clone(), options.clone()).await {
            Ok(listener) => break listener,
            Err(error) if since.elapsed() > BIND_PATIENCE => {
                return Err(error).with_context(|| format!("could not listen on {address}"));
            }
            Err(error) => {
                tracing::warn!(%address, %error, "can't listen yet");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    };
    tracing::info!(%address, "listening");
    let server = Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .add_routes(router.into())
        .serve_with_incoming_shutdown(incoming(listener), stop.cancelled_owned());
    let task = tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the server has ended");
        }
    });
    Ok(Serving { task })
}

/// Serves on the floating address too, while this host has it.
pub async fn floating(
    mut shown: watch::Receiver<Option<IpAddr>>,
    own: SocketAddr,
    tls: Arc<TlsStore>,
    router: Router,
    stop: CancellationToken,
) {
    loop {
        let address = *shown.borrow_and_update();
        let until = stop.child_token();
        let serving = match address.filter(|address| *address != own.ip()) {
            None => None,
            Some(address) => {
                let address = SocketAddr::new(address, own.port());
                let started = start(address, tls.clone(), router.clone(), until.clone());
                tokio::select! {
                    started = started => match started {
                        Ok(serving) => Some(serving),
                        Err(error) => {
                            tracing::error!(%error, "the floating address is here, and is not served");
                            None
                        }
                    },
                    // It may have gone while it was waited for.
                    changed = shown.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                }
            }
        };
        let gone = shown.changed().await.is_err();
        until.cancel();
        if let Some(serving) = serving {
            // Whoever called by an address that has gone is never answered: nothing is waited for.
            serving.task.abort();
        }
        if gone {
            return;
        }
    }
}

impl Serving {
    /// Waits for calls under way, for a while.
    pub async fn finish(mut self) {
        if tokio::time::timeout(DRAIN, &mut self.task).await.is_err() {
            tracing::info!("some calls were cut off");
            self.task.abort();
        }
    }
}

/// Tells the supervisor that the daemon serves.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells the supervisor that the daemon ends on purpose.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Tells the supervisor that the end takes so much longer.
pub fn not_yet(more: Duration) {
    let micros = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

fn notify(state: &[NotifyState<'_>]) {
    // Without a supervisor there is nobody to tell, and that is no error.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the supervisor was not told");
    }
}
