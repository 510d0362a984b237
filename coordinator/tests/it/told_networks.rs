//! What nodes are told of client networks: what a node has put together from all messages is at each step what it is to have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pvc_coordinator::core::{Assignments, Told};
use pvc_model::command::NetworkCommand::{self, *};
use pvc_model::command::{Ending, SpecPatch};
use pvc_model::network::fabric::{Fabric, Peer};
use pvc_model::network::lease::{Lease, LeaseReport};
use pvc_model::network::{Attachment, Network, NetworkKind, NetworkSpec, Subnet, Vni};
use pvc_model::nic::Nic;
use pvc_model::node::{NodeFacts, NodeRole, Reachability};
use pvc_model::vm::{Mac, VmSpec};
use pvc_model::{Command, Context, Name, Timestamp, World, decide};

use super::cluster::name;

/// A node, as it has put together what it was told.
struct Mirror {
    node: Name,
    told: Told,
    networks: BTreeMap<Name, Arc<Network>>,
    leases: BTreeMap<Name, Arc<Lease>>,
    fabric: Option<Fabric>,
    hypervisors: Option<Vec<(Name, String)>>,
    messages: usize,
}

impl Mirror {
    fn begin(node: &str, world: &World) -> Mirror {
        let (told, first) = Told::begin(&name(node), BTreeSet::new(), world);
        assert!(first.network.fabric.is_some(), "the first message has the fabric always");
        let mut mirror = Mirror {
            node: name(node),
            told,
            networks: BTreeMap::new(),
            leases: BTreeMap::new(),
            fabric: None,
            hypervisors: None,
            messages: 0,
        };
        mirror.take(first);
        mirror
    }

    fn step(&mut self, world: &World) {
        let message = self.told.step(&self.node, world);
        self.take(message);
    }

    fn take(&mut self, message: Assignments) {
        self.hypervisors = message.hypervisors.or(self.hypervisors.take());
        let news = message.network;
        self.messages += usize::from(!news.is_empty());
        for name in &news.networks_gone {
            assert!(self.networks.remove(name).is_some(), "{name} was never told");
        }
        for name in &news.leases_gone {
            assert!(self.leases.remove(name).is_some(), "{name} was never told");
        }
        self.networks.extend(news.networks.into_iter().map(|one| (one.meta.name.clone(), one)));
        self.leases.extend(news.leases.into_iter().map(|one| (one.meta.name.clone(), one)));
        self.fabric = news.fabric.or(self.fabric.take());
    }

    /// "1001 1002 | 10.1.0.100".
    fn has(&self) -> String {
        let networks: Vec<&str> = self.networks.keys().map(Name::as_str).collect();
        let leases: Vec<String> = self.leases.values().map(|lease| lease.address.to_string()).collect();
        format!("{} | {}", networks.join(" "), leases.join(" "))
    }
}

struct Bench {
    world: World,
    mirrors: Vec<Mirror>,
}

impl Bench {
    /// hv1 is a coordinator and the primary, hv2 a hypervisor.
    fn new() -> Bench {
        let mut bench = Bench { world: World::default(), mirrors: Vec::new() };
        bench.run(Command::FoundNode { name: name("hv1"), address: "192.0.2.1:1".into(), member_id: 1 });
        bench.join("hv2", "192.0.2.2:1");
        for node in ["hv1", "hv2"] {
            bench.run(Command::SetReachability { node: name(node), reachability: Reachability::Reachable });
            let facts = Some(NodeFacts { cpus: 4, memory_mib: 4096, ..NodeFacts::default() });
            let (node, session, vms, volumes) = (name(node), 1, vec![], vec![]);
            bench.run(Command::Report { node, session, vms, volumes, facts });
        }
        let reason = String::new();
        bench.run(Command::ElectPrimary { node: name("hv1"), epoch: 0, ending: Ending::Lapsed, reason });
        bench.mirrors = ["hv1", "hv2"].map(|node| Mirror::begin(node, &bench.world)).into();
        bench
    }

    fn join(&mut self, hypervisor: &str, address: &str) {
        let token = name(&format!("join-{hypervisor}"));
        self.run(Command::CreateJoinToken {
            name: token.clone(),
            lifetime_seconds: 60,
            node: None,
            secret_hash: "hash".into(),
        });
        self.run(Command::RedeemJoinToken {
            token,
            secret_hash: "hash".into(),
            node: name(hypervisor),
            role: NodeRole::Hypervisor,
            address: address.into(),
            key_hash: "key".into(),
            standby: false,
        });
    }

    fn run(&mut self, command: Command) {
        let revision = self.world.revision + 1;
        let mut context = Context::new(Timestamp(1_800_000_000_000), "test", [revision, 7]);
        let changes = decide(&self.world, &command, &mut context).expect("accepted");
        self.world.apply(&changes, revision);
        for mirror in &mut self.mirrors {
            mirror.step(&self.world);
        }
        // Whoever begins now has the same as who was told all along.
        for at in 0..self.mirrors.len() {
            let anew = Mirror::begin(self.mirrors[at].node.clone().as_str(), &self.world);
            assert_eq!(anew.has(), self.mirrors[at].has(), "{command:?}");
            assert_eq!(anew.fabric, self.mirrors[at].fabric, "{command:?}");
            assert_eq!(anew.hypervisors, self.mirrors[at].hypervisors, "{command:?}");
        }
    }

