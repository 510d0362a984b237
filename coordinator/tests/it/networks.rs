//! Client networks as people ask for them, leases as the primary tells of them, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use pvc_coordinator::core::{CoordinatorOptions, RuleCheck};
use pvc_coordinator::services::Networks;
use pvc_model::network::Vni;
use pvc_model::network::acl::Acl;
use pvc_model::network::lease::{Lease, LeaseReport};
use pvc_model::{Name, Timestamp};
use pvc_proto::v1;
use pvc_proto::v1::network_service_server::NetworkService;
use pvc_proto::v1::vm_service_server::VmService;
use tonic::{Code, Status};

use super::desk::{Desk, admin, help, next, refused, spec};

async fn networks(desk: &Desk) -> Networks {
    Networks(desk.leading().await)
}

fn subnet(subnet: &str, gateway: &str) -> Option<v1::Subnet> {
    Some(v1::Subnet { subnet: subnet.into(), gateway: gateway.into(), dhcp: None })
}

fn managed(description: &str, ipv4: Option<v1::Subnet>, ipv6: Option<v1::Subnet>) -> v1::NetworkSpec {
    let domain = format!("{description}.example");
    let managed = v1::ManagedNetwork { domain, ipv4, ipv6, ..Default::default() };
    v1::NetworkSpec { description: description.into(), managed: Some(managed), ..Default::default() }
}

pub(super) fn lan() -> v1::NetworkSpec {
    managed("lan", subnet("10.1.0.0/24", "10.1.0.1"), subnet("2001:db8:1::/64", "2001:db8:1::1"))
}

pub(super) async fn make(desk: &Desk, vni: u32, spec: v1::NetworkSpec) -> Result<v1::Network, Status> {
    let request = v1::CreateNetworkRequest { vni, spec: Some(spec), ..Default::default() };
    networks(desk).await.create_network(admin(request)).await.map(tonic::Response::into_inner)
}

async fn get(desk: &Desk, name: &str) -> v1::Network {
    let request = v1::GetNetworkRequest { name: name.into(), ..Default::default() };
    networks(desk).await.get_network(admin(request)).await.expect("it is there").into_inner()
}

#[tokio::test(start_paused = true)]
async fn nics_are_attached_by_a_network_s_number_or_description() {
    let desk = Desk::open().await;
    make(&desk, 1001, lan()).await.expect("made");
    attach(&desk, "web1", "lan").await;
    let nics = async || {
        let world = desk.cluster.leader().await.1.world();
        let vm = world.vm(&"web1".parse().expect("a name")).expect("a VM").clone();
        vm.spec.nics.iter().map(|nic| nic.attachment.network().map(Vni::get)).collect::<Vec<_>>()
    };
    assert_eq!(nics().await, [Some(1001)]);
    let nic = |network: &str| v1::Nic { network: network.into(), ..Default::default() };
    let add = |network: &str| v1::UpdateVmRequest {
        name: "web1".into(),
        add_nics: vec![nic(network)],
        ..Default::default()
    };
    desk.vms().await.update_vm(admin(add("lan"))).await.expect("added");
    desk.vms().await.update_vm(admin(add("upstream"))).await.expect("added");
    assert_eq!(nics().await, [Some(1001), Some(1001), None]);
    let refused = desk.vms().await.update_vm(admin(add("lam"))).await.expect_err("no network");
    assert!(refused.message().contains("not \"lam\""), "{refused}");
}

/// Gives a VM, made anew, a NIC in a network.
async fn attach(desk: &Desk, vm: &str, network: &str) {
    let nic = v1::Nic { network: network.into(), ..Default::default() };
    let spec = v1::VmSpec { nics: vec![nic], ..spec() };
    let request = v1::CreateVmRequest { name: vm.into(), spec: Some(spec), ..Default::default() };
    desk.vms().await.create_vm(admin(request)).await.expect("defined");
}

