//! The little guest: Debian's cloud kernel and a file system in memory made of busybox and a DHCPv6 client, built in seconds.
//!
//! Its packages are fetched and unpacked, never installed. It boots under plain emulation, answers ping, counts aloud on
//! its console, and can be told to crash: a real guest for tests and demos. What it does is in `guest/init`.

mod cpio;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::durable_file::{self, FileError};
use crate::tool::{self, ToolError};

/// File name of the kernel in the output directory.
pub const KERNEL: &str = "vmlinuz";
/// File name of the first file system in the output directory.
pub const INITRAMFS: &str = "initramfs.cpio";

const INIT: &[u8] = include_bytes!("../../guest/init");
const DHCLIENT6_SCRIPT: &[u8] = include_bytes!("../../guest/dhclient6.script");
const UDHCPC_SCRIPT: &[u8] = include_bytes!("../../guest/udhcpc.script");
const MANIFEST: &str = "guest.toml";
/// Changes whenever the same packages and scripts would give other files.
const BUILDER: u32 = 2;
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";
const BUSYBOX_PACKAGE: &str = "busybox-static";
/// busybox has no DHCPv6 client; this one needs nothing but libc.
const DHCLIENT_PACKAGE: &str = "isc-dhcp-client";
const LIBC_PACKAGE: &str = "libc6";
/// Where dhclient looks for libc's files, and their names in the package.
const LIBC_FILES: [(&str, &str); 2] =
    [("lib64", "ld-linux-x86-64.so.2"), ("lib/x86_64-linux-gnu", "libc.so.6")];
/// In the order in which they can be loaded: there is no depmod in the guest.
const MODULES: [&str; 17] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "virtio_console",
    "virtio_balloon",
    "virtio-rng",
    "qemu_fw_cfg",
    "button",
    "evdev",
    "pvpanic",
    "pvpanic-mmio",
];
const APT_LIMIT: Duration = Duration::from_secs(300);
const UNPACK_LIMIT: Duration = Duration::from_secs(120);
const QUERY_LIMIT: Duration = Duration::from_secs(30);

/// Why the guest could not be built.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    #[error("apt knows no package {package}; `apt-get update` fetches the lists")]
    UnknownPackage { package: &'static str },
    #[error("package {package} has no {what}: another layout than Debian 12's")]
    Layout { package: String, what: String },
    #[error("could not fetch the guest's packages; if the lists are old, `apt-get update` renews them")]
    Fetch(#[source] ToolError),
    #[error("could not read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Where a built guest is, and whether it had to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    out: PathBuf,
    /// False: a finished build with the same inputs was there.
    pub built: bool,
}

/// What a build was made of; written last, so that its presence says that the build is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    builder: u32,
    /// Hash of the scripts inside.
    scripts: String,
    kernel: String,
    busybox: String,
    dhclient: String,
    libc: String,
}

/// Builds the guest into `out`, or takes the build that is there if it has the same inputs. Without apt's lists a build
/// with this program's scripts is taken whatever its packages' versions are.
pub async fn build(out: &Path) -> Result<Guest, GuestError> {
    let mut guest = at(out)?;
    let have = finished(&guest)?;
    let wanted = match wanted().await {
        Ok(wanted) => wanted,
        Err(_) if have.as_ref().is_some_and(Manifest::has_these_scripts) => return Ok(guest),
        Err(error) => return Err(error),
    };
    if have.as_ref() == Some(&wanted) {
        return Ok(guest);
    }
    make(&guest, &wanted).await?;
    guest.built = true;
    Ok(guest)
}

/// Builds the guest into `out` unless there is one with this program's scripts, whatever its packages' versions are.
pub async fn build_if_missing(out: &Path) -> Result<Guest, GuestError> {
    let guest = at(out)?;
    match finished(&guest)? {
        Some(have) if have.has_these_scripts() => Ok(guest),
        _ => build(out).await,
    }
}

/// A guest in this folder, which is made if need be; as yet it may not be there.
fn at(out: &Path) -> Result<Guest, GuestError> {
    durable_file::make_directory(out, 0o755)?;
    let out = fs::canonicalize(out).map_err(|source| GuestError::Read { path: out.to_owned(), source })?;
    Ok(Guest { kernel: out.join(KERNEL), initramfs: out.join(INITRAMFS), out, built: false })
}

