//! The hosts' BMCs: one ipmi_sim (of openipmi) for each host, which switches that host on and off as the board's BMC does. They
//! live in the hub's namespace at addresses of their own in the cluster network, so that a host's power is no matter to its BMC.
//!
//! ipmi_sim asks and orders by a program of ours (`local __bmc`), and answers nobody while that runs: so an order is handed to a
//! process that goes on alone, and the BMC reads the power as it really is until then.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use pvc_process::{Cmd, CmdError, DaemonLogs};

use super::plan::{AddressPlan, HostName, Net};
use super::power::{self, PowerError};
use super::processes::{self, Process};
use super::state::{ClusterDir, ClusterState, Lock, StateError};
use crate::durable_file::{self, FileError};
use crate::tool::{self, ToolError};

/// Who may order.
pub const USER: &str = "ADMIN";
/// Port of IPMI over LAN.
pub const PORT: u16 = 623;
/// Name of the simulator's process.
const PROGRAM: &str = "ipmi_sim";
const DIE_LIMIT: Duration = Duration::from_secs(5);

/// Why a BMC could not be started, or an order not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BmcError {
    #[error("the BMC of host {host} does not start")]
    Start {
        host: HostName,
        #[source]
        source: CmdError,
    },
    #[error("the BMC of host {host} survived SIGKILL for {} s", DIE_LIMIT.as_secs())]
    Undead { host: HostName },
    #[error("the folder {0} has a quotation mark in its name, which ipmi_sim can't be told")]
    Quote(PathBuf),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Power(#[from] PowerError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// The folder of a host's BMC.
fn folder(dir: &ClusterDir, host: HostName) -> PathBuf {
    dir.path().join("bmcs").join(host.to_string())
}

/// The file that holds the BMC's password, and nothing else.
pub fn password_file(dir: &ClusterDir, host: HostName) -> PathBuf {
    folder(dir, host).join("password")
}

/// The process of a host's BMC.
pub fn running(dir: &ClusterDir, host: HostName) -> Option<Process> {
    let config = folder(dir, host).join("lan.conf");
    processes::with_argument(PROGRAM, &config.to_string_lossy())
}

/// Starts the BMC of a host, unless it runs. Returns whether it was started.
pub async fn start(dir: &ClusterDir, state: &ClusterState, host: HostName) -> Result<bool, BmcError> {
    if running(dir, host).is_some() {
        return Ok(false);
    }
    let address = state.addresses().bmc(host);
    let folder = folder(dir, host);
    if folder.to_string_lossy().contains(['"', '\'']) {
        return Err(BmcError::Quote(folder));
    }
    durable_file::make_directory(&folder.join("state"), 0o700)?;
    let password = password(dir, host)?;
    let uuid = &state.host(host)?.uuid;
    let board = board(dir, state, host);
    let config = lan_conf(address, uuid, &password, &board);
    durable_file::write(&folder.join("lan.conf"), config.as_bytes(), 0o600)?;
    durable_file::write(&folder.join("sim.emu"), SIM_EMU.as_bytes(), 0o600)?;
    let hub = state.name.hub_netns();
    let with_prefix = format!("{address}/{}", AddressPlan::PREFIX_LEN);
    tool::ip(&["-n", &hub, "addr", "replace", &with_prefix, "dev", Net::Cluster.switch()]).await?;
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (lan, emu, kept) = (at("lan.conf"), at("sim.emu"), at("state"));
    let cmd = Cmd::new(PROGRAM).args(["-n", "-c", &lan, "-f", &emu, "-s", &kept]).in_netns(hub);
    let logs = DaemonLogs::joined(folder.join("log"));
    cmd.spawn_daemon(&logs).map_err(|source| BmcError::Start { host, source })?;
    Ok(true)
}

/// Kills a host's BMC, as when it breaks. Returns false when none ran.
pub async fn kill(dir: &ClusterDir, host: HostName) -> Result<bool, BmcError> {
    let Some(process) = running(dir, host) else { return Ok(false) };
    process.signal(libc::SIGKILL);
    let left = processes::wait_gone(vec![process], DIE_LIMIT).await;
    if left.is_empty() { Ok(true) } else { Err(BmcError::Undead { host }) }
}

fn password(dir: &ClusterDir, host: HostName) -> Result<String, FileError> {
    let file = password_file(dir, host);
    if let Some(text) = durable_file::read_text_if_there(&file)? {
        return Ok(text.trim().to_owned());
    }
    // 16 bytes is the most that ipmi_sim and IPMI 1.5 know.
    let text = uuid::Uuid::new_v4().simple().to_string()[..16].to_owned();
    durable_file::write(&file, format!("{text}\n").as_bytes(), 0o600)?;
    Ok(text)
}

/// The program by which ipmi_sim reaches the host's board; it adds `get power` and the like, and gives it all to a shell.
fn board(dir: &ClusterDir, state: &ClusterState, host: HostName) -> String {
    let (program, root) = (state.bootstrap.to_string_lossy(), dir.root().to_string_lossy());
    format!("'{program}' local --name {} --state '{root}' __bmc --host {host}", state.name)
}

/// All levels of privilege, all ways to prove who one is; suite 3 of RMCP+ needs no line.
fn lan_conf(address: Ipv4Addr, uuid: &str, password: &str, board: &str) -> String {
    let guid = uuid.replace('-', "");
    let ways: String = ["callback", "user", "operator", "admin"]
        .map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n"))
        .concat();
    format!(
        r#"name "bmc"
set_working_mc 0x20
  startlan 1
    addr {address} {PORT}
    priv_limit admin
{ways}    guid {guid}
  endlan
  chassis_control "{board}"
  user 1 false "" "" user 10 none md2 md5 straight
  user 2 true "{USER}" "{password}" admin 10 md5
"#
    )
}

/// One management controller, with a log of events and no sensors.
const SIM_EMU: &str = "mc_setbmc 0x20\n\
    mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
    sel_enable 0x20 1000 0x0a\n\
    mc_enable 0x20\n";

/// What ipmi_sim asks of a board: `get WHAT…`, answered line by line, and `set WHAT VALUE…`.
pub fn board_asked(
    dir: &ClusterDir,
    state: &ClusterState,
    host: HostName,
    words: &[String],
) -> Result<String, BmcError> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        ["get", what @ ..] => {
            let on = processes::init(&state.name, host).is_some();
            let line = |what: &&str| match *what {
                "power" => format!("power:{}\n", u8::from(on)),
                other => format!("{other}:0\n"),
            };
            Ok(what.iter().map(line).collect())
        }
        ["set", pairs @ ..] => {
            for pair in pairs.chunks(2) {
                let order = match pair {
                    ["power", "0"] | ["shutdown", _] => Order::Off,
                    ["power", _] => Order::On,
                    ["reset", _] => Order::Reset,
                    // What a namespace has not: another device to boot from, a light to find it by.
                    _ => continue,
                };
                hand_on(dir, state, host, order)?;
            }
            Ok(String::new())
        }
        // `check`, and what later versions may ask.
        _ => Ok(String::new()),
    }
}

