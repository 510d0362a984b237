//! Changes the running daemons, line by line, so that no session is dropped which need not be.
//!
//! First what is missing is added, then what is too much is taken back: a value that replaces another one leaves no gap.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use super::change::{follows, holder, is_ours, missing, regrouped, taken_back};
use super::text::{Line, parse};
use super::vty::{Vty, VtyError};

/// Without these nothing works.
const NEEDED: [&str; 2] = ["bgpd", "bfdd"];

/// What the daemons are to be configured as.
pub(super) struct Wanted {
    pub(super) asn: u32,
    pub(super) own: Vec<Line>,
    /// People's own lines, whichever daemon takes them.
    pub(super) theirs: Vec<Line>,
    /// What was wanted last: what is not wanted any more is taken back wherever it stands.
    pub(super) before: Vec<Line>,
}

/// The daemons that run, with their configurations as they are.
pub(super) struct Live {
    daemons: BTreeMap<String, Vty>,
    running: BTreeMap<String, HashSet<Line>>,
    ordered: BTreeMap<String, Vec<Line>>,
    pub(super) done: Vec<String>,
    pub(super) problems: Vec<String>,
}

/// Lines that a daemon has taken and does not show, and such that it does not let go: they are not said again.
#[derive(Default)]
pub(super) struct Peculiar {
    unseen: HashSet<(String, Line)>,
    stuck: HashSet<(String, Line)>,
}

impl Live {
    pub(super) async fn open(run_dir: &Path) -> Result<Live, VtyError> {
        let mut daemons = BTreeMap::new();
        for daemon in NEEDED {
            daemons.insert(daemon.to_owned(), Vty::open(run_dir, daemon).await?);
        }
        for name in sockets(run_dir) {
            // A socket may be left behind by a daemon that does not run.
            if !daemons.contains_key(&name)
                && let Ok(vty) = Vty::open(run_dir, &name).await
            {
                daemons.insert(name, vty);
            }
        }
        let mut live = Live {
            daemons,
            running: BTreeMap::new(),
            ordered: BTreeMap::new(),
            done: vec![],
            problems: vec![],
        };
        live.look().await?;
        Ok(live)
    }

    async fn look(&mut self) -> Result<(), VtyError> {
        for (name, vty) in &mut self.daemons {
            let lines = parse(&vty.command("show running-config").await?);
            self.running.insert(name.clone(), lines.iter().cloned().collect());
            self.ordered.insert(name.clone(), lines);
        }
        Ok(())
    }

    pub(super) async fn bring(&mut self, wanted: &Wanted, peculiar: &mut Peculiar) -> Result<(), VtyError> {
        if !self.running["bgpd"].contains(&router(wanted.asn)) {
            // A daemon that has just started shows and hides what it likes anew.
            *peculiar = Peculiar::default();
            self.free_the_place(wanted).await?;
        }
        self.add(wanted, peculiar).await?;
        self.take_back(wanted, peculiar).await
    }

    /// A daemon speaks for one autonomous system.
    async fn free_the_place(&mut self, wanted: &Wanted) -> Result<(), VtyError> {
        let other = self.ordered["bgpd"].iter().find(|line| {
            let number = line.text.strip_prefix("router bgp ").map(str::parse::<u32>);
            line.blocks.is_empty() && matches!(number, Some(Ok(_)))
        });
        let Some(other) = other.cloned() else { return Ok(()) };
        if wanted.before.contains(&other) {
            let undo = Line { blocks: vec![], text: other.undone() };
            self.say("bgpd", &[undo]).await?;
            self.look().await?;
        } else {
            self.problems.push(format!(
                "FRRouting has `{}` on this host, which is not the cluster's: take it away (vtysh -c 'configure' -c 'no {}'), or \
                 let the cluster have that number",
                other.text, other.text
            ));
        }
        Ok(())
    }