fn finished(guest: &Guest) -> Result<Option<Manifest>, GuestError> {
    let text = durable_file::read_text_if_there(&guest.out.join(MANIFEST))?;
    let whole = guest.kernel.exists() && guest.initramfs.exists();
    Ok(text.filter(|_| whole).and_then(|text| toml::from_str(&text).ok()))
}

impl Manifest {
    fn has_these_scripts(&self) -> bool {
        self.builder == BUILDER && self.scripts == scripts_hash()
    }
}

fn scripts_hash() -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [INIT, UDHCPC_SCRIPT, DHCLIENT6_SCRIPT] {
        hasher.update(&part.len().to_le_bytes());
        hasher.update(part);
    }
    for module in MODULES {
        hasher.update(module.as_bytes()).update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

async fn wanted() -> Result<Manifest, GuestError> {
    let depends = tool::run("apt-cache", &["depends", KERNEL_PACKAGE], QUERY_LIMIT).await?;
    let kernel = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .ok_or(GuestError::UnknownPackage { package: KERNEL_PACKAGE })?
        .to_owned();
    Ok(Manifest {
        builder: BUILDER,
        scripts: scripts_hash(),
        kernel: versioned(&kernel, KERNEL_PACKAGE).await?,
        busybox: versioned(BUSYBOX_PACKAGE, BUSYBOX_PACKAGE).await?,
        dhclient: versioned(DHCLIENT_PACKAGE, DHCLIENT_PACKAGE).await?,
        libc: versioned(LIBC_PACKAGE, LIBC_PACKAGE).await?,
    })
}

/// `NAME=VERSION` of the package's candidate, as apt-get takes it.
async fn versioned(name: &str, package: &'static str) -> Result<String, GuestError> {
    let policy = tool::run("apt-cache", &["policy", name], QUERY_LIMIT).await?;
    policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))
        .filter(|version| *version != "(none)")
        .map(|version| format!("{name}={version}"))
        .ok_or(GuestError::UnknownPackage { package })
}

async fn make(guest: &Guest, manifest: &Manifest) -> Result<(), GuestError> {
    let out = &guest.out;
    let _ = fs::remove_file(out.join(MANIFEST));
    let work = out.join(format!(".build-{}", std::process::id()));
    durable_file::make_directory(&work, 0o755)?;
    let done = make_in(&work, guest, manifest).await;
    let _ = fs::remove_dir_all(&work);
    done?;
    let text = toml::to_string(manifest).expect("the manifest has only texts and a number");
    Ok(durable_file::write(&out.join(MANIFEST), text.as_bytes(), 0o644)?)
}

async fn make_in(work: &Path, guest: &Guest, manifest: &Manifest) -> Result<(), GuestError> {
    // as root apt would drop to a user who may not write here
    let packages =
        [&manifest.kernel, &manifest.busybox, &manifest.dhclient, &manifest.libc].map(String::as_str);
    let args = [&["-o", "APT::Sandbox::User=root", "download", "-q"], &packages[..]].concat();
    tool::run_in(work, "apt-get", &args, APT_LIMIT).await.map_err(GuestError::Fetch)?;
    let kernel_files = unpack(work, &manifest.kernel).await?;
    let busybox_files = unpack(work, &manifest.busybox).await?;

    let kernel = find(&kernel_files.join("boot"), &|path| name_of(path).starts_with("vmlinuz-"))?
        .ok_or_else(|| layout(&manifest.kernel, "boot/vmlinuz-*"))?;
    durable_file::write(&guest.kernel, &read(&kernel)?, 0o644)?;

    let busybox = find(&busybox_files, &|path| path.ends_with("bin/busybox"))?
        .ok_or_else(|| layout(&manifest.busybox, "busybox"))?;
    let mut archive = cpio::Archive::default();
    for name in [
        "bin",
        "dev",
        "etc",
        "etc/acpi",
        "lib",
        "lib/x86_64-linux-gnu",
        "lib64",
        "mod",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "www",
    ] {
        archive.directory(name);
    }
    archive.file("init", 0o755, INIT);
    archive.file("etc/udhcpc.script", 0o755, UDHCPC_SCRIPT);
    archive.file("etc/dhclient6.script", 0o755, DHCLIENT6_SCRIPT);
    archive.file("bin/busybox", 0o755, &read(&busybox)?);
    let applets = tool::run(&busybox.to_string_lossy(), &["--list"], QUERY_LIMIT).await?;
    for applet in applets.lines().filter(|name| !name.is_empty() && *name != "busybox") {
        archive.symlink(&format!("bin/{applet}"), "busybox");
    }
    add_dhclient(work, manifest, &mut archive).await?;
    let modules = kernel_files.join("lib/modules");
    for name in MODULES {
        let file = format!("{name}.ko");
        let path =
            find(&modules, &|path| name_of(path) == file)?.ok_or_else(|| layout(&manifest.kernel, &file))?;
        archive.file(&format!("mod/{file}"), 0o644, &read(&path)?);
    }
    archive.file("mod/order", 0o644, (MODULES.join("\n") + "\n").as_bytes());
    Ok(durable_file::write(&guest.initramfs, &archive.finish(), 0o644)?)
}

