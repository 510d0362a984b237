//! FRRouting on this host: which host has which guest's address (EVPN), and what the site's routers know of client networks.
//! The host runs it (systemd); this room gives it its configuration, at rest and live, and reads back how it is.
//!
//! What may never happen here: a daemon of FRRouting's restarted (all hosts would lose the way to this one's guests); a line
//! taken away that people have set in a place of theirs.

mod arrivals;
mod change;
mod files;
mod live;
mod render;
pub mod state;
mod text;
mod vty;

use async_trait::async_trait;
use ipnet::IpNet;
use pvc_model::network::host::HostPlan;

use crate::netlink::Netlink;
use crate::part::{Blocked, Outcome, Part};
use crate::{Site, words};
use arrivals::Arrivals;
use live::{Live, Peculiar, Wanted};
pub use state::FabricState;
pub use vty::VtyError;

pub struct Frr {
    site: Site,
    peculiar: Peculiar,
    /// The text that FRRouting was last asked about, and what it said: it is asked once.
    checked: Option<(String, Result<(), String>)>,
    arrivals: Arrivals,
}

impl Frr {
    pub fn new(site: Site) -> Self {
        Frr { site, peculiar: Peculiar::default(), checked: None, arrivals: Arrivals::default() }
    }

    async fn put_right(&mut self, plan: &HostPlan) -> Result<Vec<String>, String> {
        let cluster = cluster_network(&self.site).await?;
        let own = render::render(&self.site, plan, cluster);
        let theirs = files::snippets(&self.site)
            .map_err(|error| format!("{}: {error}", self.site.frr_snippets_dir.display()))?;
        let text = format!("{own}{theirs}");
        let frr_dir = self.site.frr_dir.clone();
        let file = |error| format!("{}: {error}", frr_dir.display());
        let old = files::read(&self.site).map_err(file)?;
        if old != text {
            self.check(&text).await?;
        }
        files::want_daemons(&self.site).map_err(file)?;
        let mut live = match Live::open(&self.site.frr_run_dir).await {
            Ok(live) => live,
            Err(error) => {
                // Then at least it starts with what is wanted.
                if old != text {
                    files::write(&self.site, &text).map_err(file)?;
                }
                return Err(help(&error));
            }
        };
        let own = text::parse(&own);
        let theirs = text::parse(&theirs).into_iter().filter(|line| !own.contains(line)).collect();
        let before = if old.starts_with(render::MARK) { text::parse(&old) } else { Vec::new() };
        let wanted = Wanted { asn: plan.fabric.asn, own, theirs, before };
        live.bring(&wanted, &mut self.peculiar).await.map_err(|error| help(&error))?;
        if !live.problems.is_empty() {
            return Err(words::some(&live.problems, "; "));
        }
        let mut done = live.done;
        // Last: until here the old file says what may have to be taken back.
        if old != text {
            files::write(&self.site, &text).map_err(file)?;
            done.push("wrote frr.conf".to_owned());
        }
        Ok(done)
    }

    async fn check(&mut self, text: &str) -> Result<(), String> {
        if self.checked.as_ref().is_none_or(|(checked, _)| checked != text) {
            self.checked = Some((text.to_owned(), files::check(&self.site, text).await));
        }
        match &self.checked {
            Some((_, Err(said))) => Err(format!(
                "FRRouting does not take the configuration; settings of your own are in {}: {said}",
                self.site.frr_snippets_dir.display()
            )),
            _ => Ok(()),
        }
    }
}

/// The network that this host's own address is in.
async fn cluster_network(site: &Site) -> Result<IpNet, String> {
    if site.address.is_ipv6() {
        return Err(format!(
            "tunnels between hosts need IPv4 addresses, and this host's in the cluster's network is {}",
            site.address
        ));
    }
    let netlink = Netlink::open().map_err(|error| error.to_string())?;
    let addresses = netlink.addresses().await.map_err(|error| error.to_string())?;
    addresses
        .iter()
        .filter(|found| found.address == site.address)
        .find_map(|found| IpNet::new(found.address, found.prefix).ok())
        .map(|net| net.trunc())
        .ok_or_else(|| {
            format!("no device of this host has its address in the cluster's network, {}", site.address)
        })
}

fn help(error: &VtyError) -> String {
    match error {
        VtyError::NotRunning { daemon, .. } if daemon == "bfdd" || daemon == "bgpd" => {
            format!("FRRouting: {error}: systemctl enable frr; systemctl restart frr")
        }
        _ => format!("FRRouting: {error}"),
    }
}

#[async_trait]
impl Part for Frr {
    fn name(&self) -> &'static str {
        "frr"
    }

    async fn pass(&mut self, plan: &HostPlan) -> Result<Outcome, Blocked> {
        let done = self.put_right(plan).await.map_err(Blocked::new)?;
        self.arrivals.look(plan, &self.site.frr_run_dir).await;
        Ok(if done.is_empty() { Outcome::Settled } else { Outcome::Progressed(done) })
    }
}
