//! One host's view of the model: the trait, with the faults between.

use async_trait::async_trait;
use pvc_model::Uid;
use pvc_model::vm::Mac;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

use super::nics::no_bridge;
use super::world::{Host, State, TransferEnd};
use super::{FakeHypervisor, FakeWorld};
use crate::hypervisor::{
    Console, EndReason, Ending, Guest, GuestNic, GuestSpec, HostFacts, Hypervisor, HypervisorError, LiveNic,
    MigrateError, MigrationOrder, MigrationProgress, MigrationReport, NicPort, Stamp,
};
use crate::storage::DiskSource;

impl FakeHypervisor {
    /// Passes the faults that any request may meet.
    async fn reach(&self, request: &'static str) -> Result<(), HypervisorError> {
        let (delay, hang, deadline) = self.world.look(|s| {
            let faults = s.hosts.get(&self.host).map(|h| h.faults.clone()).unwrap_or_default();
            (faults.delay, faults.hang, s.timing.deadline)
        });
        if hang {
            tokio::time::sleep(deadline).await;
            return Err(HypervisorError::Deadline { request, seconds: deadline.as_secs() });
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.world.look(|s| self.check_reachable(s))
    }

    fn check_reachable(&self, state: &State) -> Result<(), HypervisorError> {
        match state.hosts.get(&self.host) {
            Some(host) if host.powered && !host.faults.unreachable => Ok(()),
            Some(_) | None => Err(HypervisorError::Unreachable {
                uri: format!("fake://{}", self.host),
                detail: "connection refused".to_owned(),
            }),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        let on = |h: &Host| h.changed.subscribe();
        // A host that was never added has nothing to tell: the sender is dropped, the receiver stays valid.
        self.world.look(|s| s.hosts.get(&self.host).map(on)).unwrap_or_else(|| watch::channel(0).1)
    }
}

#[async_trait]
impl Hypervisor for FakeHypervisor {
    async fn guests(&self) -> Result<Vec<Guest>, HypervisorError> {
        self.reach("list its guests").await?;
        Ok(self.world.guests_on(&self.host))
    }

    fn endings(&self) -> Vec<Ending> {
        self.world.look(|s| match s.hosts.get_mut(&self.host) {
            Some(host) if host.powered && !host.faults.unreachable => host.endings.drain(..).collect(),
            Some(_) | None => Vec::new(),
        })
    }

    async fn start(&self, spec: &GuestSpec) -> Result<(), HypervisorError> {
        const REQUEST: &str = "start the guest";
        self.render(spec)?;
        self.reach(REQUEST).await?;
        let hangs = self.world.look(|s| {
            let hanging = s.hosts.get_mut(&self.host).map(|host| &mut host.faults.hang_starts);
            hanging.filter(|left| **left > 0).map(|left| *left -= 1).is_some()
        });
        if hangs {
            std::future::pending::<()>().await;
        }
        let (takes, deadline) = self.world.look(|s| (s.timing.start, s.timing.deadline));
        let lost = self.world.look(|s| {
            self.check_reachable(s)?;
            let lacks = s.lacks_bridge(&self.host, spec);
            let Some(host) = s.hosts.get_mut(&self.host) else { return Ok(false) };
            if host.guests.contains_key(&spec.uid) {
                return Err(HypervisorError::AlreadyHere { uid: spec.uid });
            }
            if host.faults.fail_starts > 0 {
                host.faults.fail_starts -= 1;
                let detail = "internal error: process exited while connecting to monitor".to_owned();
                return Err(HypervisorError::Refused { request: REQUEST, detail });
            }
            if let Some(bridge) = lacks {
                return Err(HypervisorError::Refused { request: REQUEST, detail: no_bridge(&bridge) });
            }
            let lost = host.faults.lose_starts > 0;
            host.faults.lose_starts = host.faults.lose_starts.saturating_sub(1);
            // It holds its disks from this moment on, before the answer is on its way.
            s.boot(&self.host, spec);
            Ok(lost)
        })?;
        if lost {
            tokio::time::sleep(deadline).await;
            return Err(HypervisorError::Deadline { request: REQUEST, seconds: deadline.as_secs() });
        }
        tokio::time::sleep(takes).await;
        Ok(())
    }

    async fn power_button(&self, uid: Uid) -> Result<(), HypervisorError> {
        self.reach("press the power button").await?;
        match self.world.look(|s| s.press_power_button(&self.host, uid)) {
            true => Ok(()),
            false => Err(HypervisorError::NoSuchGuest { uid }),
        }
    }

    async fn power_off(&self, uid: Uid) -> Result<(), HypervisorError> {
        self.reach("power the guest off").await?;
        self.world.look(|s| s.end_guest(&self.host, uid, EndReason::PoweredOff));
        Ok(())
    }

    async fn stamp(&self, uid: Uid, stamp: Stamp) -> Result<(), HypervisorError> {
        self.reach("stamp the guest").await?;
        self.world.look(|s| {
            let guest = s.hosts.get_mut(&self.host).and_then(|h| h.guests.get_mut(&uid));
            guest.ok_or(HypervisorError::NoSuchGuest { uid })?.stamp = stamp;
            Ok(())
        })
    }

    async fn disk_grown(
        &self,
        uid: Uid,
        _disk: &DiskSource,
        _size_bytes: u64,
    ) -> Result<(), HypervisorError> {
        self.reach("grow the disk").await?;
        let here = self.world.look(|s| s.hosts.get(&self.host).is_some_and(|h| h.guests.contains_key(&uid)));
        if here { Ok(()) } else { Err(HypervisorError::NoSuchGuest { uid }) }
    }

    fn has_bridge(&self, bridge: &str) -> bool {
        self.world.look(|s| s.has_bridge(&self.host, bridge))
    }

    async fn nics(&self, uid: Uid) -> Result<Vec<LiveNic>, HypervisorError> {
        self.reach("describe the guest").await?;
        self.world.look(|s| s.live_nics(&self.host, uid))
    }

    async fn attach_nic(&self, uid: Uid, nic: &GuestNic) -> Result<(), HypervisorError> {
        self.reach("attach a NIC").await?;
        self.world.look(|s| s.attach_nic(&self.host, uid, nic))
    }

    async fn update_nic(&self, uid: Uid, port: &NicPort) -> Result<(), HypervisorError> {
        self.reach("change a NIC").await?;
        self.world.look(|s| s.update_nic(&self.host, uid, port))
    }

    async fn detach_nic(&self, uid: Uid, mac: Mac) -> Result<(), HypervisorError> {
        self.reach("detach a NIC").await?;
        self.world.look(|s| s.detach_nic(&self.host, uid, mac))
    }

    async fn migrate(&self, uid: Uid, order: &MigrationOrder) -> Result<MigrationReport, MigrateError> {
        let failed = |e: HypervisorError| MigrateError::Failed { detail: e.to_string() };
        self.reach("begin the migration").await.map_err(failed)?;
        let mut changes = self.changes();
        let (number, lost) = self.world.look(|s| {
            let guest = s.hosts.get(&self.host).and_then(|h| h.guests.get(&uid));
            match guest {
                None => return Err(MigrateError::NoSuchGuest { uid }),
                Some(guest) if guest.transfer.is_some() => return Err(MigrateError::UnderWay { uid }),
                Some(_) => {}
            }
            let number =
                s.begin_transfer(&self.host, uid, order).map_err(|detail| MigrateError::Failed { detail })?;
            let faults = s.hosts.get_mut(&self.host).map(|h| &mut h.faults);
            let lost = faults.is_some_and(|f| {
                let lost = f.lose_migrations > 0;
                f.lose_migrations = f.lose_migrations.saturating_sub(1);
                lost
            });
            Ok((number, lost))
        })?;
        if lost {
            return Err(MigrateError::Unknown {
                detail: "the connection to the hypervisor was lost".to_owned(),
            });
        }
        loop {
            let end = self.world.look(|s| {
                self.check_reachable(s).map_err(|e| MigrateError::Unknown { detail: e.to_string() })?;
                Ok(s.transfers.get(&number).and_then(|t| t.end.clone()))
            })?;
            match end {
                Some(TransferEnd::Done(report)) => return Ok(report),
                Some(TransferEnd::Cancelled) => return Err(MigrateError::Cancelled),
                Some(TransferEnd::Failed(detail)) => return Err(MigrateError::Failed { detail }),
                None => {}
            }
            if changes.changed().await.is_err() {
                return Err(MigrateError::Unknown { detail: "the world has ended".to_owned() });
            }
        }
    }

    async fn migration_progress(&self, uid: Uid) -> Result<Option<MigrationProgress>, HypervisorError> {
        self.reach("tell the migration's progress").await?;
        Ok(self.world.look(|s| {
            let transfer = s.hosts.get(&self.host).and_then(|h| h.guests.get(&uid)).and_then(|g| g.transfer);
            transfer.and_then(|t| s.progress(t))
        }))
    }

    async fn cancel_migration(&self, uid: Uid) -> Result<(), HypervisorError> {
        self.reach("cancel the migration").await?;
        self.world.look(|s| {
            let transfer = s.hosts.get(&self.host).and_then(|h| h.guests.get(&uid)).and_then(|g| g.transfer);
            if let Some(transfer) = transfer {
                s.cancel_transfer(transfer);
            }
        });
        Ok(())
    }

    async fn console(&self, uid: Uid, take_over: bool) -> Result<Box<dyn Console>, HypervisorError> {
        self.reach("open the console").await?;
        let changes = self.changes();
        let (session, greeting) = self.world.look(|s| {
            let session = s.number();
            let host = s.hosts.get_mut(&self.host);
            let guest =
                host.and_then(|h| h.guests.get_mut(&uid)).ok_or(HypervisorError::NoSuchGuest { uid })?;
            if guest.console.is_some() && !take_over {
                return Err(HypervisorError::ConsoleBusy { uid });
            }
            guest.console = Some(session);
            Ok((session, format!("{} console\r\n", guest.spec.name)))
        })?;
        // The displaced session learns of it by the change.
        self.world.faults(&self.host, |_| ());
        let (ours, theirs) = tokio::io::duplex(4096);
        let echo = Echo { world: self.world.clone(), host: self.host.clone(), uid, session, changes };
        tokio::spawn(echo.run(theirs, greeting));
        Ok(Box::new(ours))
    }

    async fn xml(&self, uid: Uid) -> Result<String, HypervisorError> {
        self.reach("describe the guest").await?;
        let spec = self.world.look(|s| {
            let guest = s.hosts.get(&self.host).and_then(|h| h.guests.get(&uid));
            guest.map(|g| GuestSpec { stamp: g.stamp, ..g.spec.clone() })
        });
        self.render(&spec.ok_or(HypervisorError::NoSuchGuest { uid })?)
    }

    async fn facts(&self) -> Result<HostFacts, HypervisorError> {
        self.reach("describe the host").await?;
        Ok(HostFacts {
            cpus: 8,
            memory_mib: 16384,
            emulator: "fake 1.0.0".to_owned(),
            hypervisor: "fake 1.0.0".to_owned(),
        })
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.changes()
    }
}

/// What a fake guest does on its console: greets, then says again what it is told.
struct Echo {
    world: FakeWorld,
    host: pvc_model::Name,
    uid: Uid,
    session: u64,
    changes: watch::Receiver<u64>,
}

impl Echo {
    async fn run(mut self, mut stream: DuplexStream, greeting: String) {
        if stream.write_all(greeting.as_bytes()).await.is_ok() {
            let mut buffer = [0u8; 1024];
            while self.is_current() {
                tokio::select! {
                    read = stream.read(&mut buffer) => match read {
                        Ok(n) if n > 0 => if stream.write_all(&buffer[..n]).await.is_err() { break },
                        Ok(_) | Err(_) => break,
                    },
                    changed = self.changes.changed() => if changed.is_err() { break },
                }
            }
        }
        if self.is_current() {
            self.world.look(|s| {
                let host = s.hosts.get_mut(&self.host);
                if let Some(guest) = host.and_then(|h| h.guests.get_mut(&self.uid)) {
                    guest.console = None;
                }
            });
        }
    }

    fn is_current(&self) -> bool {
        let session = |s: &mut State| s.hosts.get(&self.host)?.guests.get(&self.uid)?.console;
        self.world.look(session) == Some(self.session)
    }
}
