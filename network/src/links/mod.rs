//! The devices of client networks on this host: for each a bridge that guests' NICs are ports of, and what carries it to the
//! other hosts, a tunnel's end or a VLAN.
//!
//! ```text
//! nic52540012345f ─┐                              managed: vxlan1001 ── cluster_device ── the other hosts
//! nic5254009a8b7c ─┴─ vmbr1001 ─────────────────┤
//!                      gateway's address (primary)  bridged: vlan20 ── bridge_device ── the site's switches
//! ```
//! A pass asks the kernel once for all devices with all their settings, does what differs, and asks again: what was made
//! first can only then be built on. The devices of guests' NICs are the hypervisor's.
//!
//! What may never happen here: a bridge taken away that a guest is in; a device touched that is not ours by name, kind and
//! mark; an address of the host's own moved.

mod apply;
mod diff;
mod names;
mod remove;
mod wanted;

use async_trait::async_trait;
use pvc_model::network::host::HostPlan;

use crate::netlink::{Device, Netlink, NetlinkError};
use crate::part::{Blocked, Outcome, Part};
use crate::{Site, words};
use diff::Setting;
use remove::Remover;
use wanted::Wanted;

pub use names::bridge_mac;
pub(crate) use names::of_bridge;

/// Looks at most in one pass: bridges, what they are built of, its flags, and that nothing is left.
const LOOKS: usize = 4;

pub struct Links {
    site: Site,
    remover: Remover,
    /// Bridges that stay although they are not wanted, as was last said.
    kept: Vec<String>,
    /// What could not be made at the last look, though all else was.
    cannot: String,
}

impl Links {
    pub fn new(site: Site) -> Self {
        Links { site, remover: Remover::default(), kept: Vec::new(), cannot: String::new() }
    }

    async fn look_and_do(&mut self, plan: &HostPlan) -> Result<(Vec<String>, Vec<String>), NetlinkError> {
        let netlink = Netlink::open()?;
        let mut done = Vec::new();
        for look in 0..LOOKS {
            let devices = netlink.devices().await?;
            let wanted = wanted::wanted(&self.site, plan, &devices);
            if look == 0 {
                self.for_the_whole_host(&wanted, &devices, &mut done);
                self.take_away(&wanted, &devices, &mut done);
            }
            let (actions, mut problems) = diff::diff(&wanted, &devices);
            problems.extend(wanted.problems);
            if actions.is_empty() {
                return Ok((done, problems));
            }
            let applied = apply::apply(&netlink, actions).await;
            let stuck = applied.done.is_empty();
            done.extend(applied.done);
            problems.extend(applied.problems);
            if stuck || look + 1 == LOOKS {
                return Ok((done, problems));
            }
        }
        Ok((done, Vec::new()))
    }

    fn take_away(&mut self, wanted: &Wanted, devices: &[Device], done: &mut Vec<String>) {
        let (leaving, kept) = diff::unwanted(wanted, devices);
        if kept != self.kept {
            kept.iter().for_each(|reason| tracing::info!(reason, "a bridge stays for now"));
            self.kept = kept;
        }
        done.extend(self.remover.ask(leaving).into_iter().map(|name| format!("take {name} away")));
    }

    /// Settings that are no single device's.
    fn for_the_whole_host(&self, wanted: &Wanted, devices: &[Device], done: &mut Vec<String>) {
        let mut put = |path: String, value: i32| {
            let setting = Setting { path, value };
            match apply::write(&setting) {
                Ok(()) => done.push(format!("set {setting}")),
                Err(error) => tracing::warn!(%setting, %error, "can't be set"),
            }
        };
        // A frame from one port of a bridge to another is no packet of this host's: its IP firewall has no business with it.
        // The kernel asks it if the host's setting *or* the bridge's own is on, so ours can be spared only for all.
        for family in ["iptables", "ip6tables", "arptables"] {
            let path = format!("bridge/bridge-nf-call-{family}");
            if !wanted.kept.is_empty() && apply::read(&path).is_some_and(|value| value != 0) {
                put(path, 0);
            }
        }
        // IPv4 is forwarded from device to device as each is set; with IPv6 a host forwards everywhere or nowhere, and one
        // that does takes no routes from routers' advertisements, unless a device is set to take them nevertheless.
        if wanted.forwards_v6 && apply::read("ipv6/conf/all/forwarding") == Some(0) {
            for device in devices {
                if device.v6.as_ref().is_some_and(|v6| v6.accept_ra == 1) {
                    put(format!("ipv6/conf/{}/accept_ra", device.name), 2);
                }
            }
            put("ipv6/conf/all/forwarding".to_owned(), 1);
        }
    }
}

#[async_trait]
impl Part for Links {
    fn name(&self) -> &'static str {
        "links"
    }

    async fn pass(&mut self, plan: &HostPlan) -> Result<Outcome, Blocked> {
        let (done, problems) =
            self.look_and_do(plan).await.map_err(|error| Blocked::new(error.to_string()))?;
        if !done.is_empty() {
            return Ok(Outcome::Progressed(done));
        }
        // What this host can't make twice in the same way (a VLAN without the kernel's support) must not keep it from serving the
        // other networks: it is told, and looked at again with the rest.
        let cannot = if problems.is_empty() { String::new() } else { words::some(&problems, "; ") };
        let known = std::mem::replace(&mut self.cannot, cannot) == self.cannot;
        if known { Ok(Outcome::Settled) } else { Err(Blocked::new(self.cannot.clone())) }
    }

    fn complaint(&self) -> String {
        self.cannot.clone()
    }
}