#[tokio::test(start_paused = true)]
async fn networks_are_made_listed_changed_watched_and_removed() {
    let desk = Desk::open().await;
    let service = networks(&desk).await;
    let made = make(&desk, 1001, lan()).await.expect("made");
    assert_eq!((made.vni, made.meta.as_ref().map(|meta| meta.name.as_str())), (1001, Some("1001")));
    let watch = service.watch_networks(admin(v1::WatchNetworksRequest::default())).await.expect("a watch");
    let mut watch = watch.into_inner();
    assert_eq!(next(&mut watch).await.expect("the network").kind(), v1::ChangeKind::Created);
    assert_eq!(next(&mut watch).await.expect("a bookmark").kind(), v1::ChangeKind::Bookmark);

    let overlap =
        make(&desk, 1002, managed("dmz", subnet("10.1.0.0/16", ""), None)).await.expect_err("refused");
    assert_eq!(
        (overlap.code(), super::desk::rule(&overlap)),
        (Code::FailedPrecondition, "subnets-apart".into())
    );
    assert!(overlap.message().contains("network 1001 (lan)"), "{}", overlap.message());
    assert_eq!(refused(make(&desk, 0, lan()).await.map(tonic::Response::new)).1, "vni-range");
    make(&desk, 1002, managed("dmz", subnet("10.2.0.0/16", ""), None)).await.expect("made");
    assert_eq!(next(&mut watch).await.expect("the other").kind(), v1::ChangeKind::Created);

    let list = async |request| service.list_networks(admin(request)).await.expect("a list").into_inner();
    let filtered = list(v1::ListNetworksRequest { name_filter: "^lan$".into(), ..Default::default() }).await;
    assert_eq!(filtered.networks.iter().map(|network| network.vni).collect::<Vec<_>>(), [1001]);
    let paged = list(v1::ListNetworksRequest { page_size: 1, ..Default::default() }).await;
    assert_eq!((paged.networks.len(), paged.next_page_token.is_empty()), (1, false));
    let page_token = paged.next_page_token;
    let rest = list(v1::ListNetworksRequest { page_token, ..Default::default() }).await;
    assert_eq!(rest.networks.iter().map(|network| network.vni).collect::<Vec<_>>(), [1002]);

    // A VM that comes in is news of the network, and holds it.
    attach(&desk, "web1", "1001").await;
    let change = next(&mut watch).await.expect("its users");
    assert_eq!(
        (change.kind(), change.network.expect("it").users),
        (v1::ChangeKind::Updated, vec!["web1".into()])
    );
    let of_vm = list(v1::ListNetworksRequest { vm: "web1".into(), ..Default::default() }).await;
    assert_eq!(of_vm.networks.len(), 1);
    let remove = |name: &str| v1::DeleteNetworkRequest { name: name.into(), ..Default::default() };
    let held = service.delete_network(admin(remove("lan"))).await.expect_err("it is used");
    assert!(
        held.message().contains("vm/web1") && help(&held).contains("pvc vm network remove web1"),
        "{held}"
    );

    let mut changed = lan();
    changed.mtu = 1400;
    let request = v1::UpdateNetworkRequest { name: "lan".into(), spec: Some(changed), ..Default::default() };
    let changed = service.update_network(admin(request)).await.expect("changed").into_inner();
    assert_eq!(changed.spec.expect("a spec").mtu, 1400);
    assert_eq!(next(&mut watch).await.expect("the change").kind(), v1::ChangeKind::Updated);
    service.delete_network(admin(remove("dmz"))).await.expect("removed");
    assert_eq!(next(&mut watch).await.expect("the end").kind(), v1::ChangeKind::Deleted);
}

#[tokio::test(start_paused = true)]
async fn a_vm_is_attached_to_networks_that_there_are() {
    let desk = Desk::open().await;
    let nic = v1::Nic { network: "1001".into(), ..Default::default() };
    let with_nic = v1::VmSpec { nics: vec![nic], ..spec() };
    let request = v1::CreateVmRequest { name: "web1".into(), spec: Some(with_nic), ..Default::default() };
    let made = desk.vms().await.create_vm(admin(request.clone())).await;
    assert_eq!(refused(made), (Code::FailedPrecondition, "network-must-exist".into()));
    make(&desk, 1001, lan()).await.expect("made");
    desk.vms().await.create_vm(admin(request)).await.expect("now it can");
}

