//! The upstream router: what a site has before the cluster. A network namespace with real FRRouting, which takes routes from
//! every host that speaks BGP to it, and with a place behind it that guests can reach and call by its name.
//!
//! It takes all that it is told: a cluster that announces what is not its own is to be found out by looking here.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::time::Duration;

use pvc_process::{Cmd, CmdError, DaemonLogs};
use tokio::time::{Instant, sleep};

use super::frr::{self, FrrUserError};
use super::plan::{AddressPlan, ClusterName, Net};
use super::processes::{self, Process};
use super::state::ClusterState;
use super::wiring;
use crate::durable_file::{self, FileError};
use crate::tool::ToolError;

/// Its autonomous system.
pub const ASN: u32 = 64_999;
/// The place behind it, one of those kept for documentation (RFC 5737, RFC 3849).
pub const BEHIND: [&str; 2] = ["198.51.100.1/24", "2001:db8:c6::1/64"];
const BEHIND_V4: (&str, &str) = ("198.51.100.1", "198.51.100.0/24");
const BEHIND_V6: (&str, &str) = ("2001:db8:c6::1", "2001:db8:c6::/64");
/// What that place is called, by the name server at the router's addresses.
pub const NAME: &str = "router.site.test";
const DOMAIN: &str = "site.test";
const DNSMASQ: &str = "dnsmasq";
/// After that the others are started as well, and say themselves what is wrong.
const ZEBRA_LIMIT: Duration = Duration::from_secs(5);
const DIE_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no router.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    #[error("the upstream router's {program} does not start")]
    Start {
        program: &'static str,
        #[source]
        source: CmdError,
    },
    #[error("the upstream router's {program} survived SIGKILL for {} s", DIE_LIMIT.as_secs())]
    Undead { program: &'static str },
    #[error(transparent)]
    User(#[from] FrrUserError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Its folder. The daemons give up root's rights, so it can't be below the clusters' folder, which is root's alone.
pub fn folder(cluster: &ClusterName) -> PathBuf {
    PathBuf::from("/run").join(cluster.router_netns())
}

fn pid_file(cluster: &ClusterName, program: &str) -> String {
    folder(cluster).join(format!("{program}.pid")).to_string_lossy().into_owned()
}

/// The program's process there.
pub fn running(cluster: &ClusterName, program: &str) -> Option<Process> {
    let file = pid_file(cluster, program);
    let argument = if program == DNSMASQ { format!("--pid-file={file}") } else { file };
    processes::with_argument(program, &argument)
}

fn programs() -> impl Iterator<Item = &'static str> {
    frr::DAEMONS.into_iter().chain([DNSMASQ])
}

/// Makes the router, unless it is there and whole. Returns whether it was made.
pub async fn ensure(state: &ClusterState) -> Result<bool, RouterError> {
    let cluster = &state.name;
    let plugged_in = wiring::is_router_plugged_in(cluster).await;
    if plugged_in && programs().all(|program| running(cluster, program).is_some()) {
        return Ok(false);
    }
    kill(cluster).await?;
    let addresses = state.addresses();
    wiring::plug_in_router(cluster, addresses, &BEHIND).await?;
    lay_out(state)?;
    let socket = folder(cluster).join(frr::ZEBRA_SOCKET);
    // one of a zebra that was killed
    let _ = fs::remove_file(&socket);
    for program in programs() {
        start(cluster, addresses, program)?;
        let end = Instant::now() + ZEBRA_LIMIT;
        while program == frr::ZEBRA && !socket.exists() && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(true)
}

/// Ends the router's programs; fine when none runs.
async fn kill(cluster: &ClusterName) -> Result<(), RouterError> {
    for program in programs() {
        let Some(process) = running(cluster, program) else { continue };
        process.signal(libc::SIGKILL);
        if !processes::wait_gone(vec![process], DIE_LIMIT).await.is_empty() {
            return Err(RouterError::Undead { program });
        }
    }
    Ok(())
}

/// Removes its folder; fine when there is none. Its programs have ended with all others of its namespace.
pub fn remove_folder(cluster: &ClusterName) -> Result<(), FileError> {
    let folder = folder(cluster);
    for daemon in frr::DAEMONS {
        let pid = fs::read_to_string(pid_file(cluster, daemon)).unwrap_or_default();
        frr::remove_last_words(daemon, pid.trim());
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::new("remove", &folder, error))
        }
        _ => Ok(()),
    }
}

fn lay_out(state: &ClusterState) -> Result<(), RouterError> {
    remove_folder(&state.name)?;
    let folder = folder(&state.name);
    durable_file::make_directory(&folder, 0o755)?;
    for (name, text) in
        [("bgpd.conf", bgpd_conf(state)), ("bfdd.conf", BFDD_CONF.to_owned()), ("vtysh.conf", String::new())]
    {
        durable_file::write(&folder.join(name), text.as_bytes(), 0o644)?;
    }
    let (user, group) = frr::user()?;
    chown(&folder, Some(user), Some(group))
        .map_err(|source| FileError::new("give to FRRouting's user", &folder, source))?;
    Ok(())
}

