//! What befalls the cluster in a scenario.

use std::time::Duration;

use pvc_coordinator::core::power::Fault;
use pvc_model::Name;
use pvc_node::hypervisor::EndReason;

use super::hosts::{Hosts, name, place};
use super::parse::{duration, number};
use crate::boards::bmc_address;
use crate::cluster::Cluster;
use crate::guard::Manner;
use crate::net::{Place, Weather};

#[derive(Clone, Debug)]
pub enum Event {
    PowerOff(Hosts),
    PowerOn(Hosts),
    /// A daemon dies, and is not started again by itself.
    Kill(Hosts),
    /// In order: each announces it, and has no power when its guests have left.
    ShutDown(Hosts),
    Start(Hosts),
    /// In order; back at once.
    Restart(Hosts),
    Bmc(Hosts, BmcState),
    Guard(Hosts, Manner),
    /// Daemons stand still, or go on.
    Stall(Hosts, bool),
    /// Hosts stand still whole, or go on.
    FreezeHost(Hosts, bool),
    /// The network of the BMCs: from those hosts none is reached, and theirs by nobody.
    BmcNetwork(Hosts, bool),
    /// Hosts reach the pool, or don't.
    Storage(Hosts, bool),
    /// From whom to whom; one way: what the first send does not arrive.
    Cut {
        those: Hosts,
        from: Option<Hosts>,
        one_way: bool,
    },
    Heal,
    /// Those alone are joined with all others again.
    Rejoin(Hosts),
    Weather(Weather),
    Lag(Hosts, Duration),
    /// The way of migrations between two hosts.
    Path(Place, Place, bool),
    Hypervisor(Hosts, HypervisorState),
    Disk(Hosts, DiskState),
    /// Wall clocks jump, by so many milliseconds.
    Clock(Hosts, i64),
    GuestEnds(Name, EndReason),
    /// The leader hands over to another coordinator.
    HandOver,
    /// "stays" means from now on: where the guests are now.
    Note,
}

#[derive(Clone, Copy, Debug)]
pub enum BmcState {
    Broken(Fault),
    Slow(Duration),
    /// Another BMC has taken its place.
    Another,
    Repaired,
}

#[derive(Clone, Copy, Debug)]
pub enum HypervisorState {
    Hangs,
    Unreachable,
    Slow(Duration),
    FailsStarts(u32),
    FailsMigrations(u32),
    LosesMigrations(u32),
    Well,
}

#[derive(Clone, Copy, Debug)]
pub enum DiskState {
    Full,
    Slow(Duration),
    Well,
}

/// What befalls one host.
type Deed<'a> = dyn Fn(&mut Cluster, Place) + 'a;

