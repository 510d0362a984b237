//! What all parts have in common.

use async_trait::async_trait;
use pvc_model::network::host::HostPlan;

/// One outside thing of the host, kept as the plan says.
#[async_trait]
pub trait Part: Send {
    /// As faults, histories and logs call it: "links", "frr", "firewall", "gateway", "dhcp", "dns".
    fn name(&self) -> &'static str;

    /// Looks at what there is, and makes it as `plan` says, once. Called on each change of the plan, when the part's thing says
    /// that it has changed, and on a timer. Must not wait for long: what takes its time is `Progressed`, and looked at again.
    async fn pass(&mut self, plan: &HostPlan) -> Result<Outcome, Blocked>;

    /// What people should know though the last pass has settled: something asked for that can't be, and holds up nothing else.
    /// Empty: nothing.
    fn complaint(&self) -> String {
        String::new()
    }
}

/// How a pass ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was as it should be.
    Settled,
    /// Something was changed; each in a few words, for the node's history: "made vmbr1001". Looked at again soon.
    Progressed(Vec<String>),
}

/// Why it can't be as the plan says now. It is tried again, more and more seldom.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Blocked {
    /// Names the thing and what helps.
    pub reason: String,
}

impl Blocked {
    pub fn new(reason: impl Into<String>) -> Self {
        Blocked { reason: reason.into() }
    }
}
