//! Takes devices away that are not wanted any more, in the background: each costs the kernel some 30 ms in which it changes no
//! other device, so they go one by one.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::names::{Role, is_ours, role};
use crate::netlink::{Netlink, NetlinkError, said};

/// So many are looked at in one go before they are taken away one by one.
const GROUP: usize = 16;

#[derive(Default)]
pub(super) struct Remover {
    queue: Arc<Mutex<VecDeque<(u32, String)>>>,
    task: Option<JoinHandle<()>>,
}

impl Remover {
    /// All that is to go, from now on; what was asked for earlier and is not in it stays. Answers what was not asked for before.
    pub(super) fn ask(&mut self, leaving: Vec<(u32, String)>) -> Vec<String> {
        let mut queue = self.queue.lock();
        let new = leaving.iter().filter(|device| !queue.contains(device));
        let new: Vec<String> = new.map(|(_, name)| name.clone()).collect();
        *queue = leaving.into();
        let idle = self.task.as_ref().is_none_or(JoinHandle::is_finished);
        if idle && !queue.is_empty() {
            let queue = self.queue.clone();
            self.task = Some(tokio::spawn(async move {
                if let Err(error) = work(&queue).await {
                    tracing::warn!(%error, "devices of networks that are gone are still there");
                }
            }));
            return new;
        }
        // It is at work: what it does just now is out of the queue, and was in what is asked.
        if idle { new } else { Vec::new() }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn work(queue: &Mutex<VecDeque<(u32, String)>>) -> Result<(), NetlinkError> {
    let netlink = Netlink::open()?;
    loop {
        // Between the asking and now a guest may have come, or somebody has made the device anew.
        let devices = netlink.devices().await?;
        for _ in 0..GROUP {
            let Some((index, name)) = queue.lock().pop_front() else { return Ok(()) };
            let Some(device) = devices.iter().find(|device| device.index == index) else { continue };
            let in_use = role(device).is_none_or(|(role, _)| role == Role::Bridge)
                && devices.iter().any(|port| port.master == Some(index) && !is_ours(port));
            if device.name != name || !is_ours(device) || in_use {
                continue;
            }
            match netlink.handle.link().del(index).execute().await {
                Ok(()) => {
                    tracing::info!(device = name, "taken away: its network is not wanted here any more")
                }
                Err(error) => tracing::warn!(device = name, error = said(&error), "can't be taken away"),
            }
        }
    }
}