impl Event {
    pub fn parse(text: &str) -> Result<Event, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let hosts = |words: &[&str]| Hosts::parse(&words.join(" "));
        Ok(match words.as_slice() {
            ["power", "off", rest @ ..] => Event::PowerOff(hosts(rest)?),
            ["power", "on", rest @ ..] => Event::PowerOn(hosts(rest)?),
            ["shut", "down", rest @ ..] => Event::ShutDown(hosts(rest)?),
            ["kill", rest @ ..] => Event::Kill(hosts(rest)?),
            ["start", rest @ ..] => Event::Start(hosts(rest)?),
            ["restart", rest @ ..] => Event::Restart(hosts(rest)?),
            ["bmc", "of", rest @ .., "is", "slow", time] => {
                Event::Bmc(hosts(rest)?, BmcState::Slow(duration(time)?))
            }
            ["guard", "of", rest @ .., "is", "absent"] => Event::Guard(hosts(rest)?, Manner::Absent),
            ["guard", "of", rest @ .., "is", "back"] => Event::Guard(hosts(rest)?, Manner::Honest),
            ["bmc", "of", rest @ .., "is", state] => Event::Bmc(hosts(rest)?, BmcState::parse(state)?),
            ["daemon" | "daemons", "of", rest @ .., "freezes" | "freeze"] => Event::Stall(hosts(rest)?, true),
            ["daemon" | "daemons", "of", rest @ .., "thaws" | "thaw"] => Event::Stall(hosts(rest)?, false),
            ["host" | "hosts", rest @ .., "freezes" | "freeze"] => Event::FreezeHost(hosts(rest)?, true),
            ["host" | "hosts", rest @ .., "thaws" | "thaw"] => Event::FreezeHost(hosts(rest)?, false),
            ["bmc", "network", "of", rest @ .., "is", way @ ("cut" | "joined")] => {
                Event::BmcNetwork(hosts(rest)?, *way == "cut")
            }
            ["storage", "of", rest @ .., "is", way @ ("cut" | "joined")] => {
                Event::Storage(hosts(rest)?, *way == "cut")
            }
            ["cut", rest @ .., "off"] => Event::Cut { those: hosts(rest)?, from: None, one_way: false },
            ["cut", rest @ ..] => cut(rest)?,
            ["heal", "the", "network"] => Event::Heal,
            ["heal", rest @ ..] => Event::Rejoin(hosts(rest)?),
            ["weather", "lost", lost, "slow", slow, "up", "to", most] => Event::Weather(Weather {
                lost_per_mille: percent(lost)? * 10,
                slow_per_mille: percent(slow)? * 10,
                slow_max_ms: duration(most)?.as_millis() as u64,
            }),
            [rest @ .., "lags" | "lag", time] => Event::Lag(hosts(rest)?, duration(time)?),
            ["path", a, b, "is", "cut"] => Event::Path(place(a)?, place(b)?, false),
            ["path", a, b, "is", "joined"] => Event::Path(place(a)?, place(b)?, true),
            ["hypervisor", "of", host, state @ ..] => {
                Event::Hypervisor(Hosts::parse(host)?, HypervisorState::parse(state)?)
            }
            ["disk", "of", rest @ .., "is", "slow", time] => {
                Event::Disk(hosts(rest)?, DiskState::Slow(duration(time)?))
            }
            ["disk", "of", rest @ .., "is", "full"] => Event::Disk(hosts(rest)?, DiskState::Full),
            ["disk", "of", rest @ .., "is", "well"] => Event::Disk(hosts(rest)?, DiskState::Well),
            ["clock", "of", rest @ .., "jumps", time, way @ ("ahead" | "back")] => {
                let by = duration(time)?.as_millis() as i64;
                Event::Clock(hosts(rest)?, if *way == "ahead" { by } else { -by })
            }
            ["guest", guest, "crashes"] => Event::GuestEnds(name(guest)?, EndReason::Crashed),
            ["guest", guest, "shuts", "down"] => Event::GuestEnds(name(guest)?, EndReason::ShutDown),
            ["leadership", "moves"] => Event::HandOver,
            ["note", "the", "guests"] => Event::Note,
            _ => return Err(format!("{text:?} is no event")),
        })
    }

    /// Does it to the cluster, and says whom it befell; None: nobody in particular.
    pub async fn befall(&self, cluster: &mut Cluster, them: &[Place]) -> Option<Vec<Place>> {
        let (whom, deed): (&Hosts, &Deed<'_>) = match self {
            Event::PowerOff(hosts) => (hosts, &|cluster, place| cluster.power_off(place)),
            Event::PowerOn(hosts) => (hosts, &|cluster, place| cluster.power_on(place)),
            Event::ShutDown(hosts) => (hosts, &|cluster, place| cluster.shut_down(place)),
            Event::Kill(hosts) => (hosts, &|cluster, place| cluster.kill(place)),
            Event::Start(hosts) => (hosts, &|cluster, place| cluster.boot(place)),
            Event::Guard(hosts, manner) => (hosts, &|cluster, place| cluster.set_guard(place, *manner)),
            Event::Bmc(hosts, state) => (hosts, &|cluster, place| state.befall(cluster, place)),
            Event::Hypervisor(hosts, state) => (hosts, &|cluster, place| state.befall(cluster, place)),
            Event::Disk(hosts, state) => (hosts, &|cluster, place| state.befall(cluster, place)),
            Event::Clock(hosts, by) => (hosts, &|cluster, place| cluster.jump_clock(place, *by)),
            Event::Lag(hosts, by) => (hosts, &|cluster, place| cluster.setting.net.lag(place, *by)),
            Event::Stall(hosts, frozen) => (hosts, &|cluster, place| cluster.freeze(place, *frozen)),
            Event::FreezeHost(hosts, frozen) => {
                (hosts, &|cluster, place| cluster.freeze_host(place, *frozen))
            }
            Event::BmcNetwork(hosts, cut) => (hosts, &|cluster, place| cut_bmc(cluster, place, *cut)),
            Event::Rejoin(hosts) => (hosts, &|cluster, place| cluster.setting.net.rejoin(place)),
            Event::Storage(hosts, cut) => {
                (hosts, &|cluster, place| cluster.setting.storage_cuts.set(place, *cut))
            }
            Event::Restart(hosts) => {
                let places = hosts.resolve(cluster, them);
                for place in &places {
                    cluster.restart(*place).await;
                }
                return Some(places);
            }
            Event::Cut { those, from, one_way } => {
                let places = those.resolve(cluster, them);
                let others = match from {
                    Some(others) => others.resolve(cluster, them),
                    None => [cluster.places(), vec![Place::PEOPLE]].concat(),
                };
                cut_off(cluster, &places, &others, *one_way);
                return Some(places);
            }
            Event::Heal => {
                cluster.setting.net.heal();
                return None;
            }
            Event::Weather(weather) => {
                cluster.setting.net.set_weather(*weather);
                return None;
            }
            Event::Path(a, b, up) => {
                cluster.setting.guests.set_link(&a.node(), &b.node(), *up);
                return None;
            }
            Event::GuestEnds(guest, reason) => {
                if let Some(vm) = cluster.world().vms.get(guest) {
                    cluster.setting.guests.end_guest(vm.uid(), *reason);
                }
                return None;
            }
            Event::HandOver => {
                hand_over(cluster).await;
                return None;
            }
            Event::Note => return None,
        };
        let places = whom.resolve(cluster, them);
        places.iter().for_each(|place| deed(cluster, *place));
        Some(places)
    }
}

