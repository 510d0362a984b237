//! Client networks from the command line, with a coordinator that keeps one in memory.

use futures::stream::{self, BoxStream};
use pvc_proto::v1::network_service_server::{NetworkService, NetworkServiceServer};
use pvc_proto::v1::node_service_server::NodeServiceServer;
use pvc_proto::v1::*;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use crate::coordinator::serve_with;
use crate::home::Home;

const REVISION: u64 = 7;

#[derive(Default)]
struct Kept {
    network: Option<Network>,
    fabric: Fabric,
}

/// One network, and the fabric.
#[derive(Default)]
struct OneNetwork(Mutex<Kept>);

impl OneNetwork {
    /// The network, by its number or its description.
    async fn named(&self, name: &str) -> Result<Network, Status> {
        let network = self.0.lock().await.network.clone().ok_or_else(|| Status::not_found("no network"))?;
        let description = network.spec.as_ref().map(|spec| spec.description.clone());
        let is_meant = name == network.vni.to_string() || Some(name) == description.as_deref();
        if is_meant { Ok(network) } else { Err(Status::not_found("another network")) }
    }

    async fn change(
        &self,
        name: &str,
        expected: u64,
        change: impl FnOnce(&mut Network),
    ) -> Result<Response<Network>, Status> {
        let mut network = self.named(name).await?;
        if expected != 0 && expected != REVISION {
            return Err(Status::aborted("it is at revision 7"));
        }
        change(&mut network);
        self.0.lock().await.network = Some(network.clone());
        Ok(Response::new(network))
    }

    async fn fabric(&self, change: impl FnOnce(&mut Fabric)) -> Result<Response<FabricInfo>, Status> {
        let mut kept = self.0.lock().await;
        change(&mut kept.fabric);
        Ok(Response::new(FabricInfo { fabric: Some(kept.fabric.clone()), revision: REVISION }))
    }
}

fn leases() -> Vec<Lease> {
    let meta = Some(Meta { name: "1001-0a010064".into(), ..Meta::default() });
    let (address, mac, vm) = ("10.1.0.100".into(), "52:54:00:00:00:01".into(), "web1".into());
    vec![Lease { meta, vni: 1001, address, mac, vm, ..Lease::default() }]
}

#[tonic::async_trait]
impl NetworkService for OneNetwork {
    async fn list_networks(
        &self,
        _: Request<ListNetworksRequest>,
    ) -> Result<Response<ListNetworksResponse>, Status> {
        let networks = self.0.lock().await.network.clone().into_iter().collect();
        Ok(Response::new(ListNetworksResponse { networks, ..Default::default() }))
    }

    async fn get_network(&self, request: Request<GetNetworkRequest>) -> Result<Response<Network>, Status> {
        self.named(&request.into_inner().name).await.map(Response::new)
    }

    /// Hosts of the first network are asked; of others nothing can be had.
    async fn get_network_state(
        &self,
        request: Request<GetNetworkStateRequest>,
    ) -> Result<Response<NetworkState>, Status> {
        if request.into_inner().name != "1001" {
            return Err(Status::internal("no host can be asked"));
        }
        let hv1 = HostNetworkState {
            node: "hv1".into(),
            stance: NetworkStance::Primary.into(),
            bridge: true,
            gateways: vec!["10.1.0.1".into()],
            counts: vec![RuleCount {
                direction: AclDirection::In.into(),
                rule: "ssh".into(),
                packets: 7,
                bytes: 420,
            }],
            ..HostNetworkState::default()
        };
        let problem = "it does not answer within 5 s".into();
        let hv2 = HostNetworkState { node: "hv2".into(), problem, ..HostNetworkState::default() };
        Ok(Response::new(NetworkState { hosts: vec![hv1, hv2] }))
    }

    async fn create_network(
        &self,
        request: Request<CreateNetworkRequest>,
    ) -> Result<Response<Network>, Status> {
        let CreateNetworkRequest { vni, spec, .. } = request.into_inner();
        let meta = Some(Meta { name: vni.to_string(), revision: REVISION, ..Meta::default() });
        let network = Network { meta, vni, spec, users: vec!["web1".into()], ..Network::default() };
        self.0.lock().await.network = Some(network.clone());
        Ok(Response::new(network))
    }

