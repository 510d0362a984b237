//! `pvc-bootstrap local kill|start|cut|heal|freeze|thaw|power`: what can go wrong with a host, done on purpose and undone.

use std::str::FromStr;

use crate::local::cut::Cut;
use crate::local::frr;
use crate::local::plan::{HostName, NameError};
use crate::local::state::ClusterDir;
use crate::local::{bmc, cluster, init, power as switch, processes, wiring};
use anyhow::bail;
use clap::ValueEnum;

/// Where to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Host(HostName),
    Leader,
}

impl FromStr for Target {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "leader" { Ok(Target::Leader) } else { text.parse().map(Target::Host) }
    }
}

/// What to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Victim {
    Pvcd,
    Guard,
    Libvirtd,
    Zebra,
    Bgpd,
    Bfdd,
    Host,
    Bmc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PowerTo {
    On,
    Off,
}

pub async fn kill(dir: &ClusterDir, target: Target, what: Victim, hold: bool) -> anyhow::Result<()> {
    let state = dir.load()?;
    let host = match target {
        Target::Host(host) => host,
        Target::Leader if state.pvcd.is_none() => bail!("hosts without pvcd have no leader"),
        Target::Leader => {
            let host = cluster::leader(&cluster::client(dir, &state)?).await?;
            eprintln!("host {host} leads");
            host
        }
    };
    let service = match what {
        Victim::Host if hold => bail!("a host without power stays off by itself; leave out --hold"),
        Victim::Host => return power(dir, host, PowerTo::Off).await,
        Victim::Bmc if hold => bail!("a BMC that is dead stays dead by itself; leave out --hold"),
        Victim::Bmc => return kill_bmc(dir, host).await,
        Victim::Pvcd => "pvcd",
        Victim::Guard => init::GUARD,
        Victim::Libvirtd => "libvirtd",
        Victim::Zebra => frr::ZEBRA,
        Victim::Bgpd => frr::BGPD,
        Victim::Bfdd => frr::BFDD,
    };
    let init = switch::require_on(&state, host)?;
    if hold {
        switch::hold(&init, service)?;
    }
    let Some(victim) = processes::service(&init, service) else {
        if hold {
            eprintln!("host {host}: {service} does not run, and will not be started");
            return Ok(());
        }
        bail!("host {host} runs no {service}; `pvc-bootstrap local status` shows what runs");
    };
    victim.signal(libc::SIGKILL);
    let again = if hold { format!(", until `local start {host}`") } else { String::new() };
    eprintln!("host {host}: {service} (pid {}) is killed{again}", victim.pid);
    Ok(())
}

async fn kill_bmc(dir: &ClusterDir, host: HostName) -> anyhow::Result<()> {
    dir.load()?.host(host)?;
    if !bmc::kill(dir, host).await? {
        bail!("the BMC of host {host} is dead already");
    }
    eprintln!("host {host}: its BMC is dead, until `local start {host}`");
    Ok(())
}

pub async fn start(dir: &ClusterDir, host: HostName) -> anyhow::Result<()> {
    let state = dir.load()?;
    state.host(host)?;
    if bmc::start(dir, &state, host).await? {
        eprintln!("host {host}: its BMC answers again");
    }
    match processes::init(&state.name, host) {
        // what was held went with the power
        None => power(dir, host, PowerTo::On).await,
        Some(init) => {
            let released = switch::release(&init)?;
            eprintln!("host {host}: {released} services may be started again");
            Ok(())
        }
    }
}

pub async fn power(dir: &ClusterDir, host: HostName, to: PowerTo) -> anyhow::Result<()> {
    let _lock = dir.lock().await?;
    let state = dir.load()?;
    let (changed, word) = match to {
        PowerTo::On => {
            state.host(host)?;
            (switch::on(dir, &state, host).await?, "on")
        }
        PowerTo::Off => (switch::off(&state, host).await?, "off"),
    };
    let already = if changed { "" } else { " already" };
    eprintln!("host {host} is {word}{already}");
    Ok(())
}

pub async fn freeze(dir: &ClusterDir, host: HostName) -> anyhow::Result<()> {
    let init = switch::require_on(&dir.load()?, host)?;
    let count = switch::freeze(host, &init).await?;
    eprintln!("host {host} is frozen ({count} processes)");
    Ok(())
}

pub fn thaw(dir: &ClusterDir, host: HostName) -> anyhow::Result<()> {
    let init = switch::require_on(&dir.load()?, host)?;
    let count = switch::thaw(&init);
    eprintln!("host {host} goes on ({count} processes)");
    Ok(())
}

pub async fn cut(dir: &ClusterDir, cut: Cut) -> anyhow::Result<()> {
    let _lock = dir.lock().await?;
    let mut state = dir.load()?;
    state.host(cut.from)?;
    if let Some(to) = cut.to {
        state.host(to)?;
        if to == cut.from {
            bail!("{to} cannot be cut from itself");
        }
    }
    if !state.cuts.contains(&cut) {
        state.cuts.push(cut);
    }
    dir.save(&state)?;
    wiring::apply_cuts(dir, &state).await?;
    eprintln!("cut: {cut}");
    Ok(())
}

pub async fn heal(dir: &ClusterDir, host: Option<HostName>, peer: Option<HostName>) -> anyhow::Result<()> {
    let _lock = dir.lock().await?;
    let mut state = dir.load()?;
    for name in [host, peer].into_iter().flatten() {
        state.host(name)?;
    }
    let (healed, kept): (Vec<Cut>, Vec<Cut>) = state.cuts.iter().partition(|cut| cut.concerns(host, peer));
    state.cuts = kept;
    dir.save(&state)?;
    wiring::apply_cuts(dir, &state).await?;
    for cut in &healed {
        eprintln!("healed: {cut}");
    }
    if healed.is_empty() {
        eprintln!("nothing was cut");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_or_the_leader() {
        assert_eq!("leader".parse(), Ok(Target::Leader));
        assert_eq!("hv3".parse(), Ok(Target::Host("hv3".parse().unwrap())));
        assert!("Leader".parse::<Target>().is_err());
    }
}
