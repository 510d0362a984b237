//! The disk of a local host: its private folders with the settings of its libvirtd, made before its first power-on.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::init::{PRIVATE_DIRS, SHARED_DIR};
use super::plan::HostName;
use super::state::{ClusterDir, ClusterState, StateError};
use crate::durable_file;

/// Lays out what is missing on the host's disk and writes its settings anew. What the host itself wrote stays.
pub fn prepare(dir: &ClusterDir, state: &ClusterState, host: HostName) -> Result<(), StateError> {
    let disk = dir.host(host);
    let uuid = &state.host(host)?.uuid;
    for at in PRIVATE_DIRS {
        durable_file::make_directory(&disk.of(at), 0o755)?;
    }
    let shared_at =
        SHARED_DIR.strip_prefix("/var/lib/pvc/").expect("the shared folder is below /var/lib/pvc");
    durable_file::make_directory(&disk.of("/var/lib/pvc").join(shared_at), 0o755)?;
    durable_file::make_directory(&dir.shared(), 0o755)?;
    let address = state.addresses().host(host).to_string();
    let etc = disk.of("/etc/libvirt");
    for (name, text) in [
        ("libvirtd.conf", libvirtd_conf(uuid, &address)),
        ("qemu.conf", qemu_conf(&address)),
        ("virtlogd.conf", VIRTLOGD_CONF.to_owned()),
    ] {
        durable_file::write(&etc.join(name), text.as_bytes(), 0o644)?;
    }
    // FRRouting's own configuration is pvcd's matter; this is for people who type `vtysh`
    let vtysh = disk.of("/etc/frr").join("vtysh.conf");
    durable_file::write(&vtysh, b"service integrated-vtysh-config\n", 0o644)?;
    let hosts = disk.of("/etc/hosts");
    durable_file::write(&hosts, hosts_file(state).as_bytes(), 0o644)?;
    borrow_probes(dir, state, host);
    Ok(())
}

/// libvirtd asks the qemu binary for many facts at its first start (4 to 9 s here). Another host of this machine
/// may have the answers already; without them nothing is wrong, only slower.
fn borrow_probes(dir: &ClusterDir, state: &ClusterState, host: HostName) {
    let probes = |host: HostName| dir.host(host).of("/var/cache/libvirt").join("qemu/capabilities");
    let mine = probes(host);
    if mine.exists() {
        return;
    }
    let other = state
        .hosts
        .iter()
        .map(|other| probes(other.name))
        .find(|other| fs::read_dir(other).is_ok_and(|mut entries| entries.next().is_some()));
    if let Some(other) = other {
        let _ = copy_files(&other, &mine);
    }
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // whole or not at all: libvirtd might read while we write
        let beside = to.join(".copied");
        fs::copy(entry.path(), &beside)?;
        fs::rename(&beside, to.join(entry.file_name()))?;
    }
    Ok(())
}

fn hosts_file(state: &ClusterState) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
    for host in &state.hosts {
        // writing to a String cannot fail
        let _ = writeln!(text, "{} {}", state.addresses().host(host.name), host.name);
    }
    text
}

/// Nothing listens without the cluster's certificates; the unix socket is root's.
fn libvirtd_conf(uuid: &str, address: &str) -> String {
    format!(
        r#"# written by pvc-bootstrap local at each power-on
host_uuid = "{uuid}"
listen_addr = "{address}"
listen_tls = 1
listen_tcp = 0
auth_tls = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"#
    )
}

/// As Debian's defaults, less what needs systemd's control groups or a security module.
fn qemu_conf(address: &str) -> String {
    format!(
        r#"# written by pvc-bootstrap local at each power-on
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
seccomp_sandbox = 0
stdio_handler = "logd"
migration_address = "{address}"
migration_host = "{address}"
vnc_listen = "127.0.0.1"
default_tls_x509_verify = 1
migrate_tls_x509_verify = 1
"#
    )
}

const VIRTLOGD_CONF: &str = r#"# written by pvc-bootstrap local at each power-on
log_outputs = "3:file:/var/log/libvirt/virtlogd.log"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_laid_out_again_without_losing_what_the_host_wrote() {
        let root = tempfile::tempdir().unwrap();
        let dir = ClusterDir::new(root.path(), "local".parse().unwrap()).unwrap();
        let state = ClusterState::new("local".parse().unwrap(), 1, 2, 1, "/x".into());
        let host = state.hosts[1].name;
        prepare(&dir, &state, host).unwrap();
        let disk = dir.host(host);
        let kept = disk.of("/etc/pvc").join("node.crt");
        fs::write(&kept, "certificate").unwrap();
        fs::write(disk.of("/etc/libvirt").join("libvirtd.conf"), "spoilt").unwrap();
        prepare(&dir, &state, host).unwrap();
        assert_eq!(fs::read_to_string(kept).unwrap(), "certificate");
        let conf = fs::read_to_string(disk.of("/etc/libvirt").join("libvirtd.conf")).unwrap();
        assert!(conf.contains(&format!("host_uuid = \"{}\"", state.hosts[1].uuid)));
        assert!(conf.contains("listen_addr = \"10.102.0.12\"") && conf.contains("listen_tcp = 0"));
        let hosts = fs::read_to_string(disk.of("/etc/hosts")).unwrap();
        assert!(hosts.contains("10.102.0.11 hv1\n10.102.0.12 hv2\n"));
    }

    #[test]
    fn probes_of_another_host_are_borrowed_once() {
        let root = tempfile::tempdir().unwrap();
        let dir = ClusterDir::new(root.path(), "local".parse().unwrap()).unwrap();
        let state = ClusterState::new("local".parse().unwrap(), 1, 2, 1, "/x".into());
        let probes = |host: HostName| dir.host(host).of("/var/cache/libvirt").join("qemu/capabilities");
        fs::create_dir_all(probes(state.hosts[0].name)).unwrap();
        fs::write(probes(state.hosts[0].name).join("abc.xml"), "facts").unwrap();
        let mine = probes(state.hosts[1].name);
        prepare(&dir, &state, state.hosts[1].name).unwrap();
        assert_eq!(fs::read_to_string(mine.join("abc.xml")).unwrap(), "facts");
        fs::write(mine.join("abc.xml"), "own").unwrap();
        prepare(&dir, &state, state.hosts[1].name).unwrap();
        assert_eq!(fs::read_to_string(mine.join("abc.xml")).unwrap(), "own");
    }
}
