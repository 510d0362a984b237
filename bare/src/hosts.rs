//! Hosts for servers that are to be broken or measured: network namespaces on a bridge, in namespaces of this
//! process's own, so that nobody else sees them and all of them go with it. Needs root, iproute2 and util-linux.

use std::ffi::CStr;
use std::net::Ipv4Addr;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pvc_process::Cmd;

const DEADLINE: Duration = Duration::from_secs(30);

/// Where the clients are, in this process's own network; the hosts have the numbers from 1 on.
pub const DESK: u8 = 254;

pub fn address(place: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 212, 0, place)
}

/// Moves this thread, and all that it starts from now on, into namespaces of its own: of networks, and of mounts, so
/// that the names of its networks are its own too. To be called before any other thread is started.
pub fn step_aside() -> Result<()> {
    const NETWORKS: &CStr = c"/run/netns";
    std::fs::create_dir_all("/run/netns").context("/run/netns")?;
    // SAFETY: a system call without pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })?;
    let none = ptr::null();
    // SAFETY: the strings are constants that end with a zero; the other pointers may be null.
    check(unsafe { libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, ptr::null()) })?;
    let (tmpfs, data) = (c"tmpfs".as_ptr(), ptr::null());
    // SAFETY: as above.
    check(unsafe { libc::mount(tmpfs, NETWORKS.as_ptr(), tmpfs, 0, data) })
}

fn check(result: i32) -> Result<()> {
    if result != 0 {
        let error = std::io::Error::last_os_error();
        bail!("namespaces of its own are needed for the servers ({error}): run this as root");
    }
    Ok(())
}

/// The name of a host's network namespace.
pub fn name(host: u8) -> String {
    format!("machine{host}")
}

/// A command at a place.
pub fn at(place: u8, program: &str) -> Cmd {
    let cmd = Cmd::new(program);
    if place == DESK { cmd } else { cmd.in_netns(name(place)) }
}

async fn ip(args: &str) -> Result<()> {
    Cmd::new("ip").args(args.split(' ')).run(DEADLINE).await?;
    Ok(())
}

/// Makes the hosts 1 to `count`, all joined. Once, after [`step_aside`].
pub async fn make(count: u8) -> Result<()> {
    ip("link set lo up").await?;
    ip("link add hub type bridge").await?;
    ip(&format!("addr add {}/24 dev hub", address(DESK))).await?;
    ip("link set hub up").await?;
    for host in 1..=count {
        let name = name(host);
        ip(&format!("netns add {name}")).await?;
        ip(&format!("link add m{host} type veth peer name eth0 netns {name}")).await?;
        ip(&format!("link set m{host} master hub up")).await?;
        ip(&format!("-n {name} addr add {}/24 dev eth0", address(host))).await?;
        ip(&format!("-n {name} link set eth0 up")).await?;
        ip(&format!("-n {name} link set lo up")).await?;
    }
    Ok(())
}

/// Takes a host's cable out of the switch: what it sends and what is sent to it vanishes, without a word to anybody.
pub async fn unplug(host: u8) -> Result<()> {
    ip(&format!("link set m{host} nomaster")).await
}

pub async fn plug(host: u8) -> Result<()> {
    ip(&format!("link set m{host} master hub")).await
}