#[tokio::test(start_paused = true)]
async fn reservations_and_rules_belong_to_their_network() {
    let desk = Desk::open().await;
    make(&desk, 1001, lan()).await.expect("made");
    let service = networks(&desk).await;
    let reservation = v1::Reservation {
        mac: "52:54:00:12:34:56".into(),
        ipv4: "10.1.0.10".into(),
        hostname: "web1".into(),
        ..Default::default()
    };
    let request =
        |reservation| v1::AddReservationRequest { network: "lan".into(), reservation, ..Default::default() };
    service.add_reservation(admin(request(Some(reservation.clone())))).await.expect("kept");
    let outside =
        v1::Reservation { ipv4: "10.9.0.10".into(), mac: "52:54:00:00:00:01".into(), ..reservation };
    let answer = service.add_reservation(admin(request(Some(outside)))).await;
    assert_eq!(refused(answer).0, Code::AlreadyExists, "the name is taken");
    assert_eq!(refused(service.add_reservation(admin(request(None))).await).1, "must-be-set");

    let rule = |name: &str| v1::AclRule {
        name: name.into(),
        direction: v1::AclDirection::In.into(),
        protocol: v1::AclProtocol::Tcp.into(),
        ports: vec![v1::PortRange { first: 22, last: 0 }],
        action: v1::AclAction::Drop.into(),
        ..Default::default()
    };
    let add = v1::AddAclRuleRequest { network: "1001".into(), rule: Some(rule("ssh")), ..Default::default() };
    service.add_acl_rule(admin(add)).await.expect("added");
    let escape = v1::AclRule { raw: "jump x".into(), protocol: 0, ports: vec![], action: 0, ..rule("out") };
    let add = v1::AddAclRuleRequest { network: "1001".into(), rule: Some(escape), ..Default::default() };
    assert_eq!(refused(service.add_acl_rule(admin(add)).await), (Code::InvalidArgument, "acl-raw".into()));
    let rules = (0..1000).map(|number| rule(&format!("r{number}"))).collect();
    let replace = v1::ReplaceAclRequest { network: "lan".into(), rules, ..Default::default() };
    let replaced = service.replace_acl(admin(replace)).await.expect("replaced").into_inner();
    assert_eq!((replaced.acl.len(), replaced.reservations.len()), (1000, 1));

    let brief = service.list_networks(admin(v1::ListNetworksRequest::default())).await.expect("a list");
    let brief = &brief.into_inner().networks[0];
    assert_eq!((brief.acl.len(), brief.acl_rule_count, brief.reservation_count), (0, 1000, 1));
    let whole = v1::ListNetworksRequest { details: true, ..Default::default() };
    let whole = service.list_networks(admin(whole)).await.expect("a list").into_inner();
    assert_eq!(whole.networks[0].acl.len(), 1000);
    let remove = v1::RemoveAclRuleRequest { network: "lan".into(), rule: "r0".into(), ..Default::default() };
    service.remove_acl_rule(admin(remove)).await.expect("removed");
    let hostname = "web1".into();
    let remove = v1::RemoveReservationRequest { network: "lan".into(), hostname, ..Default::default() };
    service.remove_reservation(admin(remove)).await.expect("removed");
    assert_eq!((get(&desk, "lan").await.acl.len(), get(&desk, "1001").await.reservation_count), (999, 0));
}

/// Takes every rule but the one that is called "odd".
#[derive(Debug)]
struct Odd;

