//! What stands before the API: TLS with the cluster's certificate, and the figures on their own port.

use std::sync::Arc;

use pvc_gateway::Limits;
use pvc_gateway::listener::Encryption;
use pvc_identity::Identity;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fake::{self, Cluster};
use crate::http::{ask, ask_bare};

/// As a browser does it: the cluster's CA is trusted, and the certificate must be for the name in the address bar.
async fn browse(cluster: &Cluster, gateway: std::net::SocketAddr, name: &str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cluster.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(gateway).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    tls.write_all(b"GET /healthz HTTP/1.1\r\nHost: pvc\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn browsers_meet_the_clusters_certificate_under_its_names() {
    let cluster = Cluster::new();
    let door = Encryption::Cluster(cluster.store(Identity::service("api").unwrap()));
    let coordinators = [cluster.coordinator().await];
    let gateway = cluster.gateway_behind(door, &coordinators, Limits::default()).await.address;
    let answer = browse(&cluster, gateway, "localhost").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    browse(&cluster, gateway, "pvc.example.org").await.unwrap_err();
    browse(&Cluster::new(), gateway, "localhost").await.unwrap_err();
}

#[tokio::test]
async fn figures_are_on_their_own_port_only() {
    let gateway = fake::gateway().await;
    for name in ["web1", "web2", "missing"] {
        ask(gateway.address, "GET", &format!("/api/v1/vms/{name}"), "", "").await;
    }
    let figures = ask_bare(gateway.metrics, "GET", "/metrics", "", "").await;
    assert_eq!(figures.status, 200);
    for line in [
        r#"pvc_api_requests_total{method="GET",code="200"} 2"#,
        r#"pvc_api_requests_total{method="GET",code="404"} 1"#,
        "pvc_api_request_seconds_count 3",
        r#"pvc_api_call_seconds_count{rpc="/pvc.v1.VmService/GetVm"} 3"#,
        "pvc_api_certificate_end 1",
    ] {
        assert!(figures.body.contains(line), "{line} is not in {}", figures.body);
    }
    assert!(!figures.body.contains("web1"), "what callers write is no label");
    assert_eq!(ask(gateway.address, "GET", "/metrics", "", "").await.status, 404);
}