    async fn update_network(
        &self,
        request: Request<UpdateNetworkRequest>,
    ) -> Result<Response<Network>, Status> {
        let request = request.into_inner();
        self.change(&request.name, request.expected_revision, |network| network.spec = request.spec).await
    }

    async fn delete_network(
        &self,
        request: Request<DeleteNetworkRequest>,
    ) -> Result<Response<DeleteNetworkResponse>, Status> {
        self.named(&request.into_inner().name).await?;
        self.0.lock().await.network = None;
        Ok(Response::new(DeleteNetworkResponse {}))
    }

    type WatchNetworksStream = BoxStream<'static, Result<NetworkChange, Status>>;

    async fn watch_networks(
        &self,
        _: Request<WatchNetworksRequest>,
    ) -> Result<Response<Self::WatchNetworksStream>, Status> {
        Ok(Response::new(Box::pin(stream::empty())))
    }

    async fn add_reservation(
        &self,
        request: Request<AddReservationRequest>,
    ) -> Result<Response<Network>, Status> {
        let AddReservationRequest { network, reservation, .. } = request.into_inner();
        self.change(&network, 0, |network| network.reservations.extend(reservation)).await
    }

    async fn remove_reservation(
        &self,
        request: Request<RemoveReservationRequest>,
    ) -> Result<Response<Network>, Status> {
        let RemoveReservationRequest { network, hostname, .. } = request.into_inner();
        self.change(&network, 0, |network| network.reservations.retain(|one| one.hostname != hostname)).await
    }

    async fn add_acl_rule(&self, request: Request<AddAclRuleRequest>) -> Result<Response<Network>, Status> {
        let AddAclRuleRequest { network, rule, .. } = request.into_inner();
        self.change(&network, 0, |network| network.acl.extend(rule)).await
    }

    async fn update_acl_rule(
        &self,
        request: Request<UpdateAclRuleRequest>,
    ) -> Result<Response<Network>, Status> {
        let UpdateAclRuleRequest { network, rule, expected_revision, .. } = request.into_inner();
        self.change(&network, expected_revision, |network| network.acl = rule.into_iter().collect()).await
    }

    async fn remove_acl_rule(
        &self,
        request: Request<RemoveAclRuleRequest>,
    ) -> Result<Response<Network>, Status> {
        let RemoveAclRuleRequest { network, rule, .. } = request.into_inner();
        self.change(&network, 0, |network| network.acl.retain(|one| one.name != rule)).await
    }

    async fn replace_acl(&self, request: Request<ReplaceAclRequest>) -> Result<Response<Network>, Status> {
        let ReplaceAclRequest { network, rules, expected_revision, .. } = request.into_inner();
        self.change(&network, expected_revision, |network| network.acl = rules).await
    }

