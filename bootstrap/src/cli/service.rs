//! `pvc-bootstrap service-certificate`: what a program that is no node shows to the coordinators.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::found::{Places, ServiceCertificate};
use anyhow::Context as _;
use clap::Args;

#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// Name of the service: `api` for the HTTP gateway
    name: String,
    /// Folder for the certificate, its key and the CA's certificate; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A DNS name by which browsers reach the service; may be given several times [default: this host's name, localhost]
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// An address by which browsers reach the service; may be given several times [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// Folder of the CA [default: /etc/pvc/ca]
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,
}

impl ServiceArgs {
    /// Makes the certificate and says what to do with it.
    pub fn run(self) -> anyhow::Result<()> {
        let (mut dns_names, mut ip_addresses) = (self.dns, self.ip);
        if dns_names.is_empty() && ip_addresses.is_empty() {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
            let host = host.context("could not read the host's name; use --dns")?.trim().to_owned();
            dns_names = vec![host, "localhost".to_owned()];
            ip_addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        }
        let asked = ServiceCertificate {
            name: self.name,
            out: self.out,
            dns_names,
            ip_addresses,
            authority: self.authority.unwrap_or_else(|| Places::default().authority()),
        };
        let issued = asked.issue()?;
        let how = if issued.made { "made" } else { "in place" };
        let (name, out) = (&asked.name, asked.out.display());
        eprintln!("certificate of service/{name}: {how}, good until {}", issued.until);
        eprintln!(
            "move {out} to where the service runs; it renews the certificate there by itself, and needs the folder"
        );
        eprintln!("writable for that: pvc-api --coordinators HOST:PORT,… --credentials DIR");
        Ok(())
    }
}
