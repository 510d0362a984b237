//! Two hosts with libvirt only, from nothing to nothing, with a real guest and faults between.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use pvc_identity::{Alpn, Credentials, ExpectedPeer, Identity, TlsStore};
use pvc_process::Cmd;

use crate::bench::{Bench, answers_ping, eventually, guest, nothing_is_left};
use crate::upstream;

const BOOT_LIMIT: Duration = Duration::from_secs(120);
const LOCAL: &str = "qemu:///system";
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn two_hosts_from_nothing_to_nothing() {
    let bench = Bench::new("h");
    let (kernel, initramfs) = guest().await;
    bench.local(&["up", "--hosts", "2", "--no-pvcd"]).await;
    bench.local(&["up", "--hosts", "2", "--no-pvcd"]).await;
    let differs = bench.try_local(&["up", "--hosts", "3", "--no-pvcd"]).await.unwrap_err();
    assert!(differs.to_string().contains("local down --name"), "{differs}");
    let status = bench.status().await;
    let address = |index: usize| status["hosts"][index]["address"].as_str().unwrap().to_owned();
    let (hv1, hv2) = (address(0), address(1));

    shows_the_certificate_of_its_node(&bench, &hv1).await;
    upstream::routes_are_learned_and_lost(&bench).await;
    let guest_address = boot_guest(&bench, &kernel, &initramfs, &hv1).await;
    assert!(answers_ping(&guest_address).await, "the machine reaches guests");
    moves_there_and_back_over_tls(&bench, &hv1, &hv2, &guest_address).await;

    cuts_are_silence(&bench, &hv2).await;
    a_frozen_host_stands_still(&bench).await;
    libvirtd_is_started_again_and_the_guest_runs_on(&bench).await;
    power_takes_all_but_the_disk(&bench, &hv1).await;
    bmcs_switch_their_hosts(&bench).await;

    // what a killed host and a half-removed network leave behind
    let init = bench.host(1, "init").await.as_i64().unwrap();
    let hub = format!("pvc-{}-hub", bench.name);
    let tools = [
        Cmd::new("kill").args(["-9", &init.to_string()]),
        Cmd::new("ip").args(["-n", &hub, "link", "del", "cluster"]),
    ];
    for tool in tools {
        tool.run(SOON).await.unwrap();
    }
    bench.local(&["down"]).await;
    nothing_is_left(&bench);
    bench.local(&["down"]).await;
    nothing_is_left(&bench);
    let gone = bench.try_local(&["status"]).await.unwrap_err().to_string();
    assert!(gone.contains("there is no local cluster"), "{gone}");
}

/// libvirtd of hv1, called with hv2's certificate, shows hv1's certificate of the same CA.
async fn shows_the_certificate_of_its_node(bench: &Bench, hv1: &str) {
    let credentials = Credentials::load(&bench.disk("hv2", "etc-pvc")).unwrap();
    let store = TlsStore::new(credentials, Timestamp::now()).unwrap();
    let libvirtd = format!("{hv1}:16514");
    let call = async |node: &str| {
        let peer = ExpectedPeer::Exactly(Identity::node(node).unwrap());
        store.connect(&libvirtd, &peer, Alpn::H2, Duration::from_secs(10)).await
    };
    let connection = call("hv1").await.unwrap();
    assert_eq!(connection.peer_identity().unwrap().identity.to_string(), "node/hv1");
    let error = call("hv2").await.unwrap_err();
    assert!(format!("{error:?}").contains("WrongPeer"), "{error:?}");
}

/// Live migration between the two libvirtds, peer to peer, control and memory over TLS with the cluster's
/// certificates alone: what the daemons will ask for.
async fn moves_there_and_back_over_tls(bench: &Bench, hv1: &str, hv2: &str, guest_address: &str) {
    for (from, to, address) in [("hv1", "hv2", hv2), ("hv2", "hv1", hv1)] {
        let there = format!("qemu+tls://{address}/system");
        let flags = ["--live", "--p2p", "--tls", "--unsafe"];
        let order =
            [&["exec", from, "virsh", "-q", "-c", LOCAL, "migrate", "g1"], &flags[..], &[&there]].concat();
        bench.local(&order).await;
        let listed = bench.local(&["exec", to, "virsh", "-q", "-c", LOCAL, "list", "--name"]).await;
        assert_eq!(listed.trim(), "g1", "it runs on {to}");
        assert!(answers_ping(guest_address).await, "it answers on {to}");
    }
}