    fn ask(&mut self, command: NetworkCommand) {
        self.run(Command::Network(Box::new(command)));
    }

    fn network(&mut self, number: u32, third: u8) {
        let subnet = format!("10.{third}.0.0/24").parse().expect("a subnet");
        let managed = pvc_model::network::Managed {
            domain: format!("n{number}.example"),
            name_servers: vec![],
            ntp_servers: vec![],
            ipv4: Some(Subnet { subnet, gateway: None, dhcp: None }),
            ipv6: None,
            reservations: vec![],
            acl: Default::default(),
        };
        let description = name(&format!("n{number}"));
        let spec = NetworkSpec { description, mtu: None, kind: NetworkKind::Managed(managed) };
        self.ask(CreateNetwork { vni: vni(number), spec: Box::new(spec) });
    }

    fn lend(&mut self, number: u32, address: &str) {
        let lease = LeaseReport {
            network: vni(number),
            address: address.parse().expect("an address"),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            hostname: None,
            client_id: String::new(),
            iaid: None,
            expires: Timestamp(1_900_000_000_000),
        };
        let (put, gone) = (vec![lease], vec![]);
        self.ask(ReportLeases { node: name("hv1"), session: 1, epoch: 1, put, gone });
    }

    fn hypervisor(&self) -> String {
        self.mirrors[1].has()
    }

    fn patch(&mut self, vm: &str, patch: SpecPatch) {
        let patch = Box::new(patch);
        self.run(Command::UpdateVm { name: name(vm), patch, expected_revision: 0 });
    }
}

fn vni(number: u32) -> Vni {
    Vni::new(number).expect("a number")
}

#[test]
fn a_coordinator_is_told_where_hypervisors_are_and_a_hypervisor_is_not() {
    let mut bench = Bench::new();
    let told = |bench: &Bench, mirror: usize| {
        let hypervisors = bench.mirrors[mirror].hypervisors.clone()?;
        Some(hypervisors.into_iter().map(|(node, at)| format!("{node} {at}")).collect::<Vec<_>>())
    };
    assert_eq!(told(&bench, 0), Some(vec!["hv2 192.0.2.2:1".to_owned()]));
    bench.join("hv3", "192.0.2.3:1");
    assert_eq!(told(&bench, 0), Some(vec!["hv2 192.0.2.2:1".to_owned(), "hv3 192.0.2.3:1".to_owned()]));
    bench.run(Command::DeleteNode { name: name("hv3"), expected_revision: 0 });
    assert_eq!(told(&bench, 0), Some(vec!["hv2 192.0.2.2:1".to_owned()]));
    assert_eq!(told(&bench, 1), None);
}

#[test]
fn a_coordinator_has_all_and_a_hypervisor_what_its_guests_need() {
    let mut bench = Bench::new();
    bench.network(1001, 1);
    bench.network(1002, 2);
    bench.lend(1001, "10.1.0.100");
    assert_eq!(bench.mirrors[0].has(), "1001 1002 | 10.1.0.100");
    assert_eq!(bench.hypervisor(), " | ");
    assert_eq!(bench.mirrors[1].messages, 1, "others' networks are no news to it: only the fabric was");

    let nics = vec![Nic::new(Attachment::Network(vni(1001)))];
    bench.run(Command::CreateVm { name: name("web1"), spec: VmSpec { nics, ..VmSpec::new(1, 128) } });
    assert_eq!(bench.hypervisor(), " | ", "it is placed nowhere");
    bench.run(Command::StartVm { name: name("web1"), node: Some(name("hv2")) });
    assert_eq!(bench.hypervisor(), "1001 | 10.1.0.100");
    bench.lend(1001, "10.1.0.101");
    bench.lend(1002, "10.2.0.100");
    assert_eq!(bench.hypervisor(), "1001 | 10.1.0.100 10.1.0.101");

    bench.patch(
        "web1",
        SpecPatch { add_nics: vec![Nic::new(Attachment::Network(vni(1002)))], ..Default::default() },
    );
    assert_eq!(bench.hypervisor(), "1001 1002 | 10.1.0.100 10.1.0.101 10.2.0.100");
    let first = bench.world.vms[&name("web1")].spec.nics[0].mac.expect("given");
    bench.patch("web1", SpecPatch { remove_nics: [first].into(), ..Default::default() });
    assert_eq!(bench.hypervisor(), "1002 | 10.2.0.100");
    let gone = vec![Lease::name(vni(1002), "10.2.0.100".parse().expect("an address"))];
    bench.ask(ReportLeases { node: name("hv1"), session: 1, epoch: 1, put: vec![], gone });
    assert_eq!(bench.hypervisor(), "1002 | ");
    bench.ask(DeleteNetwork { name: name("1001"), expected_revision: 0 });
    assert_eq!(bench.mirrors[0].has(), "1002 | ");

    let peer = Peer { name: name("rtr1"), address: [203, 0, 113, 1].into(), asn: 65_001, bfd: true };
    bench.ask(AddPeer { peer });
    assert!(bench.mirrors.iter().all(|mirror| mirror.fabric.as_ref().is_some_and(|it| it.peers.len() == 1)));
}
