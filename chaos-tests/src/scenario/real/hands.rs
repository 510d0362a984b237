//! What befalls real hosts, and what administrators ask: as words for `pvc-bootstrap local` and `pvc`.

use anyhow::{Result, bail};
use pvc_model::Command;
use pvc_model::rule::{RuleKind, Strength};

use super::Place;
use super::eyes::Sight;
use crate::scenario::event::{BmcState, Event};
use crate::scenario::{Guest, Hosts, Wish};
use pvc_coordinator::core::power::Fault;

/// Memory of a guest here; the machine gives each host its own.
const MEMORY: &str = "64M";
const SMALL_MIB: u64 = 256;

type Words = Vec<String>;

fn words_of<const N: usize>(words: [&str; N]) -> Words {
    words.map(str::to_owned).to_vec()
}

/// Why there are no hands for it; None: there are.
pub fn refusal_of_event(event: &Event) -> Option<String> {
    match event {
        Event::PowerOff(_)
        | Event::PowerOn(_)
        | Event::Kill(_)
        | Event::Start(_)
        | Event::Restart(_)
        | Event::Bmc(_, BmcState::Broken(Fault::Dead) | BmcState::Repaired)
        | Event::FreezeHost(_, _)
        | Event::Cut { .. }
        | Event::Heal
        | Event::Rejoin(_)
        | Event::Note => None,
        other => Some(format!("no hands for {other:?}")),
    }
}

pub fn refusal_of_guest(guest: &Guest) -> Option<String> {
    let Command::CreateVm { spec, .. } = &guest.create else { return Some("no guest".to_owned()) };
    (spec.memory_mib > SMALL_MIB).then(|| format!("no room for a guest of {} MiB", spec.memory_mib))
}

/// Whom it befalls, and the words by which it does.
pub fn carry_out(event: &Event, sight: &Sight, them: &[String]) -> Result<(Option<Words>, Vec<Words>)> {
    let each = |hosts: &Hosts, verb: &dyn Fn(&str) -> Words| {
        let whom = sight.resolve(hosts, them);
        let commands = whom.iter().map(|host| verb(host)).collect();
        (Some(whom), commands)
    };
    Ok(match event {
        Event::PowerOff(hosts) => each(hosts, &|host| words_of(["power", host, "off"])),
        Event::PowerOn(hosts) => each(hosts, &|host| words_of(["power", host, "on"])),
        Event::Kill(hosts) => each(hosts, &|host| words_of(["kill", host, "--what", "pvcd", "--hold"])),
        Event::Restart(hosts) => each(hosts, &|host| words_of(["kill", host, "--what", "pvcd"])),
        Event::Start(hosts) => each(hosts, &|host| words_of(["start", host])),
        Event::Bmc(hosts, BmcState::Broken(_)) => {
            each(hosts, &|host| words_of(["kill", host, "--what", "bmc"]))
        }
        Event::Bmc(hosts, _) => each(hosts, &|host| words_of(["start", host])),
        Event::FreezeHost(hosts, true) => each(hosts, &|host| words_of(["freeze", host])),
        Event::FreezeHost(hosts, false) => each(hosts, &|host| words_of(["thaw", host])),
        Event::Rejoin(hosts) => each(hosts, &|host| words_of(["heal", host])),
        Event::Heal => (None, vec![words_of(["heal"])]),
        Event::Cut { those, from: None, one_way } => each(those, &|host| cut(host, None, *one_way)),
        Event::Cut { those, from: Some(others), one_way } => {
            let (those, others) = (sight.resolve(those, them), sight.resolve(others, them));
            let pairs = those.iter().flat_map(|from| others.iter().map(move |to| (from, to)));
            let pairs = pairs.filter(|(from, to)| from != to);
            let commands = pairs.map(|(from, to)| cut(from, Some(to), *one_way)).collect();
            (Some(those), commands)
        }
        other => bail!("no hands for {other:?}"),
    })
}

fn cut(host: &str, from: Option<&str>, one_way: bool) -> Words {
    let mut words = words_of(["cut", host]);
    words.extend(from.map(str::to_owned));
    // The network of the cluster alone: guests have one of their own.
    words.extend(words_of(["--net", "cluster"]));
    if one_way {
        words.push("--one-way".to_owned());
    }
    words
}

/// All trouble is over.
pub async fn relent(place: &Place, hosts: &[String]) -> Result<()> {
    place.local(&words_of(["heal"])).await?;
    for host in hosts {
        // One that was not frozen, or is on, is refused or stays as it is: both are well.
        drop(place.local(&words_of(["thaw", host])).await);
        drop(place.local(&words_of(["power", host, "on"])).await);
        drop(place.local(&words_of(["start", host])).await);
    }
    Ok(())
}

/// Makes the hosts' BMCs known: at .101 for hv1, and so on, in the cluster's network.
pub async fn set_bmcs(place: &Place, sight: &Sight) -> Result<()> {
    for (number, (node, address)) in sight.addresses().into_iter().enumerate() {
        let Some((network, _)) = address.rsplit_once('.') else { bail!("{node} is at {address:?}") };
        let bmc = format!("{network}.{}", 101 + number);
        let password = format!("/var/lib/pvc-local/{}/bmcs/{node}/password", place.name);
        let words = words_of(["node", "bmc", "set", &node, "--address", &bmc, "--user", "ADMIN"]);
        let words = [words, words_of(["--password-file", &password])].concat();
        let output = place.pvc(&words).await?;
        if output.code != 0 {
            bail!("the BMC of {node} can't be set: {}", output.stderr_text());
        }
    }
    Ok(())
}

