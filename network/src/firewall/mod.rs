//! The firewall: nftables by two tables of ours, `inet pvc` and `bridge pvc`, and never a word to anybody else's.
//!
//! ```text
//! plan ──▶ routed, ports: tables as values ──▶ what differs from what was written last ──▶ one transaction of nft's
//!            ▲                                        ▲
//!     acl, raw: people's rules                changes: what the kernel tells of others' hands
//! ```
//! A network's rule that nft does not take holds up nobody: it is left out, all else is done, and the part says so for as long as
//! it lasts.
//!
//! What may never happen here: a moment without rules while they change; a word of a person's in a script that `model` has
//! not looked at there and then, or that is not of one of its types; `flush ruleset`.

mod acl;
mod changes;
mod networks;
mod nft;
mod ports;
mod raw;
mod routed;
mod rules;
mod table;

use async_trait::async_trait;
use ipnet::IpNet;
use pvc_model::Name;
use pvc_model::network::Vni;
use pvc_model::network::acl::{Acl, Direction};
use pvc_model::network::host::HostPlan;

pub use changes::watch;
pub use nft::NftError;

use crate::part::{Blocked, Outcome, Part};
use crate::site::Site;
use changes::Monitor;
use rules::{Chains, Rules};
use table::{Counts, Family, Table};

/// Chains and sets that a change names in the node's history, at most.
const NAMED_MAX: usize = 4;

pub struct Firewall {
    site: Site,
    monitor: Option<Monitor>,
    routed: Kept,
    ports: Kept,
    rules: Rules,
    /// What is not as people want it, though all has been done that can be.
    complaint: String,
}

/// What is known of one of our tables.
struct Kept {
    family: Family,
    /// As it was written last; None: it is not there, or nothing was written yet.
    written: Option<Table>,
    /// Whether it still is so: not at first, nor after a change of ours that did not come through, or one of somebody else's.
    is_known: bool,
}

/// What one rule of a network has matched on this host, since the host or the rule came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCount {
    pub direction: Direction,
    pub rule: Name,
    pub packets: u64,
    pub bytes: u64,
}

/// The counters of one network's rules on this host. A raw rule that counts by itself, or whose verdict is not its last word,
/// has none.
pub async fn counts(network: Vni) -> Result<Vec<RuleCount>, NftError> {
    let counts = nft::counts(Family::Inet).await?;
    let count = |(name, (packets, bytes)): (String, (u64, u64))| {
        let (direction, rule) = acl::counted(network, &name)?;
        Some(RuleCount { direction, rule, packets, bytes })
    };
    let mut counts: Vec<RuleCount> = counts.into_iter().filter_map(count).collect();
    counts.sort_by(|a, b| (a.direction, &a.rule).cmp(&(b.direction, &b.rule)));
    Ok(counts)
}

/// The rules of a network that nft would not take on this host, and what it says of them; nothing is changed.
pub async fn refused(vni: Vni, acl: &Acl) -> Result<Vec<(Name, String)>, NftError> {
    let mut all = Vec::new();
    for direction in [Direction::In, Direction::Out] {
        let rendered = acl::render(vni, acl, direction);
        all.extend(rendered.refused.into_iter().map(|refusal| (refusal.rule, refusal.reason)));
        for (place, said) in nft::refused_of(&rendered.rules).await? {
            all.extend(rendered.rules[place].name.clone().map(|rule| (rule, said)));
        }
    }
    Ok(all)
}

/// Both tables as a host with that plan is given them, for people and tests; `internal` are the cluster's own networks.
pub fn script(plan: &HostPlan, internal: &[IpNet]) -> String {
    let mut rules = Rules::default();
    rules.update(&plan.networks);
    let routed = routed_of(plan, &routed::hosts(plan, internal), &rules.settle().0);
    let tables = routed.into_iter().chain(ports_of(plan));
    tables.map(|table| table.whole(&Counts::new())).collect()
}

/// Takes both our tables away, for a host that leaves.
pub async fn clear() -> Result<(), NftError> {
    nft::run(Family::ALL.map(Family::removal).concat()).await
}

impl Firewall {
    pub fn new(site: Site) -> Self {
        Firewall {
            site,
            monitor: None,
            routed: Kept::new(Family::Inet),
            ports: Kept::new(Family::Bridge),
            rules: Rules::default(),
            complaint: String::new(),
        }
    }

