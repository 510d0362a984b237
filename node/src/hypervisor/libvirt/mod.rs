//! The real adapter: libvirt and, behind it, qemu.
//!
//! libvirt's calls block and its daemon may hang, so every call is made on a thread of `threads` with a
//! deadline; a migration and a console have threads of their own. The connection is opened when it is
//! first needed and again, with a growing wait, when it was lost. Only this room names libvirt.
//!
//! Nothing here ends a guest but [`Hypervisor::power_off`]; closing a connection never does (guests are
//! not started with libvirt's auto-destroy).

mod connection;
mod console;
mod events;
mod jobs;
mod listing;
mod migrate;
mod nics;
mod threads;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_model::Uid;
use pvc_model::vm::Mac;
use tokio::sync::watch;
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt::sys;

use self::connection::Connection;
use self::events::Notices;
use self::jobs::Job;
use self::threads::{CallError, Terms, Threads};
use super::{
    Console, Ending, Guest, GuestNic, GuestSpec, GuestState, HostFacts, Hypervisor, HypervisorError, LiveNic,
    MigrateError, MigrationOrder, MigrationProgress, MigrationReport, NicPort, Stamp, xml,
};
use crate::storage::DiskSource;

/// Where libvirt is and how long it is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibvirtConfig {
    /// For example `qemu:///system`.
    pub uri: String,
    /// For a question or a small change.
    pub deadline: Duration,
    /// For starting or ending a guest. libvirt itself waits up to 30 s for an emulator to go.
    pub long_deadline: Duration,
    /// Type that every domain is given in place of its own, for libvirt's built-in `test` driver.
    pub domain_type: Option<String>,
}

impl Default for LibvirtConfig {
    fn default() -> Self {
        LibvirtConfig {
            uri: "qemu:///system".to_owned(),
            deadline: Duration::from_secs(10),
            long_deadline: Duration::from_secs(60),
            domain_type: None,
        }
    }
}

/// This host's guests, by libvirt.
pub struct Libvirt {
    config: LibvirtConfig,
    notices: Arc<Notices>,
    threads: Threads,
    /// Guests that libvirt is starting for us now.
    starting: Arc<Mutex<HashSet<Uid>>>,
}

impl Libvirt {
    /// Connects to nothing yet: the first request does.
    pub fn new(config: LibvirtConfig) -> Self {
        let notices = Arc::new(Notices::new());
        let threads = Threads::new(config.uri.clone(), notices.clone());
        Libvirt { config, notices, threads, starting: Arc::default() }
    }

    fn terms(&self, deadline: Duration, changes: bool) -> Terms {
        Terms { deadline, changes, suspects: true }
    }