/// Boots the guest on hv1 and waits for its heartbeat; gives its address.
async fn boot_guest(bench: &Bench, kernel: &Path, initramfs: &Path, hv1: &str) -> String {
    let shared = bench.state().join(&bench.name).join("shared");
    fs::copy(kernel, shared.join("vmlinuz")).unwrap();
    fs::copy(initramfs, shared.join("initramfs")).unwrap();
    // the VM network is the next after the cluster network
    let octets: Vec<u8> = hv1.split('.').map(|octet| octet.parse().unwrap()).collect();
    let address = format!("10.{}.0.101", octets[1] + 1);
    let at = "/var/lib/pvc/volumes/shared";
    let xml = format!(
        "<domain type='qemu'><name>g1</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
         <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{at}/vmlinuz</kernel><initrd>{at}/initramfs</initrd>
         <cmdline>console=ttyS0 quiet pvc.name=g1 pvc.ip={address}/24</cmdline></os><features><acpi/></features>
         <cpu mode='custom' match='exact'><model fallback='allow'>qemu64</model></cpu>
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/>
         <interface type='bridge'><source bridge='vmbr0'/><model type='virtio'/><rom enabled='no'/></interface>
         <serial type='pty'><log file='/var/log/libvirt/g1.log' append='on'/></serial></devices></domain>"
    );
    fs::write(shared.join("g1.xml"), xml).unwrap();
    let xml_at = format!("{at}/g1.xml");
    for verb in [["define", &xml_at], ["start", "g1"]] {
        let virsh = ["exec", "hv1", "virsh", "-q", "-c", "qemu:///system"];
        bench.local(&[&virsh[..], &verb].concat()).await;
    }
    eventually("the guest's heartbeat", BOOT_LIMIT, async || (beats(bench) > 0).then_some(())).await;
    let log = fs::read_to_string(bench.disk("hv1", "var-log-libvirt/g1.log")).unwrap();
    let first = log.lines().find(|line| line.contains("PVC ")).unwrap();
    assert!(first.ends_with("ready"), "the first line of the guest was {first:?}");
    address
}