/// The DHCPv6 client and the parts of libc that it needs.
async fn add_dhclient(
    work: &Path,
    manifest: &Manifest,
    archive: &mut cpio::Archive,
) -> Result<(), GuestError> {
    let files = unpack(work, &manifest.dhclient).await?;
    let program = find(&files, &|path| path.ends_with("sbin/dhclient"))?
        .ok_or_else(|| layout(&manifest.dhclient, "sbin/dhclient"))?;
    archive.file("bin/dhclient", 0o755, &read(&program)?);
    let libc = unpack(work, &manifest.libc).await?;
    for (folder, name) in LIBC_FILES {
        let path = find(&libc, &|path| name_of(path) == name)?.ok_or_else(|| layout(&manifest.libc, name))?;
        archive.file(&format!("{folder}/{name}"), 0o755, &read(&path)?);
    }
    Ok(())
}

fn layout(package: &str, what: &str) -> GuestError {
    GuestError::Layout { package: package.to_owned(), what: what.to_owned() }
}

fn read(path: &Path) -> Result<Vec<u8>, GuestError> {
    fs::read(path).map_err(|source| GuestError::Read { path: path.to_owned(), source })
}

/// Unpacks the one fetched package of this `NAME=VERSION` and returns where.
async fn unpack(work: &Path, versioned: &str) -> Result<PathBuf, GuestError> {
    let name = versioned.split('=').next().unwrap_or(versioned);
    let prefix = format!("{name}_");
    let package = find(work, &|path| name_of(path).starts_with(&prefix) && name_of(path).ends_with(".deb"))?
        .ok_or_else(|| layout(versioned, "file that apt-get download wrote"))?;
    let to = work.join(name);
    let args = ["-x", &*package.to_string_lossy(), &*to.to_string_lossy()];
    tool::run("dpkg-deb", &args, UNPACK_LIMIT).await?;
    Ok(to)
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("")
}

/// The first file below `dir`, in no particular order, that is wanted.
fn find(dir: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<Option<PathBuf>, GuestError> {
    let fail = |source| GuestError::Read { path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let kind = entry.file_type().map_err(fail)?;
        if kind.is_dir() {
            if let Some(found) = find(&entry.path(), wanted)? {
                return Ok(Some(found));
            }
        } else if kind.is_file() && wanted(&entry.path()) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_counts_as_finished_only_when_whole() {
        let dir = tempfile::tempdir().unwrap();
        let guest = at(dir.path()).unwrap();
        let manifest = Manifest {
            builder: BUILDER,
            scripts: scripts_hash(),
            kernel: "k=1".to_owned(),
            busybox: "b=1".to_owned(),
            dhclient: "d=1".to_owned(),
            libc: "l=1".to_owned(),
        };
        let text = toml::to_string(&manifest).unwrap();
        fs::write(dir.path().join(MANIFEST), text).unwrap();
        fs::write(&guest.kernel, "k").unwrap();
        assert_eq!(finished(&guest).unwrap(), None);
        fs::write(&guest.initramfs, "i").unwrap();
        assert_eq!(finished(&guest).unwrap(), Some(manifest));
        fs::write(dir.path().join(MANIFEST), "half").unwrap();
        assert_eq!(finished(&guest).unwrap(), None);
    }

    #[test]
    fn the_guests_first_words_are_those_that_tests_wait_for() {
        let init = std::str::from_utf8(INIT).unwrap();
        let first = init.lines().find(|line| line.starts_with("say ")).expect("it says something");
        assert_eq!(first, "say ready");
        assert!(init.contains("say heartbeat $n"));
    }
}
