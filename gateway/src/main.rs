//! `pvc-api`: arguments, credentials and their renewal, doors, serve, drain.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use jiff::Timestamp;
use pvc_client::{Coordinators, renew_forever};
use pvc_gateway::config::{Args, Front};
use pvc_gateway::listener::Encryption;
use pvc_gateway::{Config, Gateway, Limits, Metrics, metrics, server, upstream};
use pvc_identity::{Credentials, TlsStore};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    start_logging(&args.log_format);
    // The first provider counts; nobody else sets one in this process.
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = Config::load(&args)?;

    let credentials = Credentials::load(&config.credentials)?;
    let store = TlsStore::new(credentials, Timestamp::now())?;
    let encryption = match &config.front {
        Front::Cluster => Encryption::Cluster(Arc::clone(&store)),
        Front::Files { cert, key } => Encryption::from_files(cert, key)?,
        Front::Plain => Encryption::Plain,
    };
    let (limits, metrics, shutdown) = (Limits::default(), Metrics::default(), CancellationToken::new());
    let coordinators = upstream::coordinators(&config.coordinators, &store, limits.answer_timeout)?;
    metrics.certificate_ends(store.leaf().not_after);
    let gateway = Gateway::new(coordinators.clone(), limits, metrics.clone(), shutdown.clone());
    let listener = bind(config.listen).await?;
    if let Some(address) = config.metrics_listen {
        let door = bind(address).await?;
        let router = metrics::router(metrics.clone());
        tokio::spawn(server::serve(door, Encryption::Plain, router, shutdown.clone()));
    }
    tracing::info!(listen = %config.listen, identity = %store.leaf().identity, coordinators = ?config.coordinators, "serving");

    spawn_renewal(&config, &store, &coordinators, metrics.clone());
    spawn_signals(shutdown.clone(), store, coordinators, metrics, config)?;
    server::serve(listener, encryption, pvc_gateway::build(gateway), shutdown).await;
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("could not listen on {address}"))
}

fn spawn_renewal(config: &Config, store: &Arc<TlsStore>, coordinators: &Coordinators, metrics: Metrics) {
    let renewed = Arc::clone(store);
    let on_renewed = move || metrics.certificate_ends(renewed.leaf().not_after);
    let (dir, coordinators) = (config.credentials.clone(), coordinators.clone());
    tokio::spawn(renew_forever(dir, Arc::clone(store), coordinators, on_renewed));
}

/// SIGTERM and SIGINT stop; SIGHUP takes credentials into use that somebody has put into the directory.
fn spawn_signals(
    shutdown: CancellationToken,
    store: Arc<TlsStore>,
    coordinators: Coordinators,
    metrics: Metrics,
    config: Config,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => {
                    let reloaded = Credentials::load(&config.credentials)
                        .map_err(anyhow::Error::from)
                        .and_then(|credentials| Ok(store.reload(credentials, Timestamp::now())?));
                    match reloaded {
                        Ok(()) => {
                            coordinators.reconnect();
                            metrics.certificate_ends(store.leaf().not_after);
                            tracing::info!(not_after = %store.leaf().not_after, "took the credentials anew");
                        }
                        Err(error) => tracing::error!("kept the old credentials: {error:#}"),
                    }
                }
            }
        }
        tracing::info!("stopping");
        shutdown.cancel();
    });
    Ok(())
}

fn start_logging(format: &str) {
    let filter = EnvFilter::try_from_env("PVC_API_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    if format == "json" { builder.json().init() } else { builder.init() }
}
