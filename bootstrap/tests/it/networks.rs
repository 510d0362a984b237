//! A client network on three hosts, from its definition to its removal: a guest gets its addresses, is known by its name, and is
//! reached from outside through whichever host is the primary.

use std::time::Duration;

use pvc_client::{Client, Connections, request_id};
use pvc_process::Cmd;
use pvc_proto::v1::{
    AddPeerRequest, CreateNetworkRequest, CreateVmRequest, DeleteNetworkRequest, DeleteVmRequest, DhcpRange,
    DirectBoot, GetClusterStatusRequest, HandOverPrimaryRequest, ListLeasesRequest, ManagedNetwork,
    NetworkSpec, Nic, Peer, StartVmRequest, StopVmRequest, Subnet, Task, VmSpec,
};

use crate::bench::{Bench, eventually};

const SOON: Duration = Duration::from_secs(30);
/// A guest boots without KVM, and then asks DHCP.
const BOOTED: Duration = Duration::from_secs(120);
const HOSTS: [&str; 3] = ["hv1", "hv2", "hv3"];
const VM: &str = "net1";
const VNI: u32 = 1001;
const DOMAIN: &str = "lan.test";
const SUBNETS: [&str; 2] = ["10.10.1.0/24", "fd10:1::/64"];
const GATEWAYS: [&str; 2] = ["10.10.1.1", "fd10:1::1"];

struct Seen<'a> {
    bench: &'a Bench,
    client: Client,
    status: serde_json::Value,
}

impl Seen<'_> {
    /// Addresses that the guest was lent, IPv4 first, once it has one of each family.
    async fn lent(&self) -> Option<Vec<String>> {
        let request = ListLeasesRequest { network: VNI.to_string(), ..ListLeasesRequest::default() };
        let leases = self.client.networks().list_leases(request).await.ok()?.into_inner().leases;
        let own = leases.into_iter().filter(|lease| lease.hostname == VM);
        let mut addresses: Vec<String> = own.map(|lease| lease.address).collect();
        addresses.sort_by_key(|address| address.contains(':'));
        (addresses.len() == 2).then_some(addresses)
    }

    /// Whether the world behind the router reaches an address.
    async fn reached(&self, address: &str) -> bool {
        let router = format!("pvc-{}-router", self.bench.name);
        let ping = Cmd::new("ping").args(["-c1", "-W1", "-q", address]).in_netns(router);
        ping.run(SOON).await.is_ok()
    }

    async fn all_reached(&self, addresses: &[String], what: &str) {
        for address in addresses {
            eventually(&format!("{address} {what}"), SOON, async || {
                self.reached(address).await.then_some(())
            })
            .await;
        }
    }

    /// Hosts from which the router has learned the way to the IPv4 subnet.
    async fn announcers(&self) -> usize {
        let socket = format!("/run/pvc-{}-router", self.bench.name);
        let show = format!("show bgp ipv4 unicast {} json", SUBNETS[0]);
        let out = Cmd::new("vtysh").args(["--vty_socket", &socket, "-c", &show]).run(SOON).await;
        let text = out.map(|out| out.stdout_text().into_owned()).unwrap_or_default();
        let known: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        known["paths"].as_array().map_or(0, Vec::len)
    }

    async fn dig(&self, server: &str, question: &[&str]) -> String {
        let server = format!("@{server}");
        let order = [&["exec", "hv1", "dig", "+short", "+time=2", &server], question].concat();
        self.bench.try_local(&order).await.unwrap_or_default().trim().to_owned()
    }

    async fn primary(&self) -> String {
        let status = self.client.cluster().get_cluster_status(GetClusterStatusRequest {}).await;
        status.map(|status| status.into_inner().primary.unwrap_or_default().node).unwrap_or_default()
    }

    async fn succeed(&self, task: Task) {
        let name = task.meta.unwrap_or_default().name;
        self.client.follow_task(&name, |_| ()).await.unwrap();
    }
}

pub async fn carry_a_guest(bench: &Bench) {
    let connections = Connections::read(&bench.connections()).unwrap();
    let client = Client::new(&connections.connections[&bench.name]).unwrap();
    let seen = Seen { bench, client, status: bench.status().await };
    define(&seen).await;
    eventually("its announcement by all hosts", SOON, async || {
        (seen.announcers().await == HOSTS.len()).then_some(())
    })
    .await;
    start_guest(&seen).await;
    let addresses = eventually("addresses that the guest was lent", BOOTED, async || seen.lent().await).await;
    seen.all_reached(&addresses, "from outside").await;
    it_has_its_name(&seen, &addresses).await;
    all_is_the_same_with_another_primary(&seen, &addresses).await;
    it_is_not_removed_under_a_guest(&seen).await;
    remove(&seen).await;
}

