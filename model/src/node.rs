//! Nodes: hosts that run pvcd.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::Meta;
use crate::bmc::Bmc;
use crate::fence::{Fence, FencePhase, OnReturn};
use crate::guard::{Guard, Isolation};
use crate::leaving::{Leaving, OnShutdown};
use crate::name::Name;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeRole {
    /// Votes in Raft and answers clients, and runs VMs.
    Coordinator,
    /// Runs VMs.
    Hypervisor,
}

/// Whether the leader hears the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reachability {
    /// Enrolled, never heard of yet.
    NeverSeen,
    Reachable,
    /// Silent for longer than the grace.
    Unreachable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    pub role: NodeRole,
    /// False: no new VM is placed here; what runs goes on.
    pub schedulable: bool,
    /// A coordinator that does not vote: it has a copy of the state, and takes the place of a voter that dies.
    pub standby: bool,
    /// A person works on it: it takes no VM, and is not fenced when it falls silent.
    pub maintenance: bool,
    pub on_return: OnReturn,
    pub isolation: Isolation,
    /// What becomes of its VMs when its host is shut down in order.
    pub on_shutdown: OnShutdown,
    /// What can switch it off when nothing else answers; None: nothing can.
    pub bmc: Option<Bmc>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Owned by the leader; a node's own report never changes it.
    pub reachability: Reachability,
    /// When `reachability` last changed.
    pub since: Timestamp,
    /// Raft member id, never used twice; 0: not a member.
    pub member_id: u64,
    /// Number of starts of its pvcd: a report of an older session says nothing any more.
    pub session: u64,
    /// host:port of its pvcd. Given at joining.
    pub address: String,
    /// What the node says of itself.
    pub facts: NodeFacts,
    /// None: it is trusted with VMs.
    pub fence: Option<Fence>,
    /// Number of its fences so far.
    pub fences: u64,
    /// Armed, and relied upon: it stops the node's guests when the lease has lapsed. None: time alone proves nothing.
    pub guard: Option<Guard>,
    /// Number of the node's words about its guard so far.
    pub guard_words: u64,
    /// Its host is being shut down, or was; until its daemon starts again.
    pub leaving: Option<Leaving>,
}

/// What a node says of itself; changes seldom (its load goes by heartbeat, and is never stored).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Version of its pvcd.
    pub version: String,
    /// Logical CPUs.
    pub cpus: u32,
    /// MiB.
    pub memory_mib: u64,
    /// Version of the hypervisor, as libvirt tells it.
    pub hypervisor: String,
    pub kernel: String,
    /// Why the node can't run VMs now; empty when it can.
    pub problem: String,
    /// The highest feature level that its pvcd can; 0: it told none.
    pub level: u32,
    /// The UUID that its board tells (SMBIOS); empty: it tells none.
    pub system_uuid: String,
    /// Its addresses on other networks than the cluster's.
    pub networks: BTreeMap<Name, IpAddr>,
    pub network_health: NetworkHealth,
}

/// How a node's part of the client networks is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkHealth {
    /// What is not as it should be and has not been for a while, by part: "frr", "links", "dhcp".
    pub problems: BTreeMap<String, String>,
    /// How often something was put right that somebody else had changed, since its daemon started.
    pub repairs: u64,
    /// The last of them, in words.
    pub last_repair: String,
}

/// What the network is called on which the daemons listen.
pub const CLUSTER_NETWORK: &str = "cluster";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub meta: Meta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

impl Node {
    /// Where its host can be asked for a sign of life, by network. The daemon listens on the cluster's network alone; elsewhere
    /// a kernel that lives says that nobody does.
    pub fn doors(&self) -> Vec<(String, String)> {
        let own = (CLUSTER_NETWORK.to_owned(), self.status.address.clone());
        let port = self.status.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let elsewhere = self.status.facts.networks.iter().filter_map(|(network, address)| {
            Some((network.to_string(), SocketAddr::new(*address, port?).to_string()))
        });
        std::iter::once(own).chain(elsewhere).collect()
    }

    pub fn is_reachable(&self) -> bool {
        self.status.reachability == Reachability::Reachable
    }

    /// A proof was accepted that nothing of it writes any more, and it is not back yet.
    pub fn is_fenced(&self) -> bool {
        self.status.fence.as_ref().is_some_and(|fence| fence.phase == FencePhase::Fenced)
    }

    /// The guard that has certainly stopped its guests some time after its last lease; None: it can't be relied upon.
    pub fn relied_guard(&self) -> Option<&Guard> {
        self.status.guard.as_ref().filter(|_| self.spec.isolation == Isolation::Stop)
    }

    /// Whether its silence is what it announced when its host was shut down. `silent_for`: as far as this leader knows.
    pub fn is_excused(&self, silent_for: Duration) -> bool {
        self.status.leaving.as_ref().is_some_and(|leaving| leaving.excuses(silent_for))
    }

    /// It may not act: its heartbeats are not acknowledged.
    pub fn is_denied_lease(&self) -> bool {
        self.status.fence.as_ref().is_some_and(Fence::denies_lease)
    }
}
