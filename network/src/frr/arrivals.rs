//! Sees to it that all hosts know a guest which has come here.
//!
//! A hypervisor announces a guest that has arrived, and the tunnels' daemon takes its address from where the bridge has
//! seen it. But when the host it came from lets go at the wrong moment, the daemons may agree on the host it has left, and a
//! guest that says nothing would stay out of reach for minutes (seen 3 times in 40). So for a while after a NIC has
//! appeared it is looked at whether the best way to it leads here, and if not, the bridge is told once more that it is here:
//! that counts as one more move, which wins.
//!
//! What may never happen here: a guest's address claimed while the guest may still run elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use pvc_model::network::host::{HostPlan, Port};
use pvc_model::network::{Attachment, Vni};
use pvc_model::vm::Mac;
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourState};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::vty::{Vty, VtyError};
use crate::netlink::{Device, Netlink, said};

/// When it is looked at, each time after the last. What is wrong shows when the other host's device goes, which takes the
/// hypervisor a moment.
const LOOKS: [Duration; 9] = [
    Duration::from_millis(0),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// A NIC that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Here {
    vni: Vni,
    mac: Mac,
    /// Its device's index: a guest that went and came back has another one.
    index: u32,
}

/// Dropping it ends the looking.
#[derive(Default)]
pub(super) struct Arrivals {
    looked_after: BTreeMap<Here, JoinHandle<()>>,
}

impl Arrivals {
    pub(super) async fn look(&mut self, plan: &HostPlan, run_dir: &Path) {
        let claimable = |port: &&Port| !port.moving && matches!(port.attachment, Attachment::Network(_));
        let ports: Vec<&Port> = plan.ports.iter().filter(claimable).collect();
        let devices = match Netlink::open() {
            Ok(netlink) if !ports.is_empty() => netlink.devices().await.unwrap_or_default(),
            _ => Vec::new(),
        };
        let here = here(&ports, plan, &devices);
        self.looked_after.retain(|one, task| {
            let stays = here.contains(one);
            if !stays {
                task.abort();
            }
            stays
        });
        for one in here {
            let run_dir = run_dir.to_owned();
            self.looked_after.entry(one).or_insert_with(|| {
                tokio::spawn(async move {
                    for after in LOOKS {
                        sleep(after).await;
                        if let Err(error) = see_to(one, &run_dir).await {
                            tracing::debug!(mac = %one.mac, %error, "whether it is known here can't be asked");
                        }
                    }
                })
            });
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.looked_after.values().for_each(JoinHandle::abort);
    }
}

fn here(ports: &[&Port], plan: &HostPlan, devices: &[Device]) -> Vec<Here> {
    let by_name: HashMap<&str, &Device> =
        devices.iter().map(|device| (device.name.as_str(), device)).collect();
    let managed =
        |vni: Vni| plan.networks.iter().any(|network| network.vni == vni && network.managed().is_some());
    let find = |port: &&Port| {
        let Attachment::Network(vni) = port.attachment else { return None };
        let bridge = by_name.get(vni.bridge().as_str())?;
        let device = by_name.get(port.device().as_str())?;
        (managed(vni) && device.up && device.master == Some(bridge.index)).then_some(Here {
            vni,
            mac: port.mac,
            index: device.index,
        })
    };
    ports.iter().filter_map(find).collect()
}

async fn see_to(one: Here, run_dir: &Path) -> Result<(), VtyError> {
    let mut bgpd = Vty::open(run_dir, "bgpd").await?;
    let shown = bgpd.json(&format!("show bgp l2vpn evpn route vni {} mac {} json", one.vni, one.mac)).await?;
    if leads_here(&shown) {
        return Ok(());
    }
    let Ok(netlink) = Netlink::open() else { return Ok(()) };
    // As if it had been learnt from a frame of the guest's: it grows old like that, and moves on when the guest does.
    let told = netlink
        .handle
        .neighbours()
        .add_bridge(one.index, &one.mac.0)
        .state(NeighbourState::Reachable)
        .flags(NeighbourFlags::Controller)
        .replace()
        .execute()
        .await;
    match told {
        Ok(()) => {
            tracing::info!(mac = %one.mac, vni = %one.vni, "told the other hosts that this guest is here")
        }
        Err(error) => {
            tracing::warn!(mac = %one.mac, error = said(&error), "can't tell that this guest is here")
        }
    }
    Ok(())
}

/// Whether the best of all ways is this host's own.
fn leads_here(shown: &serde_json::Value) -> bool {
    let ways =
        shown["paths"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_array).flatten();
    let mut best = ways.filter(|way| way["bestpath"]["overall"] == true);
    best.any(|way| way["local"] == true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_best_way_counts() {
        let here = json!({"valid": true, "local": true});
        let there = json!({"valid": true});
        let best = |mut way: serde_json::Value| {
            way["bestpath"] = json!({"overall": true});
            way
        };
        assert!(leads_here(&json!({"paths": [[there.clone()], [best(here.clone())]]})));
        assert!(!leads_here(&json!({"paths": [[best(there)], [here]]})));
        assert!(!leads_here(&json!({})));
    }
}
