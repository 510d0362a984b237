//! The node's certificate is renewed long before it ends, and libvirt's copies of it with it.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pvc_client::{Coordinators, renew_forever};
use pvc_coordinator::peers::Peers;
use pvc_host::daemon_config::DaemonConfig;
use pvc_host::libvirt_pki;
use pvc_identity::{Credentials, TlsStore};
use pvc_process::Cmd;

const RELOAD_DEADLINE: Duration = Duration::from_secs(30);

/// Runs until it is dropped.
pub async fn run(
    config: DaemonConfig,
    tls: Arc<TlsStore>,
    cluster: Coordinators,
    peers: Option<Peers>,
    pulse: Coordinators,
) -> Infallible {
    // A daemon that died between the renewal and the copying left old copies behind.
    share(&config.pki_dir, &tls.credentials()).await;
    let (renewed, pki) = (tls.clone(), config.pki_dir.clone());
    renew_forever(config.identity_dir, tls, cluster, move || {
        pulse.reconnect();
        if let Some(peers) = &peers {
            peers.reconnect();
        }
        let (pki, credentials) = (pki.clone(), renewed.credentials());
        tokio::spawn(async move { share(&pki, &credentials).await });
    })
    .await
}

/// Gives libvirt and qemu the certificate. Guests and connections that are there do not notice.
async fn share(pki: &Path, credentials: &Credentials) {
    match libvirt_pki::lay_out(pki, credentials) {
        Ok(written) if written.is_empty() => return,
        Ok(_) => {}
        Err(error) => {
            tracing::error!(%error, "libvirt's copies of the certificate could not be written");
            return;
        }
    }
    let reload = Cmd::new("virt-admin").args(["server-update-tls", "libvirtd"]).run(RELOAD_DEADLINE).await;
    match reload {
        Ok(_) => tracing::info!("libvirt has the new certificate"),
        Err(error) => tracing::warn!(%error, "libvirt did not take the new certificate; restart libvirtd"),
    }
}
