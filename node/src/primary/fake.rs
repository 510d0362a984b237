//! A small model of a network segment with hosts: which host has which address, who was told last where it is,
//! and faults on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_model::Name;
use pvc_model::primary::{Device, Floating};

use super::addresses::{AddressError, Addresses, Link};

/// Clones are the same segment.
#[derive(Clone, Debug, Default)]
pub struct FakeSegment(Arc<Mutex<Segment>>);

#[derive(Debug, Default)]
struct Segment {
    has: BTreeMap<Name, BTreeSet<Floating>>,
    /// Who announced an address last.
    announced: BTreeMap<IpAddr, (Name, u64)>,
    /// Hosts without the device.
    without_device: BTreeSet<Name>,
    /// Hosts whose calls fail, so many more times.
    failing: BTreeMap<Name, u32>,
}

impl FakeSegment {
    pub fn host(&self, node: &Name) -> FakeAddresses {
        FakeAddresses { segment: self.clone(), node: node.clone() }
    }

    /// Hosts that have the address now.
    pub fn holders(&self, address: IpAddr) -> Vec<Name> {
        let segment = self.0.lock();
        let has = segment.has.iter().filter(|(_, has)| has.iter().any(|f| f.address.address == address));
        has.map(|(node, _)| node.clone()).collect()
    }

    /// Whom the neighbours take for the holder, and how often it has announced itself.
    pub fn announced(&self, address: IpAddr) -> Option<(Name, u64)> {
        self.0.lock().announced.get(&address).cloned()
    }

    pub fn unplug(&self, node: &Name) {
        let mut segment = self.0.lock();
        segment.without_device.insert(node.clone());
        segment.has.remove(node);
    }

    pub fn plug_in(&self, node: &Name) {
        self.0.lock().without_device.remove(node);
    }

    pub fn fail(&self, node: &Name, times: u32) {
        self.0.lock().failing.insert(node.clone(), times);
    }

    /// Somebody changes the host by hand, or it loses its power.
    pub fn lose(&self, node: &Name) {
        self.0.lock().has.remove(node);
    }

    pub fn leave_over(&self, node: &Name, floating: Floating) {
        self.0.lock().has.entry(node.clone()).or_default().insert(floating);
    }
}

/// One host's part of it.
#[derive(Clone, Debug)]
pub struct FakeAddresses {
    segment: FakeSegment,
    node: Name,
}

impl FakeAddresses {
    fn try_it(&self, device: &Device) -> Result<parking_lot::MutexGuard<'_, Segment>, AddressError> {
        let mut segment = self.segment.0.lock();
        if let Some(left) = segment.failing.get_mut(&self.node).filter(|left| **left > 0) {
            *left -= 1;
            return Err(AddressError::Unreadable("it fails on demand".to_owned()));
        }
        if segment.without_device.contains(&self.node) {
            return Err(AddressError::NoDevice(device.clone()));
        }
        Ok(segment)
    }
}

#[async_trait]
impl Addresses for FakeAddresses {
    async fn look(&self, device: &Device) -> Result<Link, AddressError> {
        let segment = self.try_it(device)?;
        let has = segment.has.get(&self.node).into_iter().flatten();
        let addresses = has.filter(|f| f.device == *device).map(|f| f.address.address).collect();
        Ok(Link { index: 1, mac: [2; 6], up: true, addresses })
    }

    async fn add(&self, floating: &Floating) -> Result<(), AddressError> {
        let mut segment = self.try_it(&floating.device)?;
        segment.has.entry(self.node.clone()).or_default().insert(floating.clone());
        Ok(())
    }

    async fn remove(&self, floating: &Floating) -> Result<(), AddressError> {
        let mut segment = match self.try_it(&floating.device) {
            Err(AddressError::NoDevice(_)) => return Ok(()),
            tried => tried?,
        };
        if let Some(has) = segment.has.get_mut(&self.node) {
            has.remove(floating);
        }
        Ok(())
    }

    async fn announce(&self, floating: &Floating, _: &Link) -> Result<(), AddressError> {
        let mut segment = self.try_it(&floating.device)?;
        let told = segment.announced.entry(floating.address.address).or_insert((self.node.clone(), 0));
        *told = if told.0 == self.node { (told.0.clone(), told.1 + 1) } else { (self.node.clone(), 1) };
        Ok(())
    }
}
