//! NICs of a real guest: the libvirt adapter on libvirt's qemu driver, which runs within this process, in a network namespace
//! of the test's own. The guest has no operating system: it takes NICs at once, and lets go of none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pvc_model::Uid;
use pvc_model::network::Attachment;
use pvc_model::nic::Nic;
use pvc_model::vm::{Mac, Machine, VmSpec};
use pvc_node::hypervisor::libvirt::{Libvirt, LibvirtConfig};
use pvc_node::hypervisor::{
    GuestNic, GuestSpec, Hypervisor, HypervisorError, LiveNic, NicPort, Stamp, VirtType,
};
use pvc_process::Cmd;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const NAME: &str = "nics-of-a-real-guest";
/// As in a network namespace: none of its processes are another user's, and no cgroups are there.
const QEMU_CONF: &str = "user = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\nremember_owner = 0\n\
    security_driver = \"none\"\ncgroup_controllers = [ ]\nnamespaces = [ ]\nstdio_handler = \"file\"\n";

#[test]
fn a_real_guest_gets_and_changes_nics_while_it_runs() {
    // SAFETY: it takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: it needs root, for a network namespace");
        return;
    }
    if !Path::new("/usr/bin/qemu-system-x86_64").exists() {
        eprintln!("skipped: there is no qemu here");
        return;
    }
    // A thread of its own, which ends with the namespace; libvirt's are begun from it and are in it too.
    let body = || {
        // SAFETY: it takes a number.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "a network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(with_both_machines());
    };
    std::thread::Builder::new().spawn(body).expect("a thread").join().expect("it went well");
}

async fn with_both_machines() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join("etc")).expect("a directory");
    std::fs::write(home.path().join("etc/qemu.conf"), QEMU_CONF).expect("written");
    let _plug = Plug(home.path().join(format!("run/qemu/{NAME}.pid")));
    let uri = format!("qemu:///embed?root={}", home.path().display());
    let libvirt = Libvirt::new(LibvirtConfig { uri, ..LibvirtConfig::default() });
    for bridge in ["br7", "br8"] {
        ip(&["link", "add", bridge, "type", "bridge"]).await;
        ip(&["link", "set", bridge, "up"]).await;
    }
    assert!(libvirt.has_bridge("br7") && !libvirt.has_bridge("br9"));
    for machine in [Machine::Pc, Machine::Q35] {
        nics_come_and_change(&libvirt, home.path(), machine).await;
    }
}

async fn nics_come_and_change(libvirt: &Libvirt, home: &Path, machine: Machine) {
    let first = nic("br7", 1);
    let spec = guest(home, machine, first.clone());
    let uid = spec.uid;
    libvirt.start(&spec).await.expect("started");
    let has = async || libvirt.nics(uid).await.expect("told");
    let ours = |port: &NicPort| LiveNic { port: port.clone(), ours: true };
    assert_eq!(has().await, [ours(&first.port)], "libvirt keeps the device's name");
    assert_eq!(ports("br7").await, ["nic525400000001"]);

    let mut second = GuestNic { mtu: Some(1400), ..nic("br7", 2) };
    second.port.link_up = false;
    for _ in 0..2 {
        libvirt.attach_nic(uid, &second).await.expect("attached");
        assert_eq!(has().await, [ours(&first.port), ours(&second.port)]);
    }
    assert_eq!(ports("br7").await, ["nic525400000001", "nic525400000002"]);

    let moved = NicPort { bridge: "br8".to_owned(), link_up: true, ..second.port.clone() };
    for _ in 0..2 {
        libvirt.update_nic(uid, &moved).await.expect("changed");
        assert_eq!(has().await, [ours(&first.port), ours(&moved)]);
    }
    assert_eq!((ports("br7").await.len(), ports("br8").await), (1, vec!["nic525400000002".to_owned()]));

    let nowhere = NicPort { bridge: "br9".to_owned(), ..moved.clone() };
    let refused = libvirt.update_nic(uid, &nowhere).await.expect_err("there is no such bridge");
    assert!(
        matches!(&refused, HypervisorError::Refused { detail, .. } if detail.contains("br9")),
        "{refused}"
    );
    let refused = libvirt.attach_nic(uid, &nic("br9", 3)).await.expect_err("there is no such bridge");
    assert!(matches!(&refused, HypervisorError::Refused { .. }), "{refused}");
    let refused = libvirt.update_nic(uid, &nic("br7", 4).port).await.expect_err("it has no such NIC");
    assert!(matches!(&refused, HypervisorError::Refused { .. }), "{refused}");
    assert_eq!(has().await, [ours(&first.port), ours(&moved)], "what was refused changed nothing");

    // All that it may have: a q35 machine has ports to spare for them.
    for last in 3..=16 {
        libvirt.attach_nic(uid, &nic("br7", last)).await.unwrap_or_else(|error| panic!("{last}: {error}"));
    }
    libvirt.detach_nic(uid, Mac([0x52, 0x54, 0, 0, 0, 99])).await.expect("it has none");
    libvirt.detach_nic(uid, moved.mac).await.expect("asked to let go");
    assert!(has().await.contains(&ours(&moved)), "it is gone when it is not shown any more");

    libvirt.power_off(uid).await.expect("off");
    assert_eq!((ports("br7").await.len(), ports("br8").await.len()), (0, 0));
}

fn nic(bridge: &str, last: u8) -> GuestNic {
    let nic =
        Nic { mac: Some(Mac([0x52, 0x54, 0, 0, 0, last])), ..Nic::new(Attachment::Bridge(bridge.into())) };
    GuestNic::of(&nic, None).expect("it has an address")
}

fn guest(home: &Path, machine: Machine, nic: GuestNic) -> GuestSpec {
    GuestSpec {
        uid: Uid::from_random(0x0071_c500),
        name: NAME.parse().expect("a name"),
        stamp: Stamp { epoch: 1, boot_generation: 1, spec_generation: 1 },
        spec: VmSpec { machine, ..VmSpec::new(1, 32) },
        disks: Vec::new(),
        nics: vec![nic],
        console_log: home.join("console.log"),
        virt_type: VirtType::Qemu,
    }
}

/// The devices that are ports of a bridge, by name.
async fn ports(bridge: &str) -> Vec<String> {
    let shown = ip(&["-j", "link", "show", "master", bridge]).await;
    let shown: Value = serde_json::from_str(if shown.is_empty() { "[]" } else { &shown }).expect("JSON");
    let name = |link: &Value| link["ifname"].as_str().map(str::to_owned);
    let mut names: Vec<String> = shown.as_array().expect("a list").iter().filter_map(name).collect();
    names.sort();
    names
}

async fn ip(words: &[&str]) -> String {
    let output = Cmd::new("ip").args(words).run(SOON).await;
    output.unwrap_or_else(|error| panic!("ip {words:?}: {error}")).stdout_text().trim().to_owned()
}

/// Ends the guest's emulator, whatever became of the test. The file that names it goes with it.
struct Plug(PathBuf);

impl Drop for Plug {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(&self.0).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid {
            // SAFETY: it takes numbers.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}
