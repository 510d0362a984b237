//! `pvc-api`: arguments, credentials, door, serve, drain.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use jiff::Timestamp;
use pvc_gateway::config::{Args, Front};
use pvc_gateway::listener::Encryption;
use pvc_gateway::{Config, Gateway, Limits, server, upstream};
use pvc_identity::{Credentials, TlsStore};
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
    let upstream = upstream::to_coordinators(&config.coordinators, &store)?;
    let shutdown = CancellationToken::new();
    let router = pvc_gateway::build(Gateway::new(upstream, Limits::default(), shutdown.clone()));
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("could not listen on {}", config.listen))?;
    tracing::info!(listen = %config.listen, identity = %store.leaf().identity, coordinators = ?config.coordinators, "serving");

    spawn_signals(shutdown.clone(), store, config)?;
    server::serve(listener, encryption, router, shutdown).await;
    Ok(())
}

/// SIGTERM and SIGINT stop; SIGHUP takes renewed credentials into use.
fn spawn_signals(shutdown: CancellationToken, store: Arc<TlsStore>, config: Config) -> anyhow::Result<()> {
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
                        Ok(()) => tracing::info!(not_after = %store.leaf().not_after, "took the credentials anew"),
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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if format == "json" { builder.json().init() } else { builder.init() }
}