    async fn list_leases(
        &self,
        _: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesResponse>, Status> {
        Ok(Response::new(ListLeasesResponse { leases: leases(), ..Default::default() }))
    }

    async fn delete_lease(
        &self,
        request: Request<DeleteLeaseRequest>,
    ) -> Result<Response<DeleteLeaseResponse>, Status> {
        match request.into_inner().name.as_str() {
            "1001-0a010064" => Ok(Response::new(DeleteLeaseResponse {})),
            other => Err(Status::not_found(other)),
        }
    }

    type WatchLeasesStream = BoxStream<'static, Result<LeaseChange, Status>>;

    async fn watch_leases(
        &self,
        _: Request<WatchLeasesRequest>,
    ) -> Result<Response<Self::WatchLeasesStream>, Status> {
        Ok(Response::new(Box::pin(stream::empty())))
    }

    async fn get_fabric(&self, _: Request<GetFabricRequest>) -> Result<Response<FabricInfo>, Status> {
        self.fabric(|_| {}).await
    }

    async fn update_fabric(
        &self,
        request: Request<UpdateFabricRequest>,
    ) -> Result<Response<FabricInfo>, Status> {
        let UpdateFabricRequest { asn, zone_secondaries, forwarders, .. } = request.into_inner();
        self.fabric(|fabric| {
            fabric.asn = asn.unwrap_or(fabric.asn);
            if let Some(anew) = zone_secondaries {
                fabric.zone_secondaries = anew.addresses;
            }
            if let Some(anew) = forwarders {
                fabric.forwarders = anew.addresses;
            }
        })
        .await
    }

    async fn add_peer(&self, request: Request<AddPeerRequest>) -> Result<Response<FabricInfo>, Status> {
        let peer = request.into_inner().peer;
        self.fabric(|fabric| fabric.peers.extend(peer)).await
    }

    async fn remove_peer(&self, request: Request<RemovePeerRequest>) -> Result<Response<FabricInfo>, Status> {
        let name = request.into_inner().name;
        self.fabric(|fabric| fabric.peers.retain(|peer| peer.name != name)).await
    }
}

/// With a network made by these words after `network add`.
async fn with(words: &[&str]) -> (Home, String) {
    let home = Home::new();
    let nodes = NodeServiceServer::new(crate::nodes::OneNode);
    let server = tonic::transport::Server::builder()
        .add_service(NetworkServiceServer::new(OneNetwork::default()))
        .add_service(nodes);
    home.connect(&serve_with(&home, server).await).await;
    let ran = home.pvc(&[&["network", "add"], words].concat()).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    (home, ran.out)
}

const LAN: [&str; 11] = [
    "1001",
    "-d",
    "lan",
    "-n",
    "lan.example",
    "-i",
    "10.1.0.0/24",
    "-g",
    "10.1.0.1",
    "--dhcp",
    "10.1.0.100-10.1.0.199",
];

#[tokio::test]
async fn a_network_is_made_changed_shown_and_removed() {
    let (home, told) = with(&LAN).await;
    assert_eq!(told, "network/1001 (lan): made\n");
    let ran = home.pvc(&["network", "list"]).await;
    let lines: Vec<_> = ran.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let row = ["1001", "lan", "managed", "auto", "lan.example", "10.1.0.0/24", "10.1.0.1"];
    assert_eq!((&lines[0][..3], &lines[1][..7]), (&["VNI", "DESCRIPTION", "TYPE"][..], &row[..]), "{ran:?}");
    assert_eq!(home.pvc(&["network", "list", "-o", "name"]).await.out, "1001\n");

    // What is given replaces what it had, all else stays, and only if nobody changed it meanwhile.
    let modify =
        ["network", "modify", "lan", "--mtu", "1400", "--lease-time", "1h", "--ntp-server", "10.9.0.1"];
    let ran = home.pvc(&modify).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "network/1001 (lan): changed\n"), "{ran:?}");
    let ran = home.pvc(&["network", "info", "1001"]).await;
    for line in [
        "MTU:                 1400",
        "Domain:              lan.example",
        "Time servers:        10.9.0.1",
        "IPv4 DHCP:           10.1.0.100-10.1.0.199, for 1 h 0 m",
        "  vm/web1",
        "  10.1.0.100  52:54:00:00:00:01  vm/web1",
        "Seen by hv1:\n  primary: gateways, DHCP, names\n  bridge up, with 10.1.0.1\n",
        "Seen by hv2:\n  nothing is known: it does not answer within 5 s\n",
    ] {
        assert!(ran.out.contains(line), "{line:?} in {}", ran.out);
    }
    let ran =
        home.pvc(&["network", "modify", "lan", "--dhcp", "none", "--ntp-server", "none", "-o", "json"]).await;
    assert!(ran.exit == 0 && !ran.out.contains("10.1.0.199") && !ran.out.contains("10.9.0.1"), "{ran:?}");
    let ran = home.pvc(&["network", "modify", "lan", "--mtu", "auto", "--expected-revision", "6"]).await;
    assert_eq!(ran.exit, 9, "{ran:?}");
    let ran = home.pvc(&["network", "info", "wan"]).await;
    assert_eq!(ran.exit, 3, "{ran:?}");

    let ran = home.pvc(&["network", "remove", "lan"]).await;
    assert_eq!(ran.exit, 2, "there is no terminal to ask on: {ran:?}");
    let ran = home.pvc(&["network", "remove", "lan", "-y"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "network/lan removed\n"), "{ran:?}");
}

