//! Lends addresses, on the primary: dnsmasq, one server for each family and all networks. Advertises the gateways as IPv6
//! routers. Guests' names are `dns`'s.
//!
//! ```text
//! HostPlan ──▶ configuration, reservations ──▶ dnsmasq ──pvc-dhcp-event──▶ events.sock ──▶ [Events] ──▶ the leader
//!     ├─ leases ──▶ book ──init──▶ dnsmasq                                    └──▶ book
//!     └─ gateways ──▶ router ──▶ advertisements
//! ```
//! A server has no leases of its own: it begins with those of the plan and what was reported since, and each that it lends
//! is reported. The next primary's begins with the same.
//!
//! What may never happen here: lending on a host that is not the primary, or is cut off; lending an address that the plan
//! says is another's.

mod advert;
mod config;
mod events;
pub mod hook;
mod hosts;
mod router;
mod server;
#[cfg(test)]
mod tests;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_model::network::host::{HostPlan, Stance};
use tokio::sync::mpsc;

pub use events::Events;
pub use wire::{Change, LeaseEvent};

use crate::files::open_dir;
use crate::netlink::{Device, Netlink};
use crate::{Blocked, NetlinkError, Outcome, Part, Site};
use config::duid;
use events::{Book, Desk, now};
use router::{Adverts, Router, make_room_for_groups};
use server::{Server, Wanted, socket};
use wire::Family;

/// The part "dhcp".
pub struct Dhcp {
    dir: PathBuf,
    program: PathBuf,
    book: Arc<Mutex<Book>>,
    tell: mpsc::Sender<(u64, LeaseEvent)>,
    desk: Option<Desk>,
    servers: [Server; 2],
    router: Option<Router>,
}

impl Dhcp {
    /// What the servers report is to be taken from [`Events`]: they wait for it.
    pub fn new(site: &Site) -> (Dhcp, Events) {
        let (tell, events) = events::events();
        let dir = site.run_dir.join("dhcp");
        let dhcp = Dhcp {
            program: site.program.clone(),
            book: Arc::default(),
            tell,
            desk: None,
            servers: Family::ALL.map(|family| Server::new(family, &dir)),
            router: None,
            dir,
        };
        (dhcp, events)
    }

    /// The processes that run, for people and tests: of IPv4, of IPv6.
    pub fn processes(&self) -> [Option<pvc_process::DaemonId>; 2] {
        [self.servers[0].kept.id(), self.servers[1].kept.id()]
    }

    fn open_desk(&mut self) -> Result<(), Blocked> {
        if self.desk.as_ref().is_some_and(Desk::is_open) && socket(&self.dir).exists() {
            return Ok(());
        }
        let failed = |error: std::io::Error| Blocked::new(format!("{}: {error}", self.dir.display()));
        open_dir(&self.dir).map_err(failed)?;
        self.desk = None;
        let desk =
            Desk::open(&socket(&self.dir), Arc::clone(&self.book), self.tell.clone()).map_err(failed)?;
        self.desk = Some(desk);
        Ok(())
    }

    /// Advertises where the gateways are on this host. Whether it says something new.
    fn advertise(&mut self, plan: &HostPlan, devices: &[Device]) -> Result<bool, Blocked> {
        if !plan.stance.has_gateways() {
            return Ok(self.router.take().is_some());
        }
        let adverts: Adverts = plan
            .networks
            .iter()
            .filter_map(|network| {
                let bridge = network.vni.bridge();
                let device = devices.iter().find(|device| device.name == bridge)?;
                let mac = device.mac.as_slice().try_into().ok()?;
                Some((device.index, advert::advertisement(network, mac, device.mtu)?))
            })
            .collect();
        if adverts.is_empty() {
            return Ok(self.router.take().is_some());
        }
        let failed =
            |error: std::io::Error| Blocked::new(format!("IPv6 routers can't be advertised: {error}"));
        let router = match self.router.take() {
            Some(router) => router,
            None => Router::open().map_err(failed)?,
        };
        self.router.insert(router).say(adverts).map_err(failed)
    }
}

async fn devices() -> Result<Vec<Device>, Blocked> {
    let devices = async { Netlink::open()?.devices().await };
    devices.await.map_err(|error: NetlinkError| Blocked::new(error.to_string()))
}

#[async_trait]
impl Part for Dhcp {
    fn name(&self) -> &'static str {
        "dhcp"
    }

    async fn pass(&mut self, plan: &HostPlan) -> Result<Outcome, Blocked> {
        let removed = self.book.lock().plan(plan, duid(plan), now());
        for lease in removed {
            self.servers
                .iter_mut()
                .filter(|server| server.serves(lease.address))
                .for_each(Server::begin_afresh);
        }
        // Also where nothing is lent: what was lent a moment ago is still reported.
        self.open_desk()?;
        let devices = match plan.stance {
            Stance::Primary | Stance::Ready | Stance::CutOff => devices().await?,
            Stance::Leaving | Stance::Standby | Stance::Hypervisor => Vec::new(),
        };
        let mtus = devices.iter().map(|device| (device.name.clone(), device.mtu)).collect();
        make_room_for_groups();
        let mut done = Vec::new();
        let mut trouble = Vec::new();
        match self.advertise(plan, &devices) {
            Ok(news) => done.extend(news.then(|| "changed what IPv6 routers are advertised".to_owned())),
            Err(blocked) => trouble.push(blocked.reason),
        }
        for server in &mut self.servers {
            let wanted = match plan.stance {
                Stance::Primary => Wanted::Running,
                Stance::Ready => Wanted::Prepared,
                // Nobody would hear of what is lent by a primary that is cut off, and its successor would lend it again. What
                // guests have they keep until it runs out.
                Stance::CutOff | Stance::Leaving | Stance::Standby | Stance::Hypervisor => Wanted::Stopped,
            };
            match server.pass(plan, wanted, Path::new(&self.program), &mtus).await {
                Ok(words) => done.extend(words),
                Err(blocked) => trouble.push(blocked.reason),
            }
        }
        if !trouble.is_empty() {
            return Err(Blocked::new(trouble.join("; ")));
        }
        Ok(if done.is_empty() { Outcome::Settled } else { Outcome::Progressed(done) })
    }
}