/// The commands that make a guest, and start it.
pub fn guest_words(place: &Place, guest: &Guest) -> Result<Vec<Words>, String> {
    let Command::CreateVm { name, spec } = &guest.create else { return Err("no guest".to_owned()) };
    let file = |file: &str| place.guest.join(file).display().to_string();
    let disk = format!("{name}-disk:16M");
    let cmdline = format!("console=ttyS0 quiet pvc.name={name}");
    let mut define =
        words_of(["vm", "define", name.as_str(), "--vcpus", "1", "--memory", MEMORY, "--disk", &disk]);
    define.extend(words_of(["--kernel", &file("vmlinuz"), "--initrd", &file("initramfs.cpio")]));
    define.extend(words_of(["--cmdline", &cmdline, "--max-restarts", "100"]));
    define.extend(words_of(["--priority", &spec.priority.to_string()]));
    for node in &spec.node_limit {
        define.extend(words_of(["--node-limit", node.as_str()]));
    }
    if let Some(home) = &spec.home {
        define.extend(words_of(["--home", home.as_str()]));
    }
    if !spec.recover {
        define.push("--no-recover".to_owned());
    }
    let start = guest.start.iter().map(|start| words(&Wish::This(Box::new(start.clone()))));
    std::iter::once(Ok(define)).chain(start).collect()
}

/// Whether it moves a guest that runs.
pub fn moves(wish: &Wish) -> bool {
    let Wish::This(command) = wish else { return false };
    matches!(
        &**command,
        Command::MigrateVm { .. }
            | Command::UnmigrateVm { .. }
            | Command::MoveVm { .. }
            | Command::FlushNode { .. }
            | Command::ReadyNode { .. }
            | Command::BalanceCluster
    )
}

/// In the words of the command line, without waiting for the task.
pub fn words(wish: &Wish) -> Result<Words, String> {
    let Wish::This(command) = wish else { return Err(format!("no words for {wish:?}")) };
    let on = |node: &Option<pvc_model::Name>| {
        node.iter().flat_map(|node| words_of(["-t", node.as_str()])).collect::<Words>()
    };
    let unwaited = |words: Words| [words, words_of(["-W", "-y"])].concat();
    Ok(match &**command {
        Command::FenceNode { name, confirmed_off, force } => {
            let mut words = words_of(["node", "fence", name.as_str(), "-y"]);
            words.extend(confirmed_off.then(|| "--confirm-off".to_owned()));
            words.extend(force.then(|| "--force".to_owned()));
            words
        }
        Command::ReadyNode { node, no_return } => {
            let mut words = words_of(["node", "ready", node.as_str()]);
            words.extend(no_return.then(|| "--no-return".to_owned()));
            unwaited(words)
        }
        Command::FlushNode { node, stop_unmovable } => {
            let mut words = words_of(["node", "flush", node.as_str()]);
            words.extend(stop_unmovable.then(|| "--stop-unmovable".to_owned()));
            unwaited(words)
        }
        Command::UpdateNode { name, schedulable: Some(schedulable), .. } => {
            words_of(["node", "update", name.as_str(), "--schedulable", &schedulable.to_string()])
        }
        Command::Disarm { reason } => words_of(["cluster", "disarm", "--reason", reason]),
        Command::Arm => words_of(["cluster", "arm"]),
        Command::ReleaseBrake => words_of(["cluster", "release-brake", "-y"]),
        Command::BalanceCluster => unwaited(words_of(["cluster", "balance", "--apply"])),
        Command::StartVm { name, node } => {
            unwaited([words_of(["vm", "start", name.as_str()]), on(node)].concat())
        }
        Command::StopVm { name } => unwaited(words_of(["vm", "stop", name.as_str()])),
        Command::ShutdownVm { name, .. } => unwaited(words_of(["vm", "shutdown", name.as_str()])),
        Command::RestartVm { name, .. } => unwaited(words_of(["vm", "restart", name.as_str()])),
        Command::MigrateVm { name, node, .. } => {
            unwaited([words_of(["vm", "migrate", name.as_str()]), on(node)].concat())
        }
        Command::UnmigrateVm { name, .. } => unwaited(words_of(["vm", "unmigrate", name.as_str()])),
        Command::MoveVm { name, node, .. } => {
            unwaited(words_of(["vm", "move", name.as_str(), "-t", node.as_str()]))
        }
        Command::CreateRule { name, spec } => {
            let kind = match spec.kind {
                RuleKind::Together => "together",
                RuleKind::Apart => "apart",
                RuleKind::OnNodes => "on-nodes",
                RuleKind::NotOnNodes => "not-on-nodes",
            };
            let mut words = words_of(["affinity", "add", name.as_str(), kind]);
            words.extend(spec.vms.iter().flat_map(|vm| words_of(["--vm", vm.as_str()])));
            words.extend(spec.nodes.iter().flat_map(|node| words_of(["--node", node.as_str()])));
            words.extend((spec.strength == Strength::Should).then(|| "--should".to_owned()));
            words
        }
        other => return Err(format!("no words for {other:?}")),
    })
}
