//! Nodes that fall silent, on virtual time: what their hosts answer elsewhere, how many are silent together, what a BMC may
//! still do when a node is heard again, and silences that were announced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_coordinator::core::power::FakeBmcs;
use pvc_coordinator::core::{Coordinator, CoordinatorOptions, Probe};
use pvc_model::bmc::{Bmc, BmcAdapter, Sealed};
use pvc_model::fence::{FencePhase, HostSign};
use pvc_model::leaving::OnShutdown;
use pvc_model::node::{Node, NodeFacts, NodeRole};
use pvc_model::vm::VmSpec;
use pvc_model::{Command, Name};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, beat, name};
use super::lane::token;

/// With three coordinators: three that are silent together are a storm.
const HYPERVISORS: [&str; 4] = ["hv4", "hv5", "hv6", "hv7"];
const STORAGE: &str = "10.1.0.4:7443";

/// Hosts that answer, by address; all others are silent.
#[derive(Clone, Debug, Default)]
struct Answering(Arc<Mutex<BTreeSet<String>>>);

#[async_trait]
impl Probe for Answering {
    async fn sign(&self, address: &str) -> HostSign {
        sleep(Duration::from_millis(10)).await;
        if self.0.lock().contains(address) { HostSign::Answers } else { HostSign::Silent }
    }
}

struct House {
    cluster: Cluster,
    rack: FakeBmcs,
    answering: Answering,
    /// Whose heartbeats are held back.
    silent: Arc<Mutex<BTreeSet<String>>>,
}

impl House {
    /// Three coordinators and four hypervisors with BMCs, all heard. hv4 has a foot in the storage network.
    async fn new() -> House {
        let (rack, answering) = (FakeBmcs::default(), Answering::default());
        let options = CoordinatorOptions {
            power: Arc::new(rack.clone()),
            probe: Arc::new(answering.clone()),
            ..CoordinatorOptions::default()
        };
        let cluster = Cluster::three_with(options).await;
        for node in HYPERVISORS {
            cluster.enrol(node, NodeRole::Hypervisor).await;
        }
        let (_, leader) = cluster.leader().await;
        let nodes: Vec<Name> = leader.world().nodes.keys().cloned().collect();
        for node in &nodes {
            let mut networks = BTreeMap::new();
            if node.as_str() == "hv4" {
                networks.insert(name("storage"), "10.1.0.4".parse().expect("an address"));
            }
            let facts = NodeFacts { cpus: 4, memory_mib: 4096, networks, ..NodeFacts::default() };
            leader.report(node, 1, vec![], vec![], Some(facts), None).await.expect("reported");
            let address = format!("bmc-{node}:623");
            rack.add(node.as_str(), &address, "");
            let bmc = Bmc {
                address,
                user: "ADMIN".into(),
                password: Sealed(vec![1]),
                adapter: BmcAdapter::Auto,
                identity: String::new(),
                trusted: false,
            };
            let set = Command::SetNodeBmc { name: node.clone(), bmc: Box::new(bmc), expected_revision: 0 };
            leader.submit(set, "admin/test", None).await.expect("set");
        }
        let house = House { cluster, rack, answering, silent: Arc::default() };
        house.begin_to_beat(nodes);
        sleep(Duration::from_secs(10)).await;
        house
    }

    /// One after the other, a seventh of half a second apart, as in life.
    fn begin_to_beat(&self, nodes: Vec<Name>) {
        let all: Vec<Coordinator> = self.cluster.coordinators.values().cloned().collect();
        let silent = self.silent.clone();
        tokio::spawn(async move {
            for sequence in 1.. {
                for node in &nodes {
                    if !silent.lock().contains(node.as_str()) {
                        all.iter().for_each(|there| drop(there.heartbeat(node, beat(sequence))));
                    }
                    sleep(Duration::from_millis(500) / 7).await;
                }
            }
        });
    }

    fn silence(&self, nodes: &[&str]) {
        self.silent.lock().extend(nodes.iter().map(|node| (*node).to_owned()));
    }

    fn hear(&self, node: &str) {
        self.silent.lock().remove(node);
    }

    async fn node(&self, node: &str) -> Node {
        Node::clone(&self.cluster.leader().await.1.world().nodes[&name(node)])
    }

    async fn phase(&self, node: &str) -> Option<FencePhase> {
        self.node(node).await.status.fence.map(|fence| fence.phase)
    }