    /// What others have done to our tables since the last pass; those are not known any more.
    async fn listen(&mut self) -> Result<Vec<String>, Blocked> {
        let monitor = match &mut self.monitor {
            Some(monitor) => monitor,
            none => none.insert(Monitor::new().map_err(deaf)?),
        };
        let Some(heard) = monitor.heard().await.map_err(deaf)? else {
            self.routed.is_known = false;
            self.ports.is_known = false;
            return Ok(vec!["changes of nftables were missed".to_owned()]);
        };
        let mut said = Vec::new();
        for transaction in heard {
            for (family, what) in transaction.touched {
                let kept = if family == Family::Inet { &mut self.routed } else { &mut self.ports };
                kept.is_known = false;
                said.push(format!("{} {what} ({} pvc)", transaction.by, family.as_str()));
            }
        }
        Ok(said)
    }

    /// Makes the tables so in one transaction; None: it is to go. Returns what was done.
    async fn write(
        &mut self,
        routed: &Option<Table>,
        ports: &Option<Table>,
    ) -> Result<Vec<String>, NftError> {
        let (mut script, mut said) = (String::new(), Vec::new());
        for (kept, wanted) in [(&mut self.routed, routed), (&mut self.ports, ports)] {
            if let Some(change) = kept.change(wanted).await? {
                // It is neither as before nor as wanted until nft has said so: this pass may be given up meanwhile.
                kept.is_known = false;
                script.push_str(&change.script);
                said.push(change.said);
            }
        }
        if script.is_empty() {
            return Ok(said);
        }
        nft::run(script).await?;
        let alone = match &mut self.monitor {
            Some(monitor) => monitor.was_alone().await.unwrap_or(false),
            None => false,
        };
        for (kept, wanted) in [(&mut self.routed, routed), (&mut self.ports, ports)] {
            kept.written.clone_from(wanted);
            kept.is_known = alone;
        }
        Ok(said)
    }
}

fn deaf(error: std::io::Error) -> Blocked {
    Blocked::new(format!("changes of nftables can't be listened to: {error}"))
}

struct Change {
    script: String,
    said: String,
}

impl Kept {
    fn new(family: Family) -> Self {
        Kept { family, written: None, is_known: false }
    }

    /// What makes the table as it is wanted, if anything has to be done.
    async fn change(&self, wanted: &Option<Table>) -> Result<Option<Change>, NftError> {
        let shown = format!("{} pvc", self.family.as_str());
        let Some(wanted) = wanted else {
            let is_there = match self.is_known {
                true => self.written.is_some(),
                false => nft::present().await?.contains(&self.family),
            };
            let removal = || Change { script: self.family.removal(), said: format!("removed {shown}") };
            return Ok(is_there.then(removal));
        };
        if let Some(written) = self.written.as_ref().filter(|_| self.is_known) {
            if written == wanted {
                return Ok(None);
            }
            if let Some(script) = wanted.delta(written) {
                let said = format!("changed {shown}: {}", wanted.differing(written, NAMED_MAX));
                return Ok(Some(Change { script, said }));
            }
        }
        let counts = match self.family {
            Family::Inet => nft::counts(self.family).await?,
            Family::Bridge => Counts::new(),
        };
        Ok(Some(Change { script: wanted.whole(&counts), said: format!("wrote {shown}") }))
    }
}

#[async_trait]
impl Part for Firewall {
    fn name(&self) -> &'static str {
        "firewall"
    }

    async fn pass(&mut self, plan: &HostPlan) -> Result<Outcome, Blocked> {
        let failed = |error: NftError| Blocked::new(format!("nftables: {}", chain_of(&error)));
        let mut said = self.listen().await?;
        self.rules.update(&plan.networks);
        let internal = networks::internal(&self.site).await;
        let internal = internal
            .map_err(|error| Blocked::new(format!("the host's own networks can't be read: {error}")))?;
        let hosts = routed::hosts(plan, &internal);
        let ports = ports_of(plan);

        let (mut chains, mut complaints) = self.rules.settle();
        let mut routed = routed_of(plan, &hosts, &chains);
        let mut written = self.write(&routed, &ports).await;
        if let Err(NftError::Refused(_)) = &written
            && self.rules.examine(&chains, self.routed.written.as_ref()).await.map_err(failed)?
        {
            (chains, complaints) = self.rules.settle();
            routed = routed_of(plan, &hosts, &chains);
            written = self.write(&routed, &ports).await;
        }
        said.extend(written.map_err(failed)?);
        self.complaint = complaints.join("; ");
        Ok(if said.is_empty() { Outcome::Settled } else { Outcome::Progressed(said) })
    }

    fn complaint(&self) -> String {
        self.complaint.clone()
    }
}

/// The tables, where there is anything for them to speak of.
fn routed_of(plan: &HostPlan, hosts: &[IpNet], chains: &Chains) -> Option<Table> {
    (!plan.networks.is_empty()).then(|| routed::table(plan, hosts, chains))
}

fn ports_of(plan: &HostPlan) -> Option<Table> {
    plan.ports.iter().any(|port| port.spoof_check).then(|| ports::table(plan))
}

/// An error with what it comes from.
fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}
