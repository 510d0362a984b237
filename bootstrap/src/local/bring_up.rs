//! The first part of `local up`: hub, hosts and their disks, from nothing or from what an interrupted or half-destroyed cluster has left.

use std::path::{Path, PathBuf};

use super::bmc::{self, BmcError};
use super::index::{self, IndexError};
use super::mountpoints;
use super::plan::HOSTS_MAX;
use super::power::{self, PowerError};
use super::processes;
use super::router::{self, RouterError};
use super::state::{ClusterDir, ClusterState, Lock, StateError};
use super::wiring::{self, CutError};
use crate::durable_file::FileError;
use crate::tool::ToolError;

/// Programs without which no local host can run, with what they are for.
const PROGRAMS: [(&str, &str); 11] = [
    ("/usr/sbin/libvirtd", "libvirt"),
    ("/usr/sbin/virtlogd", "libvirt"),
    ("/usr/bin/qemu-system-x86_64", "qemu"),
    ("/usr/sbin/nft", "nftables"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/sbin/ip", "iproute2"),
    ("/usr/bin/ipmi_sim", "openipmi"),
    ("/usr/lib/frr/bgpd", "frr"),
    ("/usr/sbin/dnsmasq", "dnsmasq-base"),
    ("/usr/sbin/pdns_server", "pdns-server"),
    ("/sbin/sysctl", "procps"),
];

/// What a new cluster shall be.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// 1 to [`HOSTS_MAX`].
    pub hosts: u8,
    /// 1, 3 or 5, and no more than there are hosts.
    pub voters: u8,
    pub kvm: bool,
    /// The daemon's binary; `None` for hosts with libvirt only.
    pub pvcd: Option<PathBuf>,
    /// This program.
    pub bootstrap: PathBuf,
}