    async fn add(&mut self, wanted: &Wanted, peculiar: &mut Peculiar) -> Result<(), VtyError> {
        let mut said = Vec::new();
        for daemon in NEEDED {
            let here: Vec<Line> = wanted.own.iter().filter(|line| holder(line) == daemon).cloned().collect();
            let lines: Vec<Line> = missing(&here, &self.running[daemon]).into_iter().cloned().collect();
            let lines: Vec<Line> = lines
                .into_iter()
                .filter(|line| !peculiar.unseen.contains(&(daemon.to_owned(), line.clone())))
                .collect();
            self.say(daemon, &regrouped(&lines, &self.running[daemon])).await?;
            let refused = self.say(daemon, &lines).await?;
            self.problems.extend(refused.iter().map(|(_, reason)| reason.clone()));
            said.extend(lines.into_iter().map(|line| (daemon.to_owned(), line)));
        }
        let everywhere: HashSet<Line> = self.running.values().flatten().cloned().collect();
        let theirs: Vec<Line> = missing(&wanted.theirs, &everywhere)
            .into_iter()
            .filter(|line| !peculiar.unseen.contains(&(String::new(), (*line).clone())))
            .cloned()
            .collect();
        if !theirs.is_empty() {
            let mut refused_by_all: BTreeMap<Line, String> = BTreeMap::new();
            let mut taken: HashSet<Line> = HashSet::new();
            for daemon in self.daemons.keys().cloned().collect::<Vec<_>>() {
                let refused: BTreeMap<Line, String> = self.say(&daemon, &theirs).await?.into_iter().collect();
                taken.extend(theirs.iter().filter(|line| !refused.contains_key(line)).cloned());
                refused_by_all.extend(refused);
            }
            let refused = refused_by_all.into_iter().filter(|(line, _)| !taken.contains(line));
            self.problems
                .extend(refused.map(|(line, reason)| format!("your own setting `{}`: {reason}", line.text)));
            said.extend(taken.into_iter().map(|line| (String::new(), line)));
        }
        if said.is_empty() {
            return Ok(());
        }
        self.look().await?;
        let everywhere: HashSet<Line> = self.running.values().flatten().cloned().collect();
        for (daemon, line) in said {
            let seen = self.running.get(&daemon).unwrap_or(&everywhere).contains(&line);
            if seen {
                self.done.push(line.text);
            } else if self.problems.is_empty() {
                tracing::debug!(daemon, line = line.text, "was taken and is not shown");
                peculiar.unseen.insert((daemon, line));
            }
        }
        Ok(())
    }

    async fn take_back(&mut self, wanted: &Wanted, peculiar: &mut Peculiar) -> Result<(), VtyError> {
        let all: Vec<Line> = wanted.own.iter().chain(&wanted.theirs).cloned().collect();
        let kept: HashSet<&Line> = all.iter().collect();
        let before: HashSet<&Line> = wanted.before.iter().collect();
        let mut said = Vec::new();
        for daemon in self.daemons.keys().cloned().collect::<Vec<_>>() {
            let needed = NEEDED.contains(&daemon.as_str());
            let surplus: Vec<Line> = self.ordered[&daemon]
                .iter()
                .filter(|line| !kept.contains(line))
                .filter(|line| before.contains(line) || (needed && is_ours(line, wanted.asn)))
                .filter(|line| !peculiar.stuck.contains(&(daemon.clone(), (*line).clone())))
                .cloned()
                .collect();
            // That it can't be said again is seen from whether it is still there.
            self.say(&daemon, &taken_back(&surplus, &all)).await?;
            said.extend(surplus.into_iter().map(|line| (daemon.clone(), line)));
        }
        if said.is_empty() {
            return Ok(());
        }
        self.look().await?;
        for (daemon, line) in said {
            if self.running[&daemon].contains(&line) {
                tracing::warn!(daemon, line = line.text, "does not let it go");
                peculiar.stuck.insert((daemon, line));
            } else {
                self.done.push(line.undone());
            }
        }
        Ok(())
    }

    /// Says lines to a daemon, each in its blocks. Answers those that it refuses, and why.
    async fn say(&mut self, daemon: &str, lines: &[Line]) -> Result<Vec<(Line, String)>, VtyError> {
        let Some(vty) = self.daemons.get_mut(daemon) else { return Ok(Vec::new()) };
        let mut refused = Vec::new();
        let mut last: Option<&Line> = None;
        for line in lines {
            let entered = match last {
                Some(last) if follows(last, line) => Ok(()),
                _ => enter(vty, &line.blocks).await,
            };
            let outcome = match entered {
                Ok(()) => vty.command(&line.text).await.map(drop),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => last = Some(line),
                Err(error @ VtyError::Refused { .. }) => {
                    refused.push((line.clone(), error.to_string()));
                    last = None;
                }
                Err(error) => return Err(error),
            }
        }
        if !lines.is_empty() {
            vty.command("end").await?;
        }
        Ok(refused)
    }
}

async fn enter(vty: &mut Vty, blocks: &[String]) -> Result<(), VtyError> {
    vty.command("end").await?;
    vty.command("configure terminal").await?;
    for block in blocks {
        vty.command(block).await?;
    }
    Ok(())
}

fn router(asn: u32) -> Line {
    Line { blocks: vec![], text: format!("router bgp {asn}") }
}

/// The daemons that have a socket.
fn sockets(run_dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(run_dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut daemons: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".vty")?.to_owned())).collect();
    daemons.sort();
    daemons
}
