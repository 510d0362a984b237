//! BMCs for tests: a small model of boards with power, of BMCs that are wired to them, and of what can be wrong with those.
//! Time is tokio's, so that a simulation's is virtual.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{BmcAccess, Power, PowerError, PowerState};

/// How long a caller waits for a BMC that is silent.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a BMC may take to read the power back as asked.
const READ_BACK: Duration = Duration::from_secs(10);

/// What is wrong with a BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It answers nobody.
    Dead,
    /// It takes orders, reads the power as off, and the host goes on.
    LiesOff,
    /// It takes orders, and nothing happens; it says so.
    Stuck,
    /// It refuses its password.
    WrongPassword,
}

/// Told whenever a host's power has really changed.
type Told = Box<dyn Fn(&str, PowerState) + Send>;

/// All BMCs and boards of a test. Clones share them.
#[derive(Clone, Default)]
pub struct FakeBmcs(Arc<Mutex<Rack>>);

#[derive(Default)]
struct Rack {
    /// Host → its power.
    hosts: BTreeMap<String, PowerState>,
    /// Address → the BMC there.
    bmcs: BTreeMap<String, FakeBmc>,
    told: Option<Told>,
    /// Every order that reached a BMC: "off 10.0.0.21:623".
    orders: Vec<String>,
}

struct FakeBmc {
    /// The host that it really switches.
    host: String,
    identity: String,
    /// How long each answer takes.
    slow: Duration,
    faults: BTreeSet<Fault>,
    said_off: bool,
    /// How often it was asked anything.
    asked: u32,
}

impl FakeBmcs {
    /// A host with power and a BMC at `address` (with its port). `identity` may be empty: it can't tell.
    pub fn add(&self, host: &str, address: &str, identity: &str) {
        let bmc = FakeBmc {
            host: host.to_owned(),
            identity: identity.to_owned(),
            slow: Duration::ZERO,
            faults: BTreeSet::new(),
            said_off: false,
            asked: 0,
        };
        let mut rack = self.0.lock();
        rack.hosts.insert(host.to_owned(), PowerState::On);
        rack.bmcs.insert(address.to_owned(), bmc);
    }

    /// Calls `told` whenever a host's power has really changed: a simulation ends and begins the host then.
    pub fn tell(&self, told: impl Fn(&str, PowerState) + Send + 'static) {
        self.0.lock().told = Some(Box::new(told));
    }

    /// The host's real power.
    pub fn power(&self, host: &str) -> PowerState {
        *self.0.lock().hosts.get(host).unwrap_or_else(|| panic!("there is no host {host}"))
    }

    /// The power changes by itself, as when somebody pulls the plug. Nobody is told.
    pub fn set_power(&self, host: &str, power: PowerState) {
        self.0.lock().hosts.insert(host.to_owned(), power);
    }

    pub fn fail(&self, address: &str, fault: Fault) {
        self.with(address, |bmc| bmc.faults.extend([fault]));
    }

    /// Puts all that is wrong with a BMC right.
    pub fn repair(&self, address: &str) {
        self.with(address, |bmc| {
            bmc.faults.clear();
            bmc.slow = Duration::ZERO;
            bmc.said_off = false;
        });
    }

    pub fn slow(&self, address: &str, each_answer: Duration) {
        self.with(address, |bmc| bmc.slow = each_answer);
    }

    /// Its cable leads to another host's board.
    pub fn wire(&self, address: &str, host: &str) {
        self.with(address, |bmc| bmc.host = host.to_owned());
    }

    /// Another BMC has taken its place.
    pub fn identify(&self, address: &str, identity: &str) {
        self.with(address, |bmc| bmc.identity = identity.to_owned());
    }

    /// How often the BMC was asked anything, answered or not.
    pub fn asked(&self, address: &str) -> u32 {
        self.0.lock().bmcs.get(address).map_or(0, |bmc| bmc.asked)
    }

    /// Every order that reached a BMC, in order: "off 10.0.0.21:623".
    pub fn orders(&self) -> Vec<String> {
        self.0.lock().orders.clone()
    }

    fn with(&self, address: &str, change: impl FnOnce(&mut FakeBmc)) {
        let mut rack = self.0.lock();
        change(rack.bmcs.get_mut(address).unwrap_or_else(|| panic!("there is no BMC at {address}")));
    }

    /// What it takes to get a word out of a BMC.
    async fn reach(&self, access: &BmcAccess) -> Result<String, PowerError> {
        let address = access.bmc.address.clone();
        let (slow, faults, identity) = {
            let mut rack = self.0.lock();
            if let Some(bmc) = rack.bmcs.get_mut(&address) {
                bmc.asked += 1;
            }
            match rack.bmcs.get(&address) {
                Some(bmc) => (bmc.slow, bmc.faults.clone(), bmc.identity.clone()),
                None => (Duration::ZERO, [Fault::Dead].into(), String::new()),
            }
        };
        if faults.contains(&Fault::Dead) {
            tokio::time::sleep(SILENCE).await;
            return Err(PowerError::Unreachable { address });
        }
        if slow > SILENCE {
            tokio::time::sleep(SILENCE).await;
            return Err(PowerError::Timeout { address, after: SILENCE });
        }
        tokio::time::sleep(slow).await;
        if faults.contains(&Fault::WrongPassword) {
            return Err(PowerError::WrongPassword { address });
        }
        Ok(identity)
    }

