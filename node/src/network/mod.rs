//! This host's part of the client networks: its plan follows from what the node was told, the parts of `pvc-network` make the
//! host so, and what they find goes to the leader.
//!
//! Apart from the agent: nothing that a hypervisor does delays the moment at which gateways must move. When the daemon stops, all
//! stays as it is: guests' traffic needs no daemon of ours.
//!
//! Never happens here: a change of the host before there is a view of the cluster; lending an address on a view that the lease
//! does not cover.

mod leases;
mod look;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use pvc_model::Name;
use pvc_model::network::host::{HostPlan, Stance};
use pvc_model::node::NetworkHealth;
use pvc_network::drive::Health;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::agent::SharedView;
use crate::agent::lease::Lease;
pub use leases::Teller;
pub use look::Looker;
pub use plan::host_plan;

/// Problems and repairs are told of so seldom at most: a flapping part must not fill the log.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// In a hand-over the last primary keeps the gateways for so long after it has heard of the next: a guest's packets meet one of
/// the two all the while. The next one announces itself again after that.
const OVERLAP: Duration = Duration::from_millis(400);

/// What the plan is made from.
pub struct Parts {
    pub me: Name,
    /// The cluster's id, as a number.
    pub cluster: u128,
    pub lease: Lease,
    pub view: SharedView,
}

/// The newest plan; None before the node was told of anything.
pub type SharedPlan = watch::Receiver<Option<Arc<HostPlan>>>;

/// Makes plans as long as it runs.
pub fn planner(parts: Parts) -> (SharedPlan, JoinHandle<()>) {
    let (plans, plan) = watch::channel(None);
    (plan, tokio::spawn(make_plans(parts, plans)))
}

async fn make_plans(mut parts: Parts, plans: watch::Sender<Option<Arc<HostPlan>>>) {
    let mut was = Stance::default();
    let mut leaving: Option<Instant> = None;
    loop {
        let view = parts.view.borrow_and_update().clone();
        let until = parts.lease.covered_until(view.revision);
        if view.node.is_some() {
            let mut plan = host_plan(&parts.me, parts.cluster, &view, until.is_some());
            // A primary that was followed because its lease had lapsed is cut off by then, and goes at once.
            let handed_over =
                was == Stance::Primary && plan.stance == Stance::Standby && parts.lease.is_valid();
            leaving = if handed_over { Some(Instant::now() + OVERLAP) } else { leaving };
            leaving = leaving.filter(|until| plan.stance == Stance::Standby && Instant::now() < *until);
            was = plan.stance;
            if leaving.is_some() {
                plan.stance = Stance::Leaving;
            }
            plans.send_if_modified(|known| {
                // The cluster's revision moves with everything; by itself it changes nothing here.
                let changed = !known.as_deref().is_some_and(|known| same(known, &plan));
                if changed {
                    *known = Some(Arc::new(plan));
                }
                changed
            });
        }
        // While it lapses, and when it comes alive again, the stance changes though the view does not.
        let look = until.unwrap_or_else(|| Instant::now() + Duration::from_millis(250));
        let look = leaving.map_or(look, |leaving| leaving.min(look));
        tokio::select! {
            changed = parts.view.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = sleep_until(look) => {}
        }
    }
}

fn same(known: &HostPlan, new: &HostPlan) -> bool {
    let HostPlan {
        revision: _,
        cluster,
        epoch,
        stance,
        fabric,
        coordinators,
        hypervisors,
        networks,
        leases,
        ports,
    } = known;
    (cluster, epoch, stance) == (&new.cluster, &new.epoch, &new.stance)
        && (fabric, coordinators, hypervisors) == (&new.fabric, &new.coordinators, &new.hypervisors)
        && (networks, leases, ports) == (&new.networks, &new.leases, &new.ports)
}

/// What the leader is told of the host's networks: problems and repairs, at most each [`TELL_EVERY`].
pub async fn tell(mut health: watch::Receiver<Health>, told: watch::Sender<NetworkHealth>) {
    loop {
        let network_health = network_health(&health.borrow_and_update());
        told.send_if_modified(|known| std::mem::replace(known, network_health.clone()) != network_health);
        tokio::time::sleep(TELL_EVERY).await;
        if health.changed().await.is_err() {
            return;
        }
    }
}

fn network_health(health: &Health) -> NetworkHealth {
    let problems = health.parts.iter().filter(|(_, part)| !part.problem.is_empty());
    NetworkHealth {
        problems: problems.map(|(name, part)| ((*name).to_owned(), part.problem.clone())).collect(),
        repairs: health.repairs,
        last_repair: health.last_repair.clone(),
    }
}