#[tokio::test]
async fn words_that_do_not_fit_are_refused_before_anything_is_asked() {
    let home = Home::new();
    for words in [
        &["1001", "-d", "lan", "--dhcp", "10.1.0.100-10.1.0.199"][..],
        &["1001", "-d", "lan", "-i", "10.1.0.0/24", "--dhcp", "10.1.0.100"],
        &["1001", "-d", "lan", "--device", "eth1"],
        &["100", "-p", "bridged", "-d", "office", "-i", "10.1.0.0/24"],
        &["lan"],
        &["1001", "-m", "large"],
    ] {
        let ran = home.pvc(&[&["network", "add"], words].concat()).await;
        assert_eq!(ran.exit, 2, "{words:?}: {ran:?}");
    }
    for words in [
        &["network", "modify", "lan"][..],
        &["network", "acl", "add", "lan", "ssh", "--in"],
        &["network", "acl", "add", "lan", "ssh", "--accept"],
        &["network", "acl", "add", "lan", "ssh", "--in", "--out", "--accept"],
        &["network", "acl", "add", "lan", "ssh", "--in", "--raw", "accept", "--port", "22"],
        &["network", "dhcp", "add", "lan", "web1", "52:54:00:00:00:01", "10.1.0.10", "10.1.0.11"],
    ] {
        let ran = home.pvc(words).await;
        assert_eq!(ran.exit, 2, "{words:?}: {ran:?}");
    }
}

#[tokio::test]
async fn a_bridged_network_has_a_device() {
    let (home, told) = with(&["100", "-p", "bridged", "-d", "office", "--device", "eth1"]).await;
    assert_eq!(told, "network/100 (office): made\n");
    let ran = home.pvc(&["network", "info", "office"]).await;
    assert!(ran.out.contains("Device:              eth1") && !ran.out.contains("Domain"), "{ran:?}");
    // Nothing is known of its hosts, and all else is shown.
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains("Seen by hosts:       not known: no host can be asked"), "{ran:?}");
}

#[tokio::test]
async fn reservations_and_leases() {
    let (home, _) = with(&LAN).await;
    let add = ["network", "dhcp", "add", "lan", "web1", "52:54:00:00:00:01", "2001:db8:1::10", "10.1.0.10"];
    let ran = home.pvc(&add).await;
    let told = "network/1001 (lan): 2001:db8:1::10 and 10.1.0.10 reserved for web1\n";
    assert_eq!((ran.exit, ran.out.as_str()), (0, told), "{ran:?}");
    let ran = home.pvc(&["network", "dhcp", "list", "lan"]).await;
    let row: Vec<&str> = ran.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["web1", "52:54:00:00:00:01", "10.1.0.10", "2001:db8:1::10"], "each in its field");
    // By an address in another spelling.
    let ran = home.pvc(&["network", "dhcp", "remove", "lan", "2001:DB8:1:0::10"]).await;
    assert_eq!(
        (ran.exit, ran.out.as_str()),
        (0, "network/1001 (lan): reservation web1 removed\n"),
        "{ran:?}"
    );
    assert_eq!(home.pvc(&["network", "dhcp", "remove", "lan", "web1"]).await.exit, 3);

    let ran = home.pvc(&["network", "lease", "list", "lan"]).await;
    let row: Vec<&str> = ran.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["1001", "10.1.0.100", "52:54:00:00:00:01", "web1"], "{ran:?}");
    let ran = home.pvc(&["network", "lease", "remove", "lan", "10.1.0.100"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "network/lan: 10.1.0.100 released\n"), "{ran:?}");
    assert_eq!(home.pvc(&["network", "lease", "remove", "lan", "10.1.0.101"]).await.exit, 3);
}