async fn define(seen: &Seen<'_>) {
    let router = &seen.status["router"];
    // each family's routes go by a session of its own
    for (name, address) in [("outside", "address"), ("outside6", "address_v6")] {
        let peer = Peer {
            name: name.to_owned(),
            address: router[address].as_str().unwrap().to_owned(),
            asn: u32::try_from(router["asn"].as_u64().unwrap()).unwrap(),
            bfd: true,
        };
        let request = AddPeerRequest { peer: Some(peer), request_id: request_id() };
        seen.client.networks().add_peer(request).await.unwrap();
    }
    let subnet = |family: usize, first: &str, last: &str| Subnet {
        subnet: SUBNETS[family].to_owned(),
        gateway: GATEWAYS[family].to_owned(),
        dhcp: Some(DhcpRange { first: first.to_owned(), last: last.to_owned(), lease_seconds: 0 }),
    };
    let managed = ManagedNetwork {
        domain: DOMAIN.to_owned(),
        ipv4: Some(subnet(0, "10.10.1.100", "10.10.1.199")),
        ipv6: Some(subnet(1, "fd10:1::100", "fd10:1::1ff")),
        ..ManagedNetwork::default()
    };
    let spec =
        NetworkSpec { description: "lan".to_owned(), managed: Some(managed), ..NetworkSpec::default() };
    let request = CreateNetworkRequest { vni: VNI, spec: Some(spec), request_id: request_id() };
    seen.client.networks().create_network(request).await.unwrap();
}

async fn start_guest(seen: &Seen<'_>) {
    let at = |name: &str| format!("/var/lib/pvc/volumes/shared/guest/{name}");
    let boot = DirectBoot {
        kernel: at("vmlinuz"),
        initrd: at("initramfs.cpio"),
        cmdline: format!("console=ttyS0 quiet pvc.name={VM} pvc.dhcp6"),
    };
    let spec = VmSpec {
        vcpus: 1,
        memory_mib: 128,
        nics: vec![Nic { network: VNI.to_string(), ..Nic::default() }],
        boot: Some(boot),
        ..VmSpec::default()
    };
    let name = VM.to_owned();
    let request =
        CreateVmRequest { name, spec: Some(spec), request_id: request_id(), ..CreateVmRequest::default() };
    seen.client.vms().create_vm(request).await.unwrap();
    let name = VM.to_owned();
    let request = StartVmRequest { name, request_id: request_id(), ..StartVmRequest::default() };
    let task = seen.client.vms().start_vm(request).await.unwrap().into_inner();
    seen.succeed(task).await;
}

/// Every coordinator answers, whichever is the primary.
async fn it_has_its_name(seen: &Seen<'_>, addresses: &[String]) {
    let name = format!("{VM}.{DOMAIN}");
    for host in seen.status["hosts"].as_array().unwrap() {
        let server = host["address"].as_str().unwrap();
        for (kind, address) in ["A", "AAAA"].into_iter().zip(addresses) {
            eventually(&format!("{server}'s answer for {name} {kind}"), SOON, async || {
                (seen.dig(server, &[&name, kind]).await == *address).then_some(())
            })
            .await;
            assert_eq!(seen.dig(server, &["-x", address]).await, format!("{name}."), "{server} {address}");
        }
    }
}

async fn all_is_the_same_with_another_primary(seen: &Seen<'_>, addresses: &[String]) {
    for _ in HOSTS {
        let old = seen.primary().await;
        let place = HOSTS.iter().position(|host| *host == old).expect("one of the hosts is the primary");
        let node = HOSTS[(place + 1) % HOSTS.len()].to_owned();
        let request =
            HandOverPrimaryRequest { node: node.clone(), request_id: request_id(), ..Default::default() };
        seen.client.cluster().hand_over_primary(request).await.unwrap();
        seen.all_reached(addresses, &format!("when {node} is the primary")).await;
        assert_eq!(seen.lent().await.as_deref(), Some(addresses), "with {node}");
    }
}

async fn it_is_not_removed_under_a_guest(seen: &Seen<'_>) {
    let refused = seen.client.networks().delete_network(delete()).await.unwrap_err();
    assert!(refused.message().contains(VM), "{refused:?}");
}

fn delete() -> DeleteNetworkRequest {
    DeleteNetworkRequest {
        name: VNI.to_string(),
        request_id: request_id(),
        ..DeleteNetworkRequest::default()
    }
}

/// Nothing of it is left on any host.
async fn remove(seen: &Seen<'_>) {
    let name = VM.to_owned();
    let request = StopVmRequest { name: name.clone(), request_id: request_id() };
    let task = seen.client.vms().stop_vm(request).await.unwrap().into_inner();
    seen.succeed(task).await;
    let request = DeleteVmRequest { name, request_id: request_id(), ..DeleteVmRequest::default() };
    let task = seen.client.vms().delete_vm(request).await.unwrap().into_inner();
    seen.succeed(task).await;
    seen.client.networks().delete_network(delete()).await.unwrap();
    for host in HOSTS {
        eventually(&format!("no device of the network on {host}"), SOON, async || {
            let links = seen.bench.local(&["exec", host, "ip", "-br", "link"]).await;
            (!links.contains(&format!("vmbr{VNI} ")) && !links.contains(&format!("vxlan{VNI} ")))
                .then_some(())
        })
        .await;
    }
    eventually("no way to it on the router", SOON, async || (seen.announcers().await == 0).then_some(()))
        .await;
}
