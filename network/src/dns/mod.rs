//! The cluster's names. PowerDNS answers for all networks' zones on each coordinator, and asks us for what they hold; the
//! resolver at the gateways asks it for those, and the site's resolvers for the rest.
//!
//! ```text
//! HostPlan ──▶ zones ──▶ serials ──▶ snapshot ──backend.sock── pdns_server ◀── secondaries (AXFR)
//!                                                                   ▲
//! guest ──▶ gateway:53 ── dnsmasq (asks only) ──────────────────────┴──▶ the site's resolvers
//! ```
//! Both run on all coordinators at all times: a gateway's address that arrives is answered at within a moment.
//!
//! What may never happen here: a serial that falls; a zone copied by somebody who is not named; two hosts that tell the
//! secondaries.

mod backend;
mod config;
mod reverse;
mod serials;
mod snapshot;
#[cfg(test)]
mod tests;
pub mod zones;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use pvc_model::network::host::{HostPlan, Stance};

use crate::files::{account, open_dir, write_if_changed};
use crate::kept::{Kept, Seen};
use crate::netlink::Netlink;
use crate::{Blocked, NetlinkError, Outcome, Part, Site};
use backend::{Backend, Served};
use serials::Serials;
use snapshot::Snapshot;

/// Where PowerDNS listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// On the host's address: for the site's resolvers and secondaries.
    pub public: u16,
    /// On 127.0.0.1: for the guests' resolver.
    pub loopback: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Ports { public: 53, loopback: 5300 }
    }
}

const POWERDNS_USER: &str = "pdns";
const RESOLVER_USER: &str = "dnsmasq";

/// The part "dns".
pub struct Dns {
    site: Site,
    ports: Ports,
    dir: PathBuf,
    serials: Serials,
    served: Arc<Served>,
    /// What is served was made from this one.
    plan: Option<HostPlan>,
    backend: Option<Backend>,
    powerdns: Kept,
    resolver: Kept,
    /// The resolver has the newest list of whom to ask.
    told: bool,
}

impl Dns {
    pub fn new(site: &Site, ports: Ports) -> Dns {
        let dir = site.run_dir.join("dns");
        let powerdns = format!("--config-dir={}", dir.display());
        let resolver = format!("--conf-file={}", dir.join("resolver.conf").display());
        Dns {
            site: site.clone(),
            ports,
            serials: Serials::new(site.state_dir.join("dns-serials.json")),
            served: Arc::default(),
            plan: None,
            backend: None,
            powerdns: Kept::new("pdns", &dir, powerdns),
            resolver: Kept::new("resolver", &dir, resolver),
            told: false,
            dir,
        }
    }

    /// The processes that run, for people and tests: PowerDNS, the resolver.
    pub fn processes(&self) -> [Option<pvc_process::DaemonId>; 2] {
        [self.powerdns.id(), self.resolver.id()]
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("backend.sock")
    }

    /// Takes the plan's zones into what is answered.
    fn serve(&mut self, plan: &HostPlan) -> Result<(), Blocked> {
        if self.plan.as_ref() != Some(plan) {
            self.take(plan)?;
            self.plan = Some(plan.clone());
        }
        if self.backend.as_ref().is_some_and(Backend::is_open) && self.socket().exists() {
            return Ok(());
        }
        self.backend = None;
        let backend = Backend::open(&self.socket(), Some(POWERDNS_USER), Arc::clone(&self.served));
        self.backend = Some(backend.map_err(|error| file(&self.socket(), &error))?);
        Ok(())
    }

    fn take(&mut self, plan: &HostPlan) -> Result<(), Blocked> {
        let zones = zones::zones(plan);
        let serials = self.serials.assign(&zones, plan.revision);
        let serials =
            serials.map_err(|error| Blocked::new(format!("the zones' serials can't be kept: {error}")))?;
        let mut snapshot = Snapshot::new(zones, &serials);
        snapshot.secondaries.clone_from(&plan.fabric.zone_secondaries);
        snapshot.tells = plan.stance == Stance::Primary;
        self.served.forget(&snapshot);
        self.served.snapshot.store(Arc::new(snapshot));
        Ok(())
    }

