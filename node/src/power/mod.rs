//! The real adapter to BMCs: opens a node's sealed password, chooses who speaks (the built-in client, or ipmitool), and sees
//! to it that "off" is said only of power that was read back as off, on a BMC that is the one which was enrolled.
//!
//! ```text
//! BmcPower ── which client, remembered for each address
//!    └─ ipmi: status, order, read back, identity      over a Talk
//!          ├─ native:   ipmi-rs, in this process
//!          └─ ipmitool: the program
//! ```
//! What may never happen here: a password in an argument, a log or an error.

mod ipmi;
mod ipmitool;
mod native;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_coordinator::core::power::{BmcAccess, Power, PowerError, PowerState};
use pvc_identity::{Secret, Vault};
use pvc_model::bmc::BmcAdapter;
use pvc_process::{RealRunner, Runner};

use ipmi::{Limits, Talk, TalkError};
use ipmitool::{Interface, Ipmitool};
use native::Native;

/// The whole of a call, however many clients are tried.
const ASK_LIMIT: Duration = Duration::from_secs(15);
const SWITCH_LIMIT: Duration = Duration::from_secs(25);

/// A BMC with its password in clear, for as long as a call takes.
struct Target {
    /// host:port
    address: String,
    user: String,
    password: Secret,
}

/// A way to speak with a BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Native,
    Ipmitool(Interface),
}

/// BMCs over the network.
pub struct BmcPower {
    vault: Vault,
    runner: Arc<dyn Runner>,
    limits: Limits,
    /// Address and adapter → the client that has spoken with the BMC there: when it is fenced, no time is lost with the others.
    known: Mutex<BTreeMap<(String, BmcAdapter), Client>>,
}

impl BmcPower {
    /// `ca_dir` holds the cluster's CA, by which passwords are opened.
    pub fn new(ca_dir: &Path) -> Self {
        BmcPower {
            vault: Vault::new(ca_dir),
            runner: Arc::new(RealRunner),
            limits: Limits::default(),
            known: Mutex::default(),
        }
    }

    fn target(&self, access: &BmcAccess) -> Result<Target, PowerError> {
        let opened = self.vault.open(&access.owner(), &access.bmc.password.0);
        let password = opened.map_err(|error| PowerError::Sealed { detail: error.to_string() })?;
        Ok(Target { address: access.bmc.address.clone(), user: access.bmc.user.clone(), password })
    }

    fn talk(&self, client: Client, target: &Arc<Target>) -> Box<dyn Talk> {
        match client {
            Client::Native => Box::new(Native::new(target.clone())),
            Client::Ipmitool(interface) => {
                let (target, runner) = (target.clone(), self.runner.clone());
                Box::new(Ipmitool { target, interface, runner })
            }
        }
    }

    /// Finds the client that the BMC answers, and what it reads of the power.
    async fn reach(&self, access: &BmcAccess) -> Result<(Box<dyn Talk>, PowerState), PowerError> {
        let target = Arc::new(self.target(access)?);
        let place = (target.address.clone(), access.bmc.adapter);
        let known = self.known.lock().get(&place).copied();
        let (mut unspoken, mut refused) = (Vec::new(), None);
        for client in clients(access.bmc.adapter, known) {
            let mut talk = self.talk(client, &target);
            let error = match ipmi::status(&mut *talk).await {
                Ok(state) => {
                    self.known.lock().insert(place, client);
                    return Ok((talk, state));
                }
                Err(TalkError::Power(error)) => error,
                Err(refused) => {
                    talk.close().await;
                    return Err(refused.at(&target.address));
                }
            };
            tracing::debug!(address = target.address, ?client, %error, "no conversation");
            match error {
                PowerError::NotSpoken { detail, .. } => unspoken.push(detail),
                // The built-in client asks for all privileges, and to some BMCs a user with fewer is a wrong one then.
                PowerError::WrongPassword { .. }
                    if client == Client::Native && access.bmc.adapter == BmcAdapter::Auto =>
                {
                    refused = Some(error);
                }
                // The built-in client hears nothing of a BMC that does not answer its first knock (RMCP ping); ipmitool
                // does not knock. A client that was answered before is believed.
                PowerError::Unreachable { .. } | PowerError::Timeout { .. }
                    if client == Client::Native
                        && known.is_none()
                        && access.bmc.adapter == BmcAdapter::Auto => {}
                error => return Err(refused.unwrap_or(error)),
            }
        }
        let unspoken = PowerError::NotSpoken { address: target.address.clone(), detail: unspoken.join("; ") };
        Err(refused.unwrap_or(unspoken))
    }

    async fn switch(&self, access: &BmcAccess, to: PowerState) -> Result<(), PowerError> {
        let (mut talk, before) = self.reach(access).await?;
        let switched = async {
            self.check_identity(access, &mut *talk).await?;
            ipmi::switch(&mut *talk, before, to, self.limits).await
        };
        let switched = switched.await;
        talk.close().await;
        switched
    }

    /// Another BMC at the same address, after a changed cable or a changed lease of an address, would switch another host.
    async fn check_identity(&self, access: &BmcAccess, talk: &mut dyn Talk) -> Result<(), PowerError> {
        let (address, expected) = (access.bmc.address.clone(), access.bmc.identity.clone());
        if expected.is_empty() {
            return Ok(());
        }
        let found = ipmi::identity(talk).await.map_err(|error| error.at(&address))?;
        if found == expected { Ok(()) } else { Err(PowerError::AnotherIdentity { address, expected, found }) }
    }
}

/// Which clients are tried, in this order.
fn clients(adapter: BmcAdapter, known: Option<Client>) -> Vec<Client> {
    let programs = || Interface::ALL.map(Client::Ipmitool);
    let mut clients = match adapter {
        BmcAdapter::Native => vec![Client::Native],
        BmcAdapter::Ipmitool => programs().to_vec(),
        BmcAdapter::Auto => [&[Client::Native][..], &programs()].concat(),
    };
    clients.sort_by_key(|client| known != Some(*client));
    clients
}

async fn within<T>(
    limit: Duration,
    access: &BmcAccess,
    call: impl Future<Output = Result<T, PowerError>>,
) -> Result<T, PowerError> {
    let late = || PowerError::Timeout { address: access.bmc.address.clone(), after: limit };
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(late()))
}

impl fmt::Debug for BmcPower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BmcPower")
    }
}

#[async_trait]
impl Power for BmcPower {
    async fn status(&self, access: &BmcAccess) -> Result<PowerState, PowerError> {
        within(ASK_LIMIT, access, async {
            let (mut talk, state) = self.reach(access).await?;
            talk.close().await;
            Ok(state)
        })
        .await
    }

    async fn off(&self, access: &BmcAccess) -> Result<(), PowerError> {
        within(SWITCH_LIMIT, access, self.switch(access, PowerState::Off)).await
    }

    async fn on(&self, access: &BmcAccess) -> Result<(), PowerError> {
        within(SWITCH_LIMIT, access, self.switch(access, PowerState::On)).await
    }

    async fn identity(&self, access: &BmcAccess) -> Result<String, PowerError> {
        within(ASK_LIMIT, access, async {
            let (mut talk, _) = self.reach(access).await?;
            let told = ipmi::identity(&mut *talk).await;
            talk.close().await;
            told.map_err(|error| error.at(&access.bmc.address))
        })
        .await
    }
}
