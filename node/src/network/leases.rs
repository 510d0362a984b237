//! What this host's DHCP servers lend goes to the leader, in order and in batches, until it is taken or is of no account any
//! more. At another epoch the leader refuses it: another primary lends now, from what was stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pvc_model::command::LeaseReport;
use pvc_model::network::lease::Lease;
use pvc_model::{Name, Revision};
use pvc_network::dhcp::{Change, Events, LeaseEvent};

use super::SharedPlan;
use crate::agent::SharedView;
use crate::agent::link::{CoordinatorLink, LeasesReport, LinkError};

/// Words in one report, at most; the leader takes as many.
const BATCH_MAX: usize = 1000;
/// A word that comes alone waits so long for others: guests come in crowds when a host starts.
const GATHER: Duration = Duration::from_millis(10);
const AGAIN: Duration = Duration::from_millis(500);

/// Tells the leader what is lent here.
pub struct Teller {
    pub me: Name,
    pub link: Arc<dyn CoordinatorLink>,
    pub view: SharedView,
    pub plan: SharedPlan,
}

impl Teller {
    /// Runs until the servers' part is gone.
    pub async fn run(self, mut events: Events) {
        while let Some(first) = events.next().await {
            let mut batch = Batch::default();
            batch.take(first);
            let gathering = async {
                while batch.len() < BATCH_MAX {
                    match events.next().await {
                        Some(event) => batch.take(event),
                        None => return,
                    }
                }
            };
            let _ = tokio::time::timeout(GATHER, gathering).await;
            self.tell(batch).await;
        }
    }

    /// Says it until it is taken or refused. What a refused report held is not lent: the next primary does not know of it.
    async fn tell(&self, batch: Batch) {
        loop {
            let epoch = self.plan.borrow().as_ref().map_or(0, |plan| plan.epoch);
            let session = self.view.borrow().session;
            let report = batch.report(&self.me, session, epoch);
            match self.link.report_leases(report).await {
                Ok(revision) => return told(&batch, revision),
                Err(LinkError::Rejected(refusal)) => {
                    tracing::warn!(%refusal, leases = batch.len(), "what was lent is not taken");
                    return;
                }
                Err(error) => tracing::debug!(%error, "what was lent is not told yet"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn told(batch: &Batch, revision: Revision) {
    tracing::debug!(leases = batch.len(), revision, "told what is lent");
}

/// The last word on each address.
#[derive(Default)]
struct Batch {
    words: BTreeMap<Name, Option<LeaseReport>>,
}

impl Batch {
    fn take(&mut self, event: LeaseEvent) {
        let lent = event.lease;
        let name = Lease::name(lent.network, lent.address);
        let word = match event.change {
            Change::Del => None,
            Change::Add | Change::Old => Some(LeaseReport {
                network: lent.network,
                address: lent.address,
                mac: lent.mac,
                hostname: lent.hostname,
                client_id: lent.client_id,
                iaid: lent.iaid,
                expires: lent.expires,
            }),
        };
        self.words.insert(name, word);
    }

    fn len(&self) -> usize {
        self.words.len()
    }

    fn report(&self, me: &Name, session: u64, epoch: u64) -> LeasesReport {
        LeasesReport {
            node: me.clone(),
            session,
            epoch,
            put: self.words.values().flatten().cloned().collect(),
            gone: self
                .words
                .iter()
                .filter(|(_, word)| word.is_none())
                .map(|(name, _)| name.clone())
                .collect(),
        }
    }
}