    async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !so().await {
            assert!(begun.elapsed() < Duration::from_secs(120), "never {what}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Orders to take power away, so far.
    fn offs(&self) -> Vec<String> {
        self.rack.orders().into_iter().filter(|order| order.starts_with("off")).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_answers_on_any_network_has_its_time() {
    let house = House::new().await;
    house.answering.0.lock().insert(STORAGE.to_owned());
    house.silence(&["hv4"]);
    sleep(Duration::from_secs(25)).await;
    assert_eq!(house.phase("hv4").await, None, "its host lives: the storage network says so");
    sleep(Duration::from_secs(10)).await;
    let fence = house.node("hv4").await.status.fence.expect("its daemon has had its time");
    assert!(fence.reason.ends_with("(on: storage)"), "{}", fence.reason);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_answers_nowhere_is_fenced_at_once() {
    let house = House::new().await;
    house.silence(&["hv4"]);
    sleep(Duration::from_secs(6)).await;
    assert!(house.phase("hv4").await.is_some());
}

/// Heartbeats come in turn: when the first silence is noticed, the others are quiet, but not for the whole grace yet.
#[tokio::test(start_paused = true)]
async fn those_that_are_merely_quiet_count_in_the_brake() {
    let house = House::new().await;
    house.silence(&["hv5", "hv6", "hv7"]);
    house.until("a brake", async || house.cluster.leader().await.1.world().brake().is_some()).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(house.offs(), Vec::<String>::new(), "nobody's power is touched");
    let world = house.cluster.leader().await.1.world();
    assert_eq!(world.brake().map(|brake| brake.nodes.len()), Some(3));
}

/// A node that has its lease back and then loses its power would be a false fence.
#[tokio::test(start_paused = true)]
async fn a_fence_is_not_called_off_while_its_bmc_may_still_strike() {
    let house = House::new().await;
    house.rack.slow("bmc-hv4:623", Duration::from_secs(4));
    house.silence(&["hv4"]);
    house.until("fenced", async || house.phase("hv4").await == Some(FencePhase::Fencing)).await;
    // The order is on its way.
    sleep(Duration::from_millis(600)).await;
    house.hear("hv4");
    let begun = Instant::now();
    house.until("an order", async || !house.offs().is_empty()).await;
    assert!(begun.elapsed() > Duration::from_secs(1), "it was heard before the BMC struck");
    assert_ne!(house.phase("hv4").await, None, "it never got its lease back in between");
    house.until("proven", async || house.phase("hv4").await >= Some(FencePhase::Fenced)).await;
}

/// The lane may be busy for long: what was judged before is not carried out after the node was heard again.
#[tokio::test(start_paused = true)]
async fn a_fence_that_waited_is_judged_again() {
    let house = House::new().await;
    house.answering.0.lock().insert(STORAGE.to_owned());
    house.silence(&["hv4"]);
    sleep(Duration::from_secs(29)).await;
    let (id, leader) = house.cluster.leader().await;
    let others = house.cluster.coordinators.keys().copied().filter(|other| *other != id);
    let mut cut = others.map(|other| (other, house.cluster.cut(other))).collect::<Vec<_>>().into_iter();
    // The lane waits for a quorum with this one, and the fence that is due in a second waits behind it.
    let write = tokio::spawn(async move { leader.submit(token("t1"), "admin/test", None).await });
    sleep(Duration::from_secs(2)).await;
    house.hear("hv4");
    sleep(Duration::from_millis(600)).await;
    // One first: it lacks the entry that waits, and is elected by nobody.
    let mut join =
        || cut.next().map(|(other, store)| house.cluster.join(other, store)).expect("two were cut");
    join();
    write.await.expect("no panic").expect("committed at last");
    join();
    sleep(Duration::from_secs(5)).await;
    let node = house.node("hv4").await;
    assert!(node.is_reachable());
    assert_eq!(node.status.fences, 0, "no fence was begun after it was heard");
}

#[tokio::test(start_paused = true)]
async fn an_announced_silence_of_an_empty_node_moves_nobody() {
    let house = House::new().await;
    for node in ["hv4", "hv5", "hv6"] {
        let (_, leader) = house.cluster.leader().await;
        leader.leave_node(&name(node), 1, 900).await.expect("heard");
    }
    house.silence(&["hv4", "hv5", "hv6"]);
    sleep(Duration::from_secs(600)).await;
    let world = house.cluster.leader().await.1.world();
    assert_eq!(house.offs(), Vec::<String>::new());
    assert!(world.brake().is_none() && world.faults.is_empty(), "{:?}", world.faults);
    assert!(world.nodes.values().all(|node| node.status.fence.is_none()));
    // What dies unannounced is still noticed.
    house.silence(&["hv7"]);
    sleep(Duration::from_secs(10)).await;
    assert!(house.phase("hv7").await.is_some());
}

/// Its guests end with it and are waited for; not for ever.
#[tokio::test(start_paused = true)]
async fn a_node_that_keeps_its_guests_has_a_quarter_of_an_hour_to_boot() {
    let house = House::new().await;
    let (_, leader) = house.cluster.leader().await;
    let submit = async |command| leader.submit(command, "admin/test", None).await.expect("done");
    let (schedulable, on_return, on_shutdown) = (None, None, Some(OnShutdown::Keep));
    let name4 = name("hv4");
    submit(Command::UpdateNode {
        name: name4.clone(),
        schedulable,
        on_return,
        on_shutdown,
        isolation: None,
        expected_revision: 0,
    })
    .await;
    submit(Command::CreateVm { name: name("web1"), spec: VmSpec::new(1, 128) }).await;
    submit(Command::StartVm { name: name("web1"), node: Some(name4.clone()) }).await;
    leader.leave_node(&name4, 1, 900).await.expect("heard");
    house.silence(&["hv4"]);
    sleep(Duration::from_secs(890)).await;
    assert_eq!(house.phase("hv4").await, None);
    sleep(Duration::from_secs(20)).await;
    assert!(house.phase("hv4").await.is_some(), "it does not come back");
}