/// What a board is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    On,
    Off,
    Reset,
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Order::On => "on",
            Order::Off => "off",
            Order::Reset => "reset",
        }
    }
}

/// Has a process of its own carry an order out.
fn hand_on(dir: &ClusterDir, state: &ClusterState, host: HostName, order: Order) -> Result<(), BmcError> {
    // ipmi_sim leaves its sockets open to us; a host that kept them would keep the BMC's port from the next BMC
    // SAFETY: marks descriptors that nothing here knows of; none is closed before a program is started
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    let (root, name) = (dir.root().to_string_lossy(), host.to_string());
    let cmd = Cmd::new(state.bootstrap.as_os_str()).args(["local", "--name", state.name.as_str(), "--state"]);
    let cmd = cmd.args([&*root, "__board", "--host", &name, "--order", order.word()]);
    let logs = DaemonLogs::joined(folder(dir, host).join("board.log"));
    cmd.spawn_daemon(&logs).map_err(|source| BmcError::Start { host, source })?;
    Ok(())
}

/// Carries an order out. Orders for one host are carried out one after the other.
pub async fn carry_out(dir: &ClusterDir, host: HostName, order: Order) -> Result<(), BmcError> {
    let state = dir.load()?;
    let _order = Lock::folder(&folder(dir, host), &format!("the board of host {host}")).await?;
    if order != Order::On {
        // Without the cluster's lock: a power cut waits for nobody.
        let was_on = power::off(&state, host).await?;
        eprintln!("host {host}: off{}", if was_on { "" } else { " already" });
    }
    if order != Order::Off {
        let _lock = dir.lock().await?;
        let was_off = power::on(dir, &dir.load()?, host).await?;
        eprintln!("host {host}: on{}", if was_off { "" } else { " already" });
    }
    Ok(())
}

/// Ends the BMCs of all hosts, those too that the state no longer knows.
pub async fn kill_all(dir: &ClusterDir) -> Result<(), BmcError> {
    let Ok(entries) = fs::read_dir(dir.path().join("bmcs")) else { return Ok(()) };
    let hosts = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for host in hosts.collect::<Vec<HostName>>() {
        kill(dir, host).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulator_is_told_address_identity_and_board() {
        let root = tempfile::tempdir().unwrap();
        let dir = ClusterDir::new(root.path(), "local".parse().unwrap()).unwrap();
        let state = ClusterState::new("local".parse().unwrap(), 1, 2, 1, "/opt/pvc bin/pvc-bootstrap".into());
        let host = state.hosts[1].name;
        let board = board(&dir, &state, host);
        let text = lan_conf(state.addresses().bmc(host), &state.hosts[1].uuid, "secret", &board);
        assert!(text.contains("addr 10.102.0.102 623\n"), "{text}");
        assert!(text.contains(&format!("guid {}\n", state.hosts[1].uuid.replace('-', ""))), "{text}");
        let expected = format!(
            "chassis_control \"'/opt/pvc bin/pvc-bootstrap' local --name local --state '{}' __bmc --host hv2\"",
            root.path().display()
        );
        assert!(text.contains(&expected), "{text}");
    }

    #[test]
    fn a_password_is_made_once() {
        let root = tempfile::tempdir().unwrap();
        let dir = ClusterDir::new(root.path(), "local".parse().unwrap()).unwrap();
        let (one, two) = ("hv1".parse().unwrap(), "hv2".parse().unwrap());
        for host in [one, two] {
            fs::create_dir_all(folder(&dir, host)).unwrap();
        }
        let first = password(&dir, one).unwrap();
        assert_eq!((first.len(), password(&dir, one).unwrap()), (16, first.clone()));
        assert_ne!(first, password(&dir, two).unwrap());
    }

    #[test]
    fn a_host_that_is_off_reads_so() {
        let root = tempfile::tempdir().unwrap();
        let dir = ClusterDir::new(root.path(), "nobody".parse().unwrap()).unwrap();
        let state = ClusterState::new("nobody".parse().unwrap(), 1, 1, 1, "/x".into());
        let ask = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            board_asked(&dir, &state, state.hosts[0].name, &words).unwrap()
        };
        assert_eq!(ask(&["get", "power", "boot"]), "power:0\nboot:0\n");
        assert_eq!(ask(&["check"]), "");
        assert_eq!(ask(&["set", "identify", "1", "boot", "pxe"]), "", "nothing is switched");
    }
}
