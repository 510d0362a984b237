//! What a gateway is told: by flags, by the environment, by a TOML file; the first that says something counts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Deserialize;

use crate::listener::is_loopback;

const LISTEN_DEFAULT: &str = "0.0.0.0:7370";

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not a configuration of pvc-api")]
    Form {
        path: PathBuf,
        #[source]
        source: toml::de::Error,
    },
    #[error("{0} is missing: give it by flag, environment or file (see pvc-api --help)")]
    Missing(&'static str),
    #[error("\"{0}\" is not an address: host:port is expected, such as 10.0.0.11:7741")]
    Address(String),
    #[error("--tls-cert and --tls-key go together")]
    HalfPair,
    #[error("--insecure-http is for loopback addresses only, and {0} is none: tokens would travel in clear")]
    Insecure(SocketAddr),
    #[error("--insecure-http and --tls-cert contradict each other")]
    Contradiction,
    #[error("--metrics-listen is for loopback addresses only, and {0} is none: figures need no token there")]
    OpenMetrics(SocketAddr),
}

/// The HTTP/JSON gateway of a PVC cluster.
#[derive(Debug, Parser)]
#[command(name = "pvc-api", version, about, max_term_width = 100)]
pub struct Args {
    /// A TOML file with the same settings (coordinators, credentials, listen, tls_cert, tls_key, insecure_http,
    /// metrics_listen)
    #[arg(long, env = "PVC_API_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The coordinators, as host:port,host:port
    #[arg(long, env = "PVC_API_COORDINATORS", value_delimiter = ',', value_name = "ADDRESSES")]
    pub coordinators: Vec<String>,
    /// The directory with the certificate of service/api: ca.pem, node.pem, node.key (made by `pvc-bootstrap
    /// service-certificate`, renewed here)
    #[arg(long, env = "PVC_API_CREDENTIALS", value_name = "DIR")]
    pub credentials: Option<PathBuf>,
    /// Where to listen [default: 0.0.0.0:7370]
    #[arg(long, env = "PVC_API_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// A certificate chain to show to callers, PEM, instead of the cluster's own
    #[arg(long, env = "PVC_API_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The key of --tls-cert, PEM
    #[arg(long, env = "PVC_API_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Plain HTTP; on loopback addresses only (behind a reverse proxy on the same host)
    #[arg(long, env = "PVC_API_INSECURE_HTTP")]
    pub insecure_http: bool,
    /// A loopback address for /metrics, such as 127.0.0.1:7372; without one there are none
    #[arg(long, env = "PVC_API_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
    /// How log lines look: text or json
    #[arg(long, env = "PVC_API_LOG_FORMAT", value_name = "FORMAT", default_value = "text",
          value_parser = ["text", "json"])]
    pub log_format: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    coordinators: Vec<String>,
    credentials: Option<PathBuf>,
    listen: Option<SocketAddr>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    insecure_http: Option<bool>,
    metrics_listen: Option<SocketAddr>,
}

/// How callers are met; see [`crate::listener::Encryption`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Front {
    Cluster,
    Files { cert: PathBuf, key: PathBuf },
    Plain,
}

/// A configuration that makes sense. Nothing is opened or bound yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// host:port, at least one.
    pub coordinators: Vec<String>,
    pub credentials: PathBuf,
    pub listen: SocketAddr,
    pub front: Front,
    /// Loopback.
    pub metrics_listen: Option<SocketAddr>,
}

impl Config {
    pub fn load(args: &Args) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let coordinators =
            if args.coordinators.is_empty() { file.coordinators } else { args.coordinators.clone() };
        if coordinators.is_empty() {
            return Err(ConfigError::Missing("--coordinators"));
        }
        if let Some(bad) = coordinators.iter().find(|address| !is_address(address)) {
            return Err(ConfigError::Address(bad.clone()));
        }
        let credentials =
            args.credentials.clone().or(file.credentials).ok_or(ConfigError::Missing("--credentials"))?;
        let listen =
            args.listen.or(file.listen).unwrap_or_else(|| LISTEN_DEFAULT.parse().expect("an address"));
        let plain = args.insecure_http || file.insecure_http.unwrap_or(false);
        let front = match (args.tls_cert.clone().or(file.tls_cert), args.tls_key.clone().or(file.tls_key)) {
            (None, None) if plain && !is_loopback(listen) => return Err(ConfigError::Insecure(listen)),
            (None, None) if plain => Front::Plain,
            (None, None) => Front::Cluster,
            (Some(_), Some(_)) if plain => return Err(ConfigError::Contradiction),
            (Some(cert), Some(key)) => Front::Files { cert, key },
            (Some(_), None) | (None, Some(_)) => return Err(ConfigError::HalfPair),
        };
        let metrics_listen = args.metrics_listen.or(file.metrics_listen);
        if let Some(open) = metrics_listen.filter(|address| !is_loopback(*address)) {
            return Err(ConfigError::OpenMetrics(open));
        }
        Ok(Self { coordinators, credentials, listen, front, metrics_listen })
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|source| ConfigError::Form { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &str) -> Result<Config, ConfigError> {
        Config::load(&Args::parse_from(std::iter::once("pvc-api").chain(flags.split_whitespace())))
    }

    #[test]
    fn flags() {
        let config = load("--coordinators a:7741,b:7741 --credentials /etc/pvc/api").unwrap();
        assert_eq!(config.coordinators, ["a:7741", "b:7741"]);
        assert_eq!(config.listen.to_string(), LISTEN_DEFAULT);
        assert_eq!(config.front, Front::Cluster);
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let base = "--coordinators a:7741 --credentials /c";
        for (flags, part) in [
            ("--credentials /c".to_owned(), "--coordinators is missing"),
            ("--coordinators a:7741".to_owned(), "--credentials is missing"),
            ("--coordinators a --credentials /c".to_owned(), "is not an address"),
            (format!("{base} --tls-cert /x"), "go together"),
            (format!("{base} --metrics-listen 10.0.0.1:80"), "loopback"),
            (format!("{base} --insecure-http"), "loopback"),
            (format!("{base} --insecure-http --listen 10.0.0.1:80"), "loopback"),
            (
                format!("{base} --insecure-http --listen 127.0.0.1:80 --tls-cert /x --tls-key /y"),
                "contradict",
            ),
        ] {
            let error = load(&flags).unwrap_err().to_string();
            assert!(error.contains(part), "{flags}: {error}");
        }
        assert_eq!(load(&format!("{base} --insecure-http --listen [::1]:80")).unwrap().front, Front::Plain);
    }

    #[test]
    fn a_file_gives_way_to_flags() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pvc-api.toml");
        std::fs::write(&path, "coordinators = [\"f:1\"]\ncredentials = \"/f\"\nlisten = \"127.0.0.1:9\"\n")
            .unwrap();
        let config = load(&format!("--config {} --coordinators g:2", path.display())).unwrap();
        assert_eq!((config.coordinators[0].as_str(), config.listen.port()), ("g:2", 9));
        std::fs::write(&path, "coordinatores = []\n").unwrap();
        assert!(matches!(load(&format!("--config {}", path.display())), Err(ConfigError::Form { .. })));
    }
}