    fn read(&self, address: &str) -> Option<PowerState> {
        let rack = self.0.lock();
        let bmc = rack.bmcs.get(address)?;
        if bmc.said_off {
            return Some(PowerState::Off);
        }
        rack.hosts.get(&bmc.host).copied()
    }

    async fn switch(&self, access: &BmcAccess, to: PowerState) -> Result<(), PowerError> {
        let (address, expected) = (access.bmc.address.clone(), &access.bmc.identity);
        let found = self.reach(access).await?;
        if !expected.is_empty() && found != *expected {
            return Err(PowerError::AnotherIdentity { address, expected: expected.clone(), found });
        }
        self.order(&address, to);
        match self.read(&address) {
            Some(now) if now == to => Ok(()),
            reads => {
                tokio::time::sleep(READ_BACK).await;
                let reads = reads.unwrap_or(PowerState::On);
                Err(PowerError::NotReadBack { address, reads, after: READ_BACK })
            }
        }
    }

    fn order(&self, address: &str, to: PowerState) {
        let mut rack = self.0.lock();
        let rack = &mut *rack;
        rack.orders.push(format!("{to} {address}"));
        let Some(bmc) = rack.bmcs.get_mut(address) else { return };
        if bmc.faults.contains(&Fault::LiesOff) {
            bmc.said_off = to == PowerState::Off;
        } else if !bmc.faults.contains(&Fault::Stuck)
            && rack.hosts.insert(bmc.host.clone(), to) != Some(to)
            && let Some(told) = &rack.told
        {
            told(&bmc.host, to);
        }
    }
}

impl fmt::Debug for FakeBmcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeBmcs")
    }
}

#[async_trait]
impl Power for FakeBmcs {
    async fn status(&self, access: &BmcAccess) -> Result<PowerState, PowerError> {
        self.reach(access).await?;
        let address = &access.bmc.address;
        self.read(address).ok_or_else(|| PowerError::Unreachable { address: address.clone() })
    }

    async fn off(&self, access: &BmcAccess) -> Result<(), PowerError> {
        self.switch(access, PowerState::Off).await
    }

    async fn on(&self, access: &BmcAccess) -> Result<(), PowerError> {
        self.switch(access, PowerState::On).await
    }

    async fn identity(&self, access: &BmcAccess) -> Result<String, PowerError> {
        self.reach(access).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvc_model::bmc::{Bmc, BmcAdapter, Sealed};

    fn access(address: &str, identity: &str) -> BmcAccess {
        let bmc = Bmc {
            address: address.into(),
            user: "ADMIN".into(),
            password: Sealed::default(),
            adapter: BmcAdapter::Auto,
            identity: identity.into(),
            trusted: false,
        };
        BmcAccess { node: "hv1".parse().expect("a name"), bmc }
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_shows_as_its_own_error_and_power_is_as_it_really_is() {
        let rack = FakeBmcs::default();
        rack.add("hv1", "b1:623", "g1");
        rack.add("hv2", "b2:623", "g2");
        let b1 = access("b1:623", "g1");
        assert_eq!(rack.status(&b1).await, Ok(PowerState::On));
        rack.off(&b1).await.expect("off");
        rack.off(&b1).await.expect("off already");
        assert_eq!((rack.power("hv1"), rack.power("hv2")), (PowerState::Off, PowerState::On));
        rack.on(&b1).await.expect("on");

        rack.fail("b1:623", Fault::LiesOff);
        rack.off(&b1).await.expect("it says so");
        assert_eq!(rack.status(&b1).await, Ok(PowerState::Off), "it lies");
        assert_eq!(rack.power("hv1"), PowerState::On);
        rack.repair("b1:623");

        rack.fail("b1:623", Fault::Stuck);
        assert!(matches!(rack.off(&b1).await, Err(PowerError::NotReadBack { reads: PowerState::On, .. })));
        rack.repair("b1:623");

        for (fault, wrong) in [(Fault::Dead, false), (Fault::WrongPassword, true)] {
            rack.fail("b1:623", fault);
            let error = rack.status(&b1).await.expect_err("broken");
            assert_eq!(error.is_wrong(), wrong, "{error}");
            rack.repair("b1:623");
        }
        rack.slow("b1:623", Duration::from_secs(60));
        assert!(matches!(rack.status(&b1).await, Err(PowerError::Timeout { .. })));
        rack.repair("b1:623");
        assert_eq!(rack.power("hv1"), PowerState::On, "none of these has switched anything");

        rack.identify("b1:623", "g9");
        assert!(matches!(rack.off(&b1).await, Err(PowerError::AnotherIdentity { .. })));
        rack.off(&access("b1:623", "")).await.expect("nothing is expected");
        rack.wire("b2:623", "hv1");
        rack.on(&access("b2:623", "g2")).await.expect("on");
        assert_eq!(rack.power("hv1"), PowerState::On, "switched by the other's BMC");
        assert!(matches!(rack.status(&access("b3:623", "")).await, Err(PowerError::Unreachable { .. })));
    }

    #[tokio::test]
    async fn a_simulation_is_told_of_real_changes_only() {
        let rack = FakeBmcs::default();
        rack.add("hv1", "b1:623", "");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        rack.tell(move |host, power| kept.lock().push(format!("{host} {power}")));
        let b1 = access("b1:623", "");
        rack.on(&b1).await.expect("on already");
        rack.off(&b1).await.expect("off");
        rack.off(&b1).await.expect("off already");
        rack.on(&b1).await.expect("on");
        assert_eq!(*seen.lock(), ["hv1 off", "hv1 on"]);
        assert_eq!(rack.orders().len(), 4);
    }
}