fn start(cluster: &ClusterName, addresses: AddressPlan, program: &'static str) -> Result<(), RouterError> {
    let folder = folder(cluster);
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let argv = if program == DNSMASQ {
        dnsmasq_argv(addresses, &pid_file(cluster, program))
    } else {
        let conf =
            if program == frr::ZEBRA { frr::NO_CONFIG.to_owned() } else { at(&format!("{program}.conf")) };
        let mut argv = frr::argv(program, &conf);
        argv.extend(["--vty_socket", &*folder.to_string_lossy(), "-z", &at("zserv.api")].map(str::to_owned));
        argv.extend(["-i".to_owned(), pid_file(cluster, program)]);
        if program == frr::BFDD {
            argv.extend(["--bfdctl".to_owned(), at("bfdd.sock")]);
        }
        argv
    };
    let cmd = Cmd::new(&argv[0]).args(&argv[1..]).in_netns(cluster.router_netns());
    let logs = DaemonLogs::joined(folder.join(format!("{program}.log")));
    cmd.spawn_daemon(&logs).map_err(|source| RouterError::Start { program, source })?;
    Ok(())
}

/// Every host may speak to it, of whatever other autonomous system; it calls none. Its neighbours are named, for FRRouting 8.4 may lose a
/// neighbour that it has taken from a range: the session goes on, and no route is taken from it any more.
fn bgpd_conf(state: &ClusterState) -> String {
    let addresses = state.addresses();
    let router = addresses.router();
    let group = |name: &str| {
        format!(
            " neighbor {name} peer-group\n neighbor {name} remote-as external\n neighbor {name} bfd\n \
             neighbor {name} bfd profile fast\n neighbor {name} passive\n neighbor {name} advertisement-interval 0\n"
        )
    };
    let mut neighbors = String::new();
    for host in state.hosts.iter().map(|host| host.name) {
        let (v4, v6) = (addresses.host_in(Net::Upstream, host), addresses.host_upstream_v6(host));
        // writing to a String cannot fail
        let _ = writeln!(neighbors, " neighbor {v4} peer-group HOSTS\n neighbor {v6} peer-group HOSTS6");
    }
    format!(
        "frr defaults datacenter
router bgp {ASN}
 bgp router-id {router}
 no bgp default ipv4-unicast
 no bgp network import-check
 bgp bestpath as-path multipath-relax
{}{}{neighbors} address-family ipv4 unicast
  network {}
  neighbor HOSTS activate
  maximum-paths 8
 exit-address-family
 address-family ipv6 unicast
  network {}
  neighbor HOSTS activate
  neighbor HOSTS6 activate
  maximum-paths 8
 exit-address-family
exit
",
        group("HOSTS"),
        group("HOSTS6"),
        BEHIND_V4.1,
        BEHIND_V6.1
    )
}

/// Each side of a link says how fast it can; the slower one counts.
const BFDD_CONF: &str = "bfd
 profile fast
  receive-interval 100
  transmit-interval 100
 exit
exit
";

/// Knows the one name and its address's, and asks nobody.
fn dnsmasq_argv(addresses: AddressPlan, pid_file: &str) -> Vec<String> {
    let mut argv: Vec<String> = [
        "/usr/sbin/dnsmasq",
        "-k",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
    ]
    .map(str::to_owned)
    .to_vec();
    argv.push(format!("--pid-file={pid_file}"));
    argv.push(format!("--listen-address={},{}", addresses.router(), addresses.router_v6()));
    argv.push("--except-interface=lo".to_owned());
    argv.push(format!("--local=/{DOMAIN}/"));
    argv.push(format!("--host-record={NAME},{},{}", BEHIND_V4.0, BEHIND_V6.0));
    argv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_behind_is_written_the_same_everywhere() {
        for ((address, network), with_prefix) in [BEHIND_V4, BEHIND_V6].into_iter().zip(BEHIND) {
            let len = with_prefix.strip_prefix(&format!("{address}/")).unwrap();
            assert!(network.ends_with(&format!("/{len}")), "{network} {with_prefix}");
        }
    }

    #[test]
    fn it_listens_to_the_hosts_of_its_own_cluster() {
        let state = ClusterState::new("local".parse().unwrap(), 1, 2, 1, "/x".into());
        let conf = bgpd_conf(&state);
        for host in ["10.201.0.11", "10.201.0.12"] {
            assert!(conf.contains(&format!("\n neighbor {host} peer-group HOSTS\n")), "{conf}");
        }
        assert!(conf.contains("\n neighbor fd70:7663:0:1::12 peer-group HOSTS6\n"), "{conf}");
        assert!(conf.contains("\n neighbor HOSTS bfd\n neighbor HOSTS bfd profile fast\n"), "{conf}");
        let argv = dnsmasq_argv(AddressPlan::new(1).unwrap(), "/run/pid");
        assert!(argv.contains(&"--listen-address=10.201.0.2,fd70:7663:0:1::2".to_owned()), "{argv:?}");
    }
}