fn cut(words: &[&str]) -> Result<Event, String> {
    let (words, one_way) = match words {
        [rest @ .., "one", "way"] => (rest, true),
        rest => (rest, false),
    };
    let text = words.join(" ");
    let (those, others) = text.split_once(" from ").ok_or("cut WHOM from WHOM, or cut WHOM off")?;
    Ok(Event::Cut { those: Hosts::parse(those)?, from: Some(Hosts::parse(others)?), one_way })
}

fn cut_off(cluster: &Cluster, those: &[Place], others: &[Place], one_way: bool) {
    let net = &cluster.setting.net;
    if !one_way {
        return net.part(those, others);
    }
    for from in those {
        others.iter().filter(|to| *to != from).for_each(|to| net.cut(*from, *to));
    }
}

fn cut_bmc(cluster: &Cluster, place: Place, cut: bool) {
    cluster.setting.boards.cut_from_bmcs(place, cut);
    if cut {
        cluster.setting.boards.bmcs.fail(&bmc_address(place), Fault::Dead);
    } else {
        cluster.setting.boards.repair(place);
    }
}

async fn hand_over(cluster: &Cluster) {
    let Some((place, leader)) = cluster.leader() else { return };
    let me = leader.store().options().me.id;
    let others: Vec<_> =
        leader.store().view().members().into_iter().filter(|member| member.id != me).collect();
    let Some(to) = cluster.dice.pick(&others).map(|member| member.id) else { return };
    cluster.setting.trace.say(format!("{place} hands over"));
    tokio::spawn(async move { leader.store().transfer_leadership(to).await });
}

fn percent(text: &str) -> Result<u64, String> {
    text.strip_suffix('%').and_then(|n| n.parse().ok()).ok_or_else(|| format!("{text:?} is no percentage"))
}

impl BmcState {
    fn parse(text: &str) -> Result<BmcState, String> {
        Ok(match text {
            "dead" => BmcState::Broken(Fault::Dead),
            "stuck" => BmcState::Broken(Fault::Stuck),
            "locked" => BmcState::Broken(Fault::WrongPassword),
            "another" => BmcState::Another,
            "repaired" => BmcState::Repaired,
            _ => {
                return Err(format!(
                    "a BMC is dead, stuck, locked, another, slow TIME or repaired, not {text:?}"
                ));
            }
        })
    }

    fn befall(self, cluster: &Cluster, place: Place) {
        let (bmcs, address) = (&cluster.setting.boards.bmcs, bmc_address(place));
        match self {
            BmcState::Broken(fault) => bmcs.fail(&address, fault),
            BmcState::Slow(by) => bmcs.slow(&address, by),
            BmcState::Another => bmcs.identify(&address, "another-identity"),
            BmcState::Repaired => cluster.setting.boards.repair(place),
        }
    }
}

impl HypervisorState {
    fn parse(words: &[&str]) -> Result<HypervisorState, String> {
        Ok(match words {
            ["hangs"] => HypervisorState::Hangs,
            ["is", "unreachable"] => HypervisorState::Unreachable,
            ["is", "slow", time] => HypervisorState::Slow(duration(time)?),
            ["fails", count, "starts"] => HypervisorState::FailsStarts(number(count)?),
            ["fails", count, "migrations"] => HypervisorState::FailsMigrations(number(count)?),
            ["loses", count, "migrations"] => HypervisorState::LosesMigrations(number(count)?),
            ["is", "well"] => HypervisorState::Well,
            _ => return Err(format!("{:?} is nothing that a hypervisor does", words.join(" "))),
        })
    }

    fn befall(self, cluster: &Cluster, place: Place) {
        cluster.setting.guests.faults(&place.node(), |faults| match self {
            HypervisorState::Hangs => faults.hang = true,
            HypervisorState::Unreachable => faults.unreachable = true,
            HypervisorState::Slow(by) => faults.delay = by,
            HypervisorState::FailsStarts(count) => faults.fail_starts = count,
            HypervisorState::FailsMigrations(count) => faults.fail_migrations = count,
            HypervisorState::LosesMigrations(count) => faults.lose_migrations = count,
            HypervisorState::Well => *faults = Default::default(),
        });
    }
}

impl DiskState {
    fn befall(self, cluster: &Cluster, place: Place) {
        let disk = cluster.disk(place);
        match self {
            DiskState::Full => disk.set_full(true),
            DiskState::Slow(by) => disk.set_sync_delay(by),
            DiskState::Well => {
                disk.set_full(false);
                disk.set_sync_delay(Duration::from_millis(2));
            }
        }
    }
}
