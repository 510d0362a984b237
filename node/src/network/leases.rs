//! What this host's DHCP servers lend goes to the leader, in order and in batches, until it is taken or is of no account any
//! more. It is told at the epoch at which it was lent and at no other: another primary may have lent the address since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pvc_model::Name;
use pvc_model::network::lease::{Lease, LeaseReport};
use pvc_network::dhcp::{Change, Events, LeaseEvent};

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
}

impl Teller {
    /// Runs until the servers' part is gone.
    pub async fn run(self, mut events: Events) {
        let mut first = events.next().await;
        while let Some((epoch, event)) = first.take() {
            let mut batch = Batch::of(epoch, event);
            let gathering = async {
                while batch.words.len() < BATCH_MAX {
                    match events.next().await {
                        Some((epoch, event)) if epoch == batch.epoch => batch.take(event),
                        other => return other,
                    }
                }
                None
            };
            // One of another epoch begins the next batch.
            first = tokio::time::timeout(GATHER, gathering).await.unwrap_or_default();
            self.tell(&batch).await;
            if first.is_none() {
                first = events.next().await;
            }
        }
    }

    /// Says it until it is taken or refused. What a refused report held is not lent: the next primary does not know of it.
    async fn tell(&self, batch: &Batch) {
        let leases = batch.words.len();
        loop {
            let report = batch.report(&self.me, self.view.borrow().session);
            match self.link.report_leases(report).await {
                Ok(revision) => return tracing::debug!(leases, revision, "told what is lent"),
                Err(LinkError::Rejected(refusal)) => {
                    return tracing::warn!(%refusal, leases, "what was lent is not taken");
                }
                Err(error) => tracing::debug!(%error, "what was lent is not told yet"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// The last word on each address, of one epoch.
struct Batch {
    epoch: u64,
    words: BTreeMap<Name, Option<LeaseReport>>,
}

impl Batch {
    fn of(epoch: u64, first: LeaseEvent) -> Self {
        let mut batch = Batch { epoch, words: BTreeMap::new() };
        batch.take(first);
        batch
    }

    fn take(&mut self, event: LeaseEvent) {
        let name = Lease::name(event.lease.network, event.lease.address);
        self.words.insert(name, (event.change != Change::Del).then_some(event.lease));
    }

    fn report(&self, me: &Name, session: u64) -> LeasesReport {
        LeasesReport {
            node: me.clone(),
            session,
            epoch: self.epoch,
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
