//! A BMC for tests: openipmi's ipmi_sim on a port of the loopback network, over a board that is a few files: `power` holds 1 or
//! 0; while `stuck` is there orders are taken and nothing happens; `delay` and `slow` hold seconds, until an order shows, and
//! until the board answers.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use pvc_coordinator::core::power::BmcAccess;
use pvc_identity::{Ca, Secret, Vault};
use pvc_model::bmc::{Bmc, BmcAdapter, Sealed};
use pvc_node::power::BmcPower;
use pvc_process::{Cmd, Daemon, DaemonLogs};

pub const USER: &str = "ADMIN";
pub const PASSWORD: &str = "lab-secret-16-by";
pub const GUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

const BOARD: &str = r#"#!/bin/sh
# ipmi_sim's board: `get power boot…` and `set power 0|1…`
cd "$(dirname "$0")" || exit 1
[ -e slow ] && sleep "$(cat slow)"
op=$1; shift
if [ "$op" = get ]; then
  for what in "$@"; do
    if [ "$what" = power ]; then echo "power:$(cat power)"; else echo "$what:0"; fi
  done
elif [ "$op" = set ]; then
  echo "$*" >> orders
  [ -e stuck ] && exit 0
  while [ $# -gt 1 ]; do
    if [ "$1" = power ]; then
      if [ -e delay ]; then (sleep "$(cat delay)"; echo "$2" > power) > /dev/null 2>&1 & else echo "$2" > power; fi
    fi
    shift 2
  done
fi
"#;

pub struct IpmiSim {
    folder: tempfile::TempDir,
    daemon: Daemon,
    pub address: String,
}

impl IpmiSim {
    /// A host with power, and its BMC.
    pub async fn start() -> IpmiSim {
        let folder = tempfile::tempdir().expect("a folder");
        let port = {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.local_addr().expect("its number").port()
        };
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| fs::write(path(name), text).expect("written");
        write("power", "1\n");
        write("board", BOARD);
        fs::set_permissions(path("board"), fs::Permissions::from_mode(0o755)).expect("made runnable");
        fs::create_dir(path("state")).expect("made");
        let ways: String = ["callback", "user", "operator", "admin"]
            .map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n"))
            .concat();
        write(
            "lan.conf",
            &format!(
                "name \"bmc\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n    priv_limit admin\n{ways}    \
                 guid {}\n  endlan\n  chassis_control \"{}\"\n  user 1 false \"\" \"\" user 10 none md2 md5 straight\n  \
                 user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 md5\n  user 3 true \"OPER\" \"{PASSWORD}\" operator 10 md5\n",
                GUID.replace('-', ""),
                path("board").display()
            ),
        );
        write(
            "sim.emu",
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
             sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n",
        );
        let at = |name: &str| path(name).display().to_string();
        let cmd = Cmd::new("ipmi_sim").args([
            "-n",
            "-c",
            &at("lan.conf"),
            "-f",
            &at("sim.emu"),
            "-s",
            &at("state"),
        ]);
        let logs = DaemonLogs::joined(path("log"));
        let daemon = cmd.spawn_daemon(&logs).expect("ipmi_sim (package openipmi) is started");
        let sim = IpmiSim { folder, daemon, address: format!("127.0.0.1:{port}") };
        sim.until_it_answers().await;
        sim
    }

    /// Knocks with an RMCP ping, as clients do.
    async fn until_it_answers(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
        socket.connect(&self.address).expect("connected");
        for _ in 0..200 {
            let ping = [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 0, 0, 0];
            let mut answer = [0; 64];
            if socket.send(&ping).is_ok() && socket.recv(&mut answer).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("ipmi_sim does not answer: {log}");
    }

    pub fn set(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("written");
    }

    pub fn unset(&self, name: &str) {
        fs::remove_file(self.folder.path().join(name)).expect("removed");
    }

    /// The board's power as it really is.
    pub fn has_power(&self) -> bool {
        fs::read_to_string(self.folder.path().join("power")).expect("read").trim() == "1"
    }

    /// How many orders have come to the board.
    pub fn orders(&self) -> usize {
        fs::read_to_string(self.folder.path().join("orders")).map_or(0, |text| text.lines().count())
    }
}

impl Drop for IpmiSim {
    fn drop(&mut self) {
        if let Err(error) = self.daemon.id().signal(9) {
            eprintln!("ipmi_sim is left behind: {error}");
        }
        let _reaped = self.daemon.exited();
    }
}

/// A coordinator's way to BMCs, with a CA of its own.
pub struct Lab {
    ca_dir: tempfile::TempDir,
    pub power: BmcPower,
}

impl Lab {
    pub fn new() -> Lab {
        let ca_dir = tempfile::tempdir().expect("a folder");
        let ca = Ca::create("2f1f4f2e-0000-4000-8000-000000000001", jiff::Timestamp::now()).expect("a CA");
        ca.save(&ca_dir.path().join("root.pem"), &ca_dir.path().join("root.key")).expect("saved");
        let power = BmcPower::new(ca_dir.path());
        Lab { ca_dir, power }
    }

    pub fn access(&self, address: &str, adapter: BmcAdapter) -> BmcAccess {
        self.access_with(address, adapter, USER, PASSWORD)
    }

    pub fn access_with(&self, address: &str, adapter: BmcAdapter, user: &str, password: &str) -> BmcAccess {
        let bmc = Bmc {
            address: address.to_owned(),
            user: user.to_owned(),
            password: Sealed(self.seal("node/hv1", password)),
            adapter,
            identity: String::new(),
            trusted: false,
        };
        BmcAccess { node: "hv1".parse().expect("a name"), bmc }
    }

    pub fn seal(&self, owner: &str, password: &str) -> Vec<u8> {
        Vault::new(self.ca_dir()).seal(owner, &Secret::new(password)).expect("sealed")
    }

    pub fn ca_dir(&self) -> &Path {
        self.ca_dir.path()
    }
}