    async fn ask<T, F>(&self, request: &'static str, work: F) -> Result<T, HypervisorError>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Connection>) -> Result<T, CallError> + Send + 'static,
    {
        self.threads.run(request, self.terms(self.config.deadline, false), work).await
    }

    async fn change<T, F>(&self, request: &'static str, work: F) -> Result<T, HypervisorError>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Connection>) -> Result<T, CallError> + Send + 'static,
    {
        self.threads.run(request, self.terms(self.config.deadline, true), work).await
    }

    /// The jobs of these guests. Those that libvirt does not tell in time are missing: one busy guest
    /// must not hide all the others.
    async fn jobs(&self, uids: Vec<Uid>) -> Result<HashMap<Uid, Job>, HypervisorError> {
        if uids.is_empty() {
            return Ok(HashMap::new());
        }
        let deadline = self.config.deadline.min(Duration::from_secs(2));
        let terms = Terms { deadline, changes: false, suspects: false };
        match self.threads.run("tell its jobs", terms, move |c| listing::jobs(c, &uids)).await {
            Ok(jobs) => Ok(jobs.into_iter().collect()),
            Err(HypervisorError::Deadline { .. }) => Ok(HashMap::new()),
            Err(error) => Err(error),
        }
    }
}

/// The guest's domain, running or not.
fn find(connection: &Connection, uid: Uid) -> Result<Domain, CallError> {
    Domain::lookup_by_uuid_string(connection, &uid.to_string()).map_err(|e| match e.code() {
        ErrorNumber::NoDomain => CallError::Said(HypervisorError::NoSuchGuest { uid }),
        _ => CallError::Libvirt(e),
    })
}

fn start(connection: &Connection, uid: Uid, xml: &str) -> Result<(), CallError> {
    let is_here = || match Domain::lookup_by_uuid_string(connection, &uid.to_string()) {
        Ok(domain) => domain.is_active(),
        Err(e) if e.code() == ErrorNumber::NoDomain => Ok(false),
        Err(e) => Err(e),
    };
    let already = || Err(CallError::Said(HypervisorError::AlreadyHere { uid }));
    if is_here()? {
        return already();
    }
    match Domain::create_xml(connection, xml, 0) {
        Ok(_) => Ok(()),
        // Another request was faster.
        Err(e) if matches!(e.code(), ErrorNumber::OperationFailed | ErrorNumber::DomExist) => {
            if is_here()? {
                already()
            } else {
                Err(e.into())
            }
        }
        Err(e) => Err(e.into()),
    }
}

#[async_trait]
impl Hypervisor for Libvirt {
    async fn guests(&self) -> Result<Vec<Guest>, HypervisorError> {
        let seen = self.ask("list its guests", |c| listing::list(c)).await?;
        // A guest's job is asked for where there may be one: asking may have to wait for its emulator.
        let starting = self.starting.lock().clone();
        let unsure = seen.iter().filter(|s| {
            let moves = s.maybe_moving || s.known_outgoing != Some(false) || self.notices.is_leaving(s.uid);
            moves && !starting.contains(&s.uid)
        });
        let jobs = self.jobs(unsure.map(|s| s.uid).collect()).await?;
        let guests: Vec<Guest> = seen
            .into_iter()
            .map(|s| {
                let leaving = self.notices.is_leaving(s.uid) || s.known_outgoing == Some(true);
                let (incoming, outgoing) = match jobs.get(&s.uid) {
                    Some(Job::Incoming) => (s.maybe_moving, false),
                    Some(Job::Outgoing(_)) => (false, true),
                    Some(Job::None) => (false, false),
                    // Not told. One that may still be on its way must not be taken for arrived.
                    None => (s.maybe_moving && !leaving && !starting.contains(&s.uid), leaving),
                };
                let pressed = s.state == GuestState::Running && self.notices.was_pressed(s.uid);
                let state = if pressed { GuestState::ShuttingDown } else { s.state };
                Guest { uid: s.uid, name: s.name, state, stamp: s.stamp, incoming, outgoing }
            })
            .collect();
        self.notices.set_arriving(guests.iter().filter(|g| g.incoming).map(|g| g.uid).collect());
        Ok(guests)
    }

    fn endings(&self) -> Vec<Ending> {
        self.notices.take_endings()
    }

    async fn start(&self, spec: &GuestSpec) -> Result<(), HypervisorError> {
        let (uid, xml, starting) = (spec.uid, self.render(spec)?, self.starting.clone());
        let terms = self.terms(self.config.long_deadline, true);
        let work = move |c: &Arc<Connection>| {
            starting.lock().insert(uid);
            let started = start(c, uid, &xml);
            starting.lock().remove(&uid);
            started
        };
        self.threads.run("start the guest", terms, work).await
    }

    async fn power_button(&self, uid: Uid) -> Result<(), HypervisorError> {
        let press = move |c: &Arc<Connection>| match find(c, uid)?
            .shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        {
            Ok(_) => Ok(()),
            // The test driver knows no buttons, only one way to shut down.
            Err(e) if matches!(e.code(), ErrorNumber::InvalidArg | ErrorNumber::NoSupport) => {
                find(c, uid)?.shutdown()?;
                Ok(())
            }
            Err(e) if e.code() == ErrorNumber::OperationInvalid && !find(c, uid)?.is_active()? => {
                Err(CallError::Said(HypervisorError::NoSuchGuest { uid }))
            }
            Err(e) => Err(e.into()),
        };
        // Before it: the guest may end before the answer is here.
        self.notices.pressed(uid);
        let pressed = self.change("press the power button", press).await;
        if matches!(&pressed, Err(e) if !e.outcome_unknown()) {
            self.notices.not_pressed(uid);
        }
        pressed
    }

    async fn power_off(&self, uid: Uid) -> Result<(), HypervisorError> {
        let terms = self.terms(self.config.long_deadline, true);
        let destroy = move |c: &Arc<Connection>| {
            let domain = match find(c, uid) {
                Err(CallError::Said(HypervisorError::NoSuchGuest { .. })) => return Ok(()),
                found => found?,
            };
            match domain.destroy() {
                Ok(()) => Ok(()),
                Err(e) if e.code() == ErrorNumber::NoDomain => Ok(()),
                Err(e) if e.code() == ErrorNumber::OperationInvalid && !domain.is_active()? => Ok(()),
                Err(e) => Err(e.into()),
            }
        };
        self.threads.run("power the guest off", terms, destroy).await
    }

    async fn stamp(&self, uid: Uid, stamp: Stamp) -> Result<(), HypervisorError> {
        let write = move |c: &Arc<Connection>| Ok(listing::write_stamp(&find(c, uid)?, stamp)?);
        self.change("stamp the guest", write).await
    }

    async fn disk_grown(&self, uid: Uid, disk: &DiskSource, size_bytes: u64) -> Result<(), HypervisorError> {
        let disk = match disk {
            DiskSource::RawFile { path } => path.to_string_lossy().into_owned(),
        };
        let grow = move |c: &Arc<Connection>| {
            find(c, uid)?.block_resize(&disk, size_bytes, sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES)?;
            Ok(())
        };
        self.change("grow the disk", grow).await
    }

    fn has_bridge(&self, bridge: &str) -> bool {
        nics::device_exists(bridge)
    }

    async fn nics(&self, uid: Uid) -> Result<Vec<LiveNic>, HypervisorError> {
        let document = self.xml(uid).await?;
        xml::nics(&document).map_err(|source| HypervisorError::Render { uid, source })
    }

    async fn attach_nic(&self, uid: Uid, nic: &GuestNic) -> Result<(), HypervisorError> {
        let nic = nic.clone();
        let attach = move |c: &Arc<Connection>| nics::attach(&find(c, uid)?, uid, &nic);
        self.threads.run("attach a NIC", self.terms(self.config.long_deadline, true), attach).await
    }

    async fn update_nic(&self, uid: Uid, port: &NicPort) -> Result<(), HypervisorError> {
        let port = port.clone();
        let update = move |c: &Arc<Connection>| nics::update(&find(c, uid)?, uid, &port);
        self.threads.run("change a NIC", self.terms(self.config.long_deadline, true), update).await
    }

    async fn detach_nic(&self, uid: Uid, mac: Mac) -> Result<(), HypervisorError> {
        let detach = move |c: &Arc<Connection>| nics::detach(&find(c, uid)?, uid, mac);
        self.threads.run("detach a NIC", self.terms(self.config.long_deadline, true), detach).await
    }

    async fn migrate(&self, uid: Uid, order: &MigrationOrder) -> Result<MigrationReport, MigrateError> {
        migrate::send(&self.config.uri, &self.notices, uid, order, self.config.long_deadline).await
    }

    async fn migration_progress(&self, uid: Uid) -> Result<Option<MigrationProgress>, HypervisorError> {
        let tell = move |c: &Arc<Connection>| match listing::jobs(c, &[uid])?.first() {
            Some((_, Job::Outgoing(figures))) => Ok(Some((*figures).into())),
            Some((_, Job::None | Job::Incoming)) | None => Ok(None),
        };
        let terms = Terms { suspects: false, ..self.terms(self.config.deadline, false) };
        self.threads.run("tell the migration's progress", terms, tell).await
    }

    async fn cancel_migration(&self, uid: Uid) -> Result<(), HypervisorError> {
        let abort = move |c: &Arc<Connection>| {
            let domain = match find(c, uid) {
                Err(CallError::Said(HypervisorError::NoSuchGuest { .. })) => return Ok(()),
                found => found?,
            };
            if !matches!(jobs::query(&domain)?, Job::Outgoing(_)) {
                return Ok(());
            }
            match jobs::abort(&domain) {
                Ok(()) => Ok(()),
                // It ended meanwhile.
                Err(e) if matches!(e.code(), ErrorNumber::OperationInvalid | ErrorNumber::NoDomain) => Ok(()),
                Err(e) => Err(e.into()),
            }
        };
        self.change("cancel the migration", abort).await
    }

    async fn console(&self, uid: Uid, take_over: bool) -> Result<Box<dyn Console>, HypervisorError> {
        let open = move |c: &Arc<Connection>| console::open(c, &find(c, uid)?, uid, take_over);
        Ok(Box::new(self.ask("open the console", open).await?.join()))
    }

    async fn xml(&self, uid: Uid) -> Result<String, HypervisorError> {
        self.ask("describe the guest", move |c| Ok(find(c, uid)?.get_xml_desc(0)?)).await
    }

    fn render(&self, spec: &GuestSpec) -> Result<String, HypervisorError> {
        let render = || {
            let document = xml::render(spec)?;
            match &self.config.domain_type {
                Some(domain_type) => xml::with_domain_type(&document, domain_type),
                None => Ok(document),
            }
        };
        render().map_err(|source| HypervisorError::Render { uid: spec.uid, source })
    }

    async fn facts(&self) -> Result<HostFacts, HypervisorError> {
        self.ask("describe the host", |c| {
            let node = c.get_node_info()?;
            let version = |v: u32| format!("{}.{}.{}", v / 1_000_000, v / 1000 % 1000, v % 1000);
            Ok(HostFacts {
                cpus: node.cpus,
                // libvirt may see one memory node of several.
                memory_mib: (node.memory / 1024).max(memory_of_kernel()),
                emulator: format!("{} {}", c.get_type()?, version(c.get_hyp_version()?)),
                hypervisor: format!("libvirt {}", version(c.get_lib_version()?)),
            })
        })
        .await
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.notices.wakeups()
    }
}

/// MiB, as the kernel counts it; 0 where it does not tell.
fn memory_of_kernel() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = total.and_then(|t| t.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