/// Why a cluster could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error("a local cluster has 1 to {HOSTS_MAX} hosts, not {0}")]
    Hosts(u8),
    #[error("{voters} voters are not possible: 1, 3 or 5, and no more than the {hosts} hosts")]
    Voters { voters: u8, hosts: u8 },
    #[error("a local cluster needs root: run it by sudo")]
    NotRoot,
    #[error(
        "{program} is not there (package {package}); `scripts/install-deps.sh run` installs what is missing"
    )]
    Program { program: &'static str, package: &'static str },
    #[error(
        "there is no daemon at {0}; build it (`cargo build --release`), name it by --pvcd, or use --no-pvcd"
    )]
    NoDaemon(PathBuf),
    #[error(
        "local cluster \"{name}\" exists already and has {what}; `pvc-bootstrap local down --name {name}` first"
    )]
    Differs { name: String, what: String },
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Power(#[from] PowerError),
    #[error(transparent)]
    Bmc(#[from] BmcError),
    #[error(transparent)]
    Router(#[from] RouterError),
    #[error(transparent)]
    Cut(#[from] CutError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    File(#[from] FileError),
}

impl UpOptions {
    /// Refuses numbers that make no cluster.
    pub fn validate(&self) -> Result<(), UpError> {
        if !(1..=HOSTS_MAX).contains(&self.hosts) {
            return Err(UpError::Hosts(self.hosts));
        }
        if ![1, 3, 5].contains(&self.voters) || self.voters > self.hosts {
            return Err(UpError::Voters { voters: self.voters, hosts: self.hosts });
        }
        Ok(())
    }

    /// Refuses a machine on which hosts could not run.
    pub fn preflight(&self) -> Result<(), UpError> {
        // SAFETY: geteuid cannot fail and takes nothing
        if unsafe { libc::geteuid() } != 0 {
            return Err(UpError::NotRoot);
        }
        if let Some((program, package)) =
            PROGRAMS.into_iter().find(|(program, _)| !Path::new(program).exists())
        {
            return Err(UpError::Program { program, package });
        }
        match &self.pvcd {
            Some(pvcd) if !pvcd.exists() => Err(UpError::NoDaemon(pvcd.clone())),
            _ => Ok(()),
        }
    }

    /// The state of a cluster that exists, if it is what is asked for; binaries may have moved.
    fn reconcile(&self, mut state: ClusterState) -> Result<ClusterState, UpError> {
        let mut differences = Vec::new();
        if state.hosts.len() != usize::from(self.hosts) {
            differences.push(format!("{} hosts", state.hosts.len()));
        }
        if state.voters != self.voters {
            differences.push(format!("{} voters", state.voters));
        }
        if state.kvm != self.kvm {
            differences.push(if state.kvm { "KVM" } else { "no KVM" }.to_owned());
        }
        if state.pvcd.is_some() != self.pvcd.is_some() {
            let has = state.pvcd.is_some();
            differences.push(if has { "pvcd" } else { "no pvcd" }.to_owned());
        }
        if !differences.is_empty() {
            return Err(UpError::Differs { name: state.name.to_string(), what: differences.join(", ") });
        }
        state.pvcd = self.pvcd.clone();
        state.bootstrap = self.bootstrap.clone();
        Ok(state)
    }
}

/// Makes the cluster's hosts and switches them on. Returns its state; what runs already is left alone, what is held dead
/// is let go. The caller holds the cluster's lock.
pub async fn hosts_up(
    _held: &Lock,
    dir: &ClusterDir,
    options: &UpOptions,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ClusterState, UpError> {
    options.validate()?;
    options.preflight()?;
    let state = {
        let _machine = Lock::machine().await?;
        let state = match dir.load_if_there()? {
            Some(state) => options.reconcile(state)?,
            None => {
                let index = index::choose(dir).await?;
                let mut state = ClusterState::new(
                    dir.name().clone(),
                    index,
                    options.hosts,
                    options.voters,
                    options.bootstrap.clone(),
                );
                state.kvm = options.kvm;
                state.pvcd = options.pvcd.clone();
                state
            }
        };
        dir.save(&state)?;
        mountpoints::ensure()?;
        if !wiring::is_hub_complete(&state.name) {
            progress("switches of the cluster, the VM and the upstream network");
            bmc::kill_all(dir).await?;
            wiring::remove_hub(&state.name).await?;
            index::require_free(state.name.as_str(), state.addresses()).await?;
            // the cables of hosts that are on were in the old hub; such hosts are switched off and on
            for host in &state.hosts {
                power::off(&state, host.name).await?;
            }
            wiring::make_hub(&state.name, state.addresses()).await?;
        }
        state
    };
    if router::ensure(&state).await? {
        let (address, asn) = (state.addresses().router(), router::ASN);
        progress(&format!("the upstream router is at {address} (AS {asn}); behind it is {}", router::NAME));
    }
    wiring::apply_cuts(dir, &state).await?;
    for host in &state.hosts {
        if power::on(dir, &state, host.name).await? {
            let address = state.addresses().host(host.name);
            progress(&format!("host {} is on at {address}", host.name));
        } else {
            progress(&format!("host {} is on already", host.name));
            // what `kill --hold` has left dead is part of what shall be up
            if let Some(init) = processes::init(&state.name, host.name) {
                power::release(&init)?;
            }
        }
        if bmc::start(dir, &state, host.name).await? {
            progress(&format!("host {} has a BMC at {}", host.name, state.addresses().bmc(host.name)));
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> UpOptions {
        UpOptions { hosts: 3, voters: 3, kvm: false, pvcd: None, bootstrap: "/b".into() }
    }

    #[test]
    fn only_odd_small_numbers_of_voters_within_the_hosts() {
        let check = |hosts, voters| {
            UpOptions { hosts, voters, ..options() }.validate().map_err(|error| error.to_string())
        };
        for (hosts, voters) in [(1, 1), (3, 1), (3, 3), (5, 5), (32, 5)] {
            assert_eq!(check(hosts, voters), Ok(()));
        }
        for (hosts, voters) in [(3, 2), (3, 5), (2, 3), (9, 7), (3, 0)] {
            assert!(check(hosts, voters).unwrap_err().contains("voters"));
        }
        assert!(check(0, 1).unwrap_err().contains("1 to 32 hosts"));
        assert!(check(33, 1).unwrap_err().contains("1 to 32 hosts"));
    }

    #[test]
    fn a_cluster_that_exists_is_taken_up_only_if_it_is_the_same() {
        let state = ClusterState::new("local".parse().unwrap(), 0, 3, 3, "/old".into());
        let same = options().reconcile(state.clone()).unwrap();
        assert_eq!(same.bootstrap, Path::new("/b"));
        assert_eq!(same.hosts, state.hosts);
        let other = UpOptions { hosts: 5, kvm: true, ..options() };
        let error = other.reconcile(state).unwrap_err().to_string();
        assert!(error.contains("3 hosts, no KVM") && error.contains("local down --name local"), "{error}");
    }
}