/// The number of the guest's last heartbeat; 0 without any.
fn beats(bench: &Bench) -> u64 {
    let log = fs::read(bench.disk("hv1", "var-log-libvirt/g1.log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log).into_owned();
    let last =
        log.lines().rev().find_map(|line| line.split_once(" heartbeat ").map(|(_, n)| n.trim().to_owned()));
    last.and_then(|number| number.parse().ok()).unwrap_or(0)
}

async fn guest_counts_on(bench: &Bench) {
    let before = beats(bench);
    eventually("a further heartbeat", SOON, async || (beats(bench) > before).then_some(())).await;
}

/// What a BMC is ordered really happens to its host, and to no other; it lives on without its host's power.
async fn bmcs_switch_their_hosts(bench: &Bench) {
    let at = bench.host(1, "bmc_address").await.as_str().unwrap().to_owned();
    let password = bench.state().join(&bench.name).join("bmcs/hv2/password");
    let try_ask = async |words: &[&str]| {
        let cmd = Cmd::new("ipmitool").args(["-I", "lanplus", "-C", "3", "-H", &at, "-U", "ADMIN", "-f"]);
        let output = cmd.arg(&password).args(["-N", "1", "-R", "2"]).args(words).run(SOON).await;
        output.map(|output| output.stdout_text().trim().to_owned())
    };
    let ask =
        async |words: &[&str]| try_ask(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    let libvirtd = fs::read_to_string(bench.disk("hv2", "etc-libvirt/libvirtd.conf")).unwrap();
    let guid: String = ask(&["raw", "0x06", "0x37"]).await.split_whitespace().collect();
    let uuid = libvirtd.lines().find(|line| line.starts_with("host_uuid")).unwrap().replace('-', "");
    assert!(uuid.contains(&guid) && guid.len() == 32, "{guid} is to be {uuid}");

    assert_eq!(ask(&["power", "status"]).await, "Chassis Power is on");
    let is = async |power: &str, index: usize| bench.host(index, "power").await == power;
    for power in ["off", "on"] {
        ask(&["power", power]).await;
        let now = async || is(power, 1).await.then_some(());
        eventually(&format!("hv2 is {power}"), SOON, now).await;
        assert_eq!(ask(&["power", "status"]).await, format!("Chassis Power is {power}"));
        assert!(is("on", 0).await, "hv1's power is another BMC's matter");
    }
    assert!(bench.host(1, "bmc").await.is_number());
    bench.local(&["kill", "hv2", "--what", "bmc"]).await;
    assert!(bench.host(1, "bmc").await.is_null() && is("on", 1).await);
    assert!(bench.try_local(&["kill", "hv2", "--what", "bmc"]).await.is_err(), "it is dead already");
    bench.local(&["start", "hv2"]).await;
    eventually("hv2's BMC again", SOON, async || try_ask(&["power", "status"]).await.ok()).await;
}

async fn cuts_are_silence(bench: &Bench, hv2: &str) {
    let ping = async || bench.try_local(&["exec", "hv1", "ping", "-c1", "-W1", "-q", hv2]).await.is_ok();
    assert!(ping().await);
    bench.local(&["cut", "hv1", "hv2", "--net", "vm"]).await;
    assert!(ping().await, "a cut of the VM network leaves the cluster network alone");
    bench.local(&["cut", "hv2", "hv1", "--one-way", "--net", "cluster"]).await;
    assert!(!ping().await, "the answers of hv2 are dropped");
    assert!(answers_ping(hv2).await, "only what hv2 sends to hv1 is dropped");
    bench.local(&["cut", "hv2"]).await;
    assert!(!answers_ping(hv2).await, "hv2 is cut from the machine too");
    assert_eq!(bench.status().await["cuts"].as_array().unwrap().len(), 3);
    bench.local(&["heal"]).await;
    assert!(answers_ping(hv2).await && ping().await);
}

async fn a_frozen_host_stands_still(bench: &Bench) {
    bench.local(&["freeze", "hv1"]).await;
    assert_eq!(bench.host(0, "power").await, "frozen");
    let before = beats(bench);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(beats(bench), before, "the guest counted on a frozen host");
    bench.local(&["thaw", "hv1"]).await;
    guest_counts_on(bench).await;
}

async fn libvirtd_is_started_again_and_the_guest_runs_on(bench: &Bench) {
    let before = bench.host(0, "libvirtd").await;
    bench.local(&["kill", "hv1", "--what", "libvirtd"]).await;
    let again =
        async || Some(bench.host(0, "libvirtd").await).filter(|pid| pid.is_number() && *pid != before);
    eventually("libvirtd again", SOON, again).await;
    guest_counts_on(bench).await;
}

async fn power_takes_all_but_the_disk(bench: &Bench, hv1: &str) {
    fs::write(bench.disk("hv1", "var-lib-pvc/kept"), "kept").unwrap();
    bench.local(&["power", "hv1", "off"]).await;
    assert_eq!(bench.host(0, "power").await, "off");
    assert_eq!(bench.host(0, "guests").await, 0);
    assert!(!answers_ping(hv1).await);
    let refused = bench.try_local(&["exec", "hv1", "true"]).await.unwrap_err().to_string();
    assert!(refused.contains("local power hv1 on"), "{refused}");
    bench.local(&["power", "hv1", "on"]).await;
    assert!(answers_ping(hv1).await);
    assert_eq!(bench.local(&["exec", "hv1", "cat", "/var/lib/pvc/kept"]).await, "kept");
    assert_eq!(bench.local(&["exec", "hv1", "hostname"]).await.trim(), "hv1");
    let defined = async || {
        let virsh = ["exec", "hv1", "virsh", "-q", "-c", "qemu:///system", "domstate", "g1"];
        bench.try_local(&virsh).await.ok().filter(|state| state.trim() == "shut off")
    };
    eventually("the guest's definition after power-on", SOON, defined).await;
}