#[tonic::async_trait]
impl RuleCheck for Odd {
    async fn refused(&self, _: Vni, acl: &Acl) -> Option<(Name, String)> {
        let odd = acl.rules.iter().find(|rule| rule.name == *"odd");
        odd.map(|rule| (rule.name.clone(), "syntax error, unexpected string".into()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_statement_that_the_packet_filter_does_not_take_is_refused_and_nothing_is_stored() {
    let options = CoordinatorOptions { rules: Arc::new(Odd), ..CoordinatorOptions::default() };
    let desk = Desk::with(options).await;
    make(&desk, 1001, lan()).await.expect("made");
    let service = networks(&desk).await;
    let rule = |name: &str| v1::AclRule {
        name: name.into(),
        direction: v1::AclDirection::In.into(),
        raw: "tcp dport 22 accpet".into(),
        ..Default::default()
    };
    let add = |rule| v1::AddAclRuleRequest { network: "lan".into(), rule: Some(rule), ..Default::default() };
    let refusal = service.add_acl_rule(admin(add(rule("odd")))).await.expect_err("refused");
    assert_eq!((refusal.code(), super::desk::rule(&refusal)), (Code::InvalidArgument, "acl-refused".into()));
    assert!(refusal.message().contains("rule odd: nft does not take it: syntax error"), "{refusal}");
    service.add_acl_rule(admin(add(rule("even")))).await.expect("added");
    let rules = vec![rule("even"), rule("odd")];
    let replace = v1::ReplaceAclRequest { network: "lan".into(), rules, ..Default::default() };
    assert_eq!(refused(service.replace_acl(admin(replace)).await).1, "acl-refused");
    // Typed ones are not asked about: they are of words that it takes.
    let typed = v1::AclRule { raw: String::new(), action: v1::AclAction::Drop.into(), ..rule("odd") };
    service.add_acl_rule(admin(add(typed))).await.expect("added");
    assert_eq!(get(&desk, "lan").await.acl_rule_count, 2);
}

#[tokio::test(start_paused = true)]
async fn all_hosts_are_asked_what_they_see_and_none_is_waited_for() {
    let desk = Desk::open().await;
    make(&desk, 1001, lan()).await.expect("made");
    attach(&desk, "web1", "1001").await;
    let mac = desk.cluster.leader().await.1.world().vms[&super::cluster::name("web1")].spec.nics[0].mac;
    desk.hosts.macs.write().extend([mac.expect("given").to_string(), "52:54:00:00:00:09".to_owned()]);
    let ask = async |name: &str| {
        let request = v1::GetNetworkStateRequest { name: name.into() };
        networks(&desk).await.get_network_state(admin(request)).await
    };
    assert_eq!(refused(ask("1002").await).0, Code::NotFound);
    let state = ask("lan").await.expect("a state").into_inner();
    let shown = |host: &v1::HostNetworkState| (host.node.clone(), host.problem.clone());
    let all: Vec<_> = state.hosts.iter().map(shown).collect();
    assert_eq!(all, ["hv1", "hv2", "hv3"].map(|node| (node.to_owned(), String::new())));
    assert_eq!(state.hosts[0].gateways, ["10.1001.0.1"], "it is asked of that network");
    let vms: Vec<&str> = state.hosts[0].macs.iter().map(|mac| mac.vm.as_str()).collect();
    assert_eq!(vms, ["web1", ""]);

    desk.hosts.mute.write().insert("hv1".parse().expect("a name"));
    desk.hosts.down.write().insert("hv2".parse().expect("a name"));
    let began = tokio::time::Instant::now();
    let state = ask("lan").await.expect("a state").into_inner();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let problems: Vec<&str> = state.hosts.iter().map(|host| host.problem.as_str()).collect();
    assert!(problems[0].contains("does not answer") && problems[1].contains("broke"), "{problems:?}");
    assert_eq!((problems[2], &state.hosts[2].gateways[0][..]), ("", "10.1001.0.1"));

    desk.silence("hv3").await;
    let state = ask("lan").await.expect("a state").into_inner();
    assert_eq!(state.hosts[2].problem, "the leader does not hear it");
}

fn lease(address: &str, mac: &str, expires: Timestamp) -> LeaseReport {
    LeaseReport {
        network: Vni::new(1001).expect("a number"),
        address: address.parse().expect("an address"),
        mac: Some(mac.parse().expect("a MAC")),
        hostname: Some("guest".parse().expect("a name")),
        client_id: String::new(),
        iaid: None,
        expires,
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_the_primarys_and_shown_with_their_vms() {
    let desk = Desk::open().await;
    make(&desk, 1001, lan()).await.expect("made");
    attach(&desk, "web1", "1001").await;
    let (_, leader) = desk.cluster.leader().await;
    let elected = |world: &pvc_model::World| world.primary().is_some();
    let world = leader.worlds().wait_for(elected).await.expect("elected").clone();
    let primary = world.primary().cloned().expect("it is");
    let web1: Name = "web1".parse().expect("a name");
    let mac = world.vms[&web1].spec.nics[0].mac.expect("given").to_string();
    let service = networks(&desk).await;
    let watch = v1::WatchLeasesRequest { network: "lan".into(), ..Default::default() };
    let mut watch = service.watch_leases(admin(watch)).await.expect("a watch").into_inner();
    assert_eq!(next(&mut watch).await.expect("a bookmark").kind(), v1::ChangeKind::Bookmark);

    let expires = Timestamp(4_000_000_000_000);
    let put =
        vec![lease("10.1.0.100", &mac, expires), lease("2001:db8:1::100", "52:54:00:00:00:09", expires)];
    let at = |epoch| leader.report_leases(&primary.node, (1, epoch), put.clone(), vec![]);
    assert!(at(primary.epoch + 1).await.is_err(), "at another epoch it has no say");
    let first = at(primary.epoch).await.expect("taken").revision;
    let again = at(primary.epoch).await.expect("taken").revision;
    let log = leader.store().status().borrow().last_log;
    at(primary.epoch).await.expect("taken");
    assert_eq!(leader.store().status().borrow().last_log, log, "the same again commits nothing");
    assert!(again >= first);

    let list = async |network: &str| {
        let request = v1::ListLeasesRequest { network: network.into(), ..Default::default() };
        service.list_leases(admin(request)).await.expect("a list").into_inner().leases
    };
    let leases = list("lan").await;
    let shown: Vec<_> = leases.iter().map(|lease| (lease.address.as_str(), lease.vm.as_str())).collect();
    assert_eq!(shown, [("10.1.0.100", "web1"), ("2001:db8:1::100", "")]);
    assert_eq!(get(&desk, "lan").await.lease_count, 2);
    let change = next(&mut watch).await.expect("lent");
    assert_eq!(
        (change.kind(), change.lease.expect("it").address),
        (v1::ChangeKind::Created, "10.1.0.100".into())
    );
    let gone = Lease::name(Vni::new(1001).expect("a number"), "10.1.0.100".parse().expect("an address"));
    let release = v1::DeleteLeaseRequest { name: gone.to_string(), ..Default::default() };
    service.delete_lease(admin(release)).await.expect("released");
    assert_eq!(list("").await.len(), 1);
    let back = vec![Lease::name(Vni::new(1001).expect("a number"), "2001:db8:1::100".parse().expect("one"))];
    leader.report_leases(&primary.node, (1, primary.epoch), vec![], back).await.expect("taken");
    assert!(list("lan").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn leases_that_ended_long_ago_are_forgotten_and_then_nothing_is_committed() {
    let desk = Desk::open().await;
    make(&desk, 1001, lan()).await.expect("made");
    let (_, leader) = desk.cluster.leader().await;
    let world = leader.worlds().wait_for(|world| world.primary().is_some()).await.expect("elected").clone();
    let primary = world.primary().cloned().expect("it is");
    let put = vec![lease("10.1.0.100", "52:54:00:00:00:09", Timestamp(1))];
    leader.report_leases(&primary.node, (1, primary.epoch), put, vec![]).await.expect("taken");
    let gone = |world: &pvc_model::World| world.leases.is_empty();
    let mut worlds = leader.worlds();
    let pruned = tokio::time::timeout(Duration::from_secs(300), worlds.wait_for(gone)).await;
    drop(pruned.expect("in time").expect("the feed goes on"));
    // A cluster that was just made has things to say of itself at first.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let settled = leader.store().status().borrow().last_log;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(leader.store().status().borrow().last_log, settled);
}

#[tokio::test(start_paused = true)]
async fn the_fabric_is_set_and_its_peers_come_and_go() {
    let desk = Desk::open().await;
    let service = networks(&desk).await;
    let fabric = async || {
        let answer = service.get_fabric(admin(v1::GetFabricRequest::default())).await.expect("it is there");
        answer.into_inner().fabric.expect("a fabric")
    };
    assert_eq!((fabric().await.asn, fabric().await.peers.len()), (65_500, 0), "as it is from the beginning");
    let peer = |address: &str| v1::AddPeerRequest {
        peer: Some(v1::Peer { name: "rtr1".into(), address: address.into(), asn: 65_001, bfd: true }),
        ..Default::default()
    };
    assert_eq!(refused(service.add_peer(admin(peer("rtr1.example"))).await).1, "bad-address");
    service.add_peer(admin(peer("203.0.113.1"))).await.expect("added");
    let asn = v1::UpdateFabricRequest { asn: Some(65_001), ..Default::default() };
    assert_eq!(refused(service.update_fabric(admin(asn)).await).1, "peer-asn");
    let secondaries = v1::Addresses { addresses: vec!["203.0.113.53".into()] };
    let set = v1::UpdateFabricRequest { zone_secondaries: Some(secondaries), ..Default::default() };
    let set = service.update_fabric(admin(set)).await.expect("set").into_inner();
    assert_eq!(set.fabric.as_ref().expect("a fabric").zone_secondaries, ["203.0.113.53"]);
    let stale = v1::UpdateFabricRequest { asn: Some(64_999), expected_revision: 1, ..Default::default() };
    assert_eq!(refused(service.update_fabric(admin(stale)).await).1, "expected-revision");
    let remove = v1::RemovePeerRequest { name: "rtr1".into(), ..Default::default() };
    service.remove_peer(admin(remove)).await.expect("removed");
    assert!(fabric().await.peers.is_empty());
}