    async fn keep_powerdns(&mut self, done: &mut Vec<String>) -> Result<(), Blocked> {
        let user = account(POWERDNS_USER).map(|_| POWERDNS_USER);
        // It passes over an address that is not there, and does not look again: started anew when that comes.
        let addresses = async { Netlink::open()?.addresses().await };
        let addresses = addresses.await.map_err(|error: NetlinkError| Blocked::new(error.to_string()))?;
        let address = addresses.iter().map(|there| there.address).find(|there| *there == self.site.address);
        let conf = config::powerdns(address, self.ports, &self.socket(), &self.dir, user);
        let path = self.dir.join("pdns.conf");
        write_if_changed(&path, conf.as_bytes()).map_err(|error| file(&path, &error))?;
        let args = [format!("--config-dir={}", self.dir.display())];
        if keep(&mut self.powerdns, "pdns_server", &args, &conf, done).await? {
            self.served.forget_all();
        }
        Ok(())
    }

    async fn keep_resolver(&mut self, plan: &HostPlan, done: &mut Vec<String>) -> Result<(), Blocked> {
        let servers = self.dir.join("resolver-servers.conf");
        let list = config::servers(plan, self.ports);
        let changed = write_if_changed(&servers, list.as_bytes()).map_err(|error| file(&servers, &error))?;
        self.told &= !changed;
        let user = account(RESOLVER_USER).map(|_| RESOLVER_USER);
        let conf = config::resolver(&servers, user);
        let path = self.dir.join("resolver.conf");
        write_if_changed(&path, conf.as_bytes()).map_err(|error| file(&path, &error))?;
        let args = ["--keep-in-foreground".to_owned(), format!("--conf-file={}", path.display())];
        let started = keep(&mut self.resolver, "dnsmasq", &args, &conf, done).await?;
        // Also one that was taken over: its list may have been written and not read.
        if !started && !self.told {
            self.resolver.hang_up().await?;
            done.extend(changed.then(|| "told the resolver whom to ask".to_owned()));
        }
        self.told = true;
        Ok(())
    }
}

/// Has it run with this configuration; whether it was started just now.
async fn keep(
    kept: &mut Kept,
    program: &str,
    args: &[String],
    conf: &str,
    done: &mut Vec<String>,
) -> Result<bool, Blocked> {
    let digest = blake3::hash(conf.as_bytes()).to_hex().to_string();
    match kept.look()? {
        Seen::Running { digest: running, adopted } if running == digest => {
            done.extend(adopted.then(|| format!("took over {program}")));
            return Ok(false);
        }
        Seen::Running { .. } => {
            kept.stop().await?;
            done.push(format!("restarted {program}"));
        }
        Seen::Absent => done.push(format!("started {program}")),
    }
    kept.start(program, args, &[], &digest).map(|()| true)
}

fn file(path: &Path, error: &std::io::Error) -> Blocked {
    Blocked::new(format!("{}: {error}", path.display()))
}

#[async_trait]
impl Part for Dns {
    fn name(&self) -> &'static str {
        "dns"
    }

    async fn pass(&mut self, plan: &HostPlan) -> Result<Outcome, Blocked> {
        let mut done = Vec::new();
        if plan.stance.is_coordinator() {
            open_dir(&self.dir).map_err(|error| file(&self.dir, &error))?;
            self.serve(plan)?;
            let resolver = self.keep_resolver(plan, &mut done).await;
            self.keep_powerdns(&mut done).await?;
            resolver?;
        } else {
            for (kept, name) in [(&mut self.powerdns, "pdns_server"), (&mut self.resolver, "the resolver")] {
                if kept.stop().await? {
                    done.push(format!("stopped {name}"));
                }
            }
            self.backend = None;
            self.told = false;
        }
        Ok(if done.is_empty() { Outcome::Settled } else { Outcome::Progressed(done) })
    }
}
