//! The services of one coordinator, asked without a network: callers by name, nodes that report what they
//! are told to.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use pvc_coordinator::core::{Coordinator, CoordinatorOptions};
use pvc_coordinator::services::{Caller, ClusterInfo, Shared, Tokens, Vms};
use pvc_identity::{Ca, CaPin, Vault};
use pvc_model::command::VmReport;
use pvc_model::node::NodeFacts;
use pvc_model::vm::{Observed, ObservedPhase};
use pvc_model::{Role, Timestamp, Vm};
use pvc_proto::v1;
use pvc_proto::v1::vm_service_server::VmService;
use raft_store::MemberId;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use super::cluster::{CLUSTER_ID, Cluster, beat, name};
use super::hosts::FakeHosts;

pub struct Desk {
    pub cluster: Cluster,
    pub hosts: Arc<FakeHosts>,
    pub closing: CancellationToken,
    /// The directory with the cluster's CA.
    pub ca: tempfile::TempDir,
}

impl Desk {
    /// Three coordinators that run VMs too: 4 CPUs and 4096 MiB each, all heard.
    pub async fn open() -> Desk {
        Desk::with(CoordinatorOptions::default()).await
    }

    pub async fn with(options: CoordinatorOptions) -> Desk {
        let cluster = Cluster::three_with(options).await;
        let (_, leader) = cluster.leader().await;
        for node in ["hv1", "hv2", "hv3"] {
            keep_beating(&cluster, node);
            let facts = NodeFacts { cpus: 4, memory_mib: 4096, ..NodeFacts::default() };
            leader.report(&name(node), 1, vec![], vec![], Some(facts), None).await.expect("reported");
            heard(&leader, node).await;
        }
        let ca = tempfile::tempdir().expect("a folder");
        let made = Ca::create("2f1f4f2e-0000-4000-8000-000000000001", jiff::Timestamp::now()).expect("a CA");
        made.save(&ca.path().join("root.pem"), &ca.path().join("root.key")).expect("saved");
        Desk { cluster, hosts: Arc::default(), closing: CancellationToken::new(), ca }
    }

    /// What a coordinator's services share.
    pub fn shared(&self, id: MemberId) -> Shared {
        let core = self.cluster.coordinators[&id].clone();
        let node =
            core.world().nodes.values().find(|n| n.status.member_id == id).expect("a node").meta.name.clone();
        Shared {
            core,
            node,
            cluster_id: CLUSTER_ID.to_owned(),
            ca_pin: pin(),
            vault: Vault::new(self.ca.path()),
            hosts: self.hosts.clone(),
            closing: self.closing.clone(),
        }
    }

    pub async fn leading(&self) -> Shared {
        self.shared(self.cluster.leader().await.0)
    }

    /// A coordinator that does not lead, up to date.
    pub async fn following(&self) -> Shared {
        let (leader, _) = self.cluster.leader().await;
        let id = self.cluster.coordinators.keys().find(|id| **id != leader).expect("a follower");
        self.cluster.coordinators[id].linearizable_world().await.expect("a world");
        self.shared(*id)
    }

    pub async fn vms(&self) -> Vms {
        Vms(self.leading().await)
    }

    pub async fn tokens(&self) -> Tokens {
        Tokens(self.leading().await)
    }

    pub async fn info(&self) -> ClusterInfo {
        ClusterInfo::new(self.leading().await)
    }

    /// Defines a VM of 1 vCPU and 128 MiB.
    pub async fn define(&self, vm: &str, tags: &[&str]) -> v1::Vm {
        let spec = v1::VmSpec { tags: tags.iter().map(ToString::to_string).collect(), ..spec() };
        let request = v1::CreateVmRequest { name: vm.to_owned(), spec: Some(spec), ..Default::default() };
        self.vms().await.create_vm(admin(request)).await.expect("defined").into_inner()
    }

    /// Starts a VM and has its node say that it runs.
    pub async fn run(&self, vm: &str, node: &str) {
        let request = v1::StartVmRequest { name: vm.to_owned(), node: node.to_owned(), ..Default::default() };
        self.vms().await.start_vm(admin(request)).await.expect("started");
        self.says(vm, ObservedPhase::Running, "").await;
    }

    /// The VM's node reports what it sees of it, knowing the newest intent.
    pub async fn says(&self, vm: &str, phase: ObservedPhase, reason: &str) {
        let (_, leader) = self.cluster.leader().await;
        let vm = Vm::clone(leader.world().vm(&name(vm)).expect("a VM"));
        let placement = vm.placement.clone().expect("placed");
        let on = phase == ObservedPhase::Running;
        let observed = Observed {
            node: placement.node.clone(),
            epoch: placement.epoch,
            phase,
            reason: reason.to_owned(),
            seen_intent: vm.intent,
            boot_generation: vm.boot_generation,
            spec_generation: if on { vm.spec_generation } else { 0 },
            restarts: 0,
            since: Timestamp(0),
        };
        let report = VmReport { uid: vm.uid(), observed: Some(observed), migration: None };
        leader.report(&placement.node, 1, vec![report], vec![], None, None).await.expect("reported");
    }

    /// Has a node fall silent, and waits until that is noticed.
    pub async fn silence(&self, node: &str) {
        self.cluster.silent.write().insert(name(node));
        let (_, leader) = self.cluster.leader().await;
        let silent = |world: &pvc_model::World| !world.nodes[&name(node)].is_reachable();
        leader.worlds().wait_for(silent).await.expect("noticed");
    }
}

/// Sends a node's heartbeats to whoever leads, until it is to be silent.
fn keep_beating(cluster: &Cluster, node: &str) {
    let (node, silent) = (name(node), Arc::clone(&cluster.silent));
    let coordinators: Vec<Coordinator> = cluster.coordinators.values().cloned().collect();
    tokio::spawn(async move {
        for sequence in 1.. {
            if !silent.read().contains(&node) {
                for leader in coordinators.iter().filter(|coordinator| coordinator.leading().is_some()) {
                    let _ = leader.heartbeat(&node, beat(sequence));
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
}

async fn heard(leader: &Coordinator, node: &str) {
    let node = name(node);
    leader.worlds().wait_for(|world| world.nodes[&node].is_reachable()).await.expect("heard");
}

pub fn pin() -> CaPin {
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse().expect("a pin")
}

pub fn spec() -> v1::VmSpec {
    v1::VmSpec { vcpus: 1, memory_mib: 128, ..Default::default() }
}

/// A request of admin/root.
pub fn admin<T>(message: T) -> Request<T> {
    from("admin/root", Some(Role::Admin), message)
}

pub fn from<T>(identity: &str, role: Option<Role>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller { identity: identity.to_owned(), role });
    request
}

/// Which rule refused, with what code.
pub fn refused<T>(answer: Result<Response<T>, Status>) -> (Code, String) {
    let status = answer.err().expect("refused");
    (status.code(), rule(&status))
}

pub fn rule(status: &Status) -> String {
    let details = status.get_error_details();
    details.error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

pub fn help(status: &Status) -> String {
    let details = status.get_error_details();
    details.error_info().and_then(|info| info.metadata.get("help").cloned()).unwrap_or_default()
}

/// The next answer of a stream, which must come soon.
pub async fn next<T>(
    stream: &mut (impl futures::Stream<Item = Result<T, Status>> + Unpin),
) -> Result<T, Status> {
    let next = tokio::time::timeout(Duration::from_secs(20), stream.next());
    next.await.expect("an answer in time").expect("an open stream")
}