#[tokio::test]
async fn rules_are_added_changed_listed_and_loaded() {
    let (home, _) = with(&LAN).await;
    let ssh = ["network", "acl", "add", "lan", "ssh", "--in", "--protocol", "tcp", "--port", "22,8000-8080"];
    let ran = home.pvc(&[&ssh[..], &["--from", "192.0.2.0/24", "--accept", "--order", "10"]].concat()).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "network/1001 (lan): rule ssh added\n"), "{ran:?}");
    let ran = home.pvc(&["network", "acl", "modify", "lan", "ssh", "--drop", "--port", "none"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    let ran = home.pvc(&["network", "acl", "list", "lan"]).await;
    let row: Vec<&str> = ran.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["10", "ssh", "in", "drop", "tcp", "192.0.2.0/24", "any", "any", "7"], "{ran:?}");
    let ran = home.pvc(&["network", "acl", "list", "lan", "--out"]).await;
    assert_eq!(ran.out.lines().count(), 1, "none of that direction: {ran:?}");

    // What is listed as YAML is what can be loaded.
    let listed = home.pvc(&["network", "acl", "list", "lan", "-o", "yaml"]).await.out;
    let file = home.write("rules.yaml", &listed.replace("ssh", "secure-shell"));
    let ran = home.pvc(&["network", "acl", "load", "lan", &file]).await;
    let told = "network/1001 (lan): it has 1 rules now, and no others\n";
    assert_eq!((ran.exit, ran.out.as_str()), (0, told), "{ran:?}");
    assert_eq!(home.pvc(&["network", "acl", "list", "lan", "-o", "name"]).await.out, "secure-shell\n");
    let ran = home.pvc_fed(&["network", "acl", "load", "lan", "-"], "rules: [{nmae: ssh}]").await;
    assert!(ran.exit == 2 && ran.err.contains("nmae"), "{ran:?}");
    let raw =
        ["network", "acl", "modify", "lan", "secure-shell", "--raw", "tcp dport 22 accept", "-o", "json"];
    let ran = home.pvc(&raw).await;
    assert!(ran.exit == 0 && !ran.out.contains("ACL_PROTOCOL_TCP"), "a raw rule has nothing else: {ran:?}");
    assert_eq!(home.pvc(&["network", "acl", "remove", "lan", "secure-shell"]).await.exit, 0);
    assert_eq!(home.pvc(&["network", "acl", "modify", "lan", "ssh", "--drop"]).await.exit, 3);
}

#[tokio::test]
async fn peers_and_the_fabric() {
    let (home, _) = with(&LAN).await;
    let ran = home.pvc(&["network", "peer", "add", "rtr1", "192.0.2.1", "--asn", "65001"]).await;
    let told = "peer rtr1 added: 192.0.2.1 in AS 65001\n";
    assert_eq!((ran.exit, ran.out.as_str()), (0, told), "{ran:?}");
    let ran = home.pvc(&["network", "peer", "list"]).await;
    let row: Vec<&str> = ran.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["rtr1", "192.0.2.1", "65001", "yes"], "watched by BFD unless it is said otherwise");
    let set = ["network", "fabric", "set", "--asn", "65500", "--zone-secondary", "192.0.2.53"];
    assert_eq!(home.pvc(&[&set[..], &["--forwarder", "9.9.9.9"]].concat()).await.exit, 0);
    assert_eq!(home.pvc(&["network", "fabric", "set", "--forwarder", "none"]).await.exit, 0);
    let ran = home.pvc(&["network", "fabric", "info"]).await;
    for line in [
        "65500",
        "Zone secondaries:    192.0.2.53",
        "Forwarders:          none",
        "  rtr1: 192.0.2.1 in AS 65001",
    ] {
        assert!(ran.out.contains(line), "{line:?} in {}", ran.out);
    }
    assert_eq!(home.pvc(&["network", "peer", "remove", "rtr1"]).await.exit, 0);
}
