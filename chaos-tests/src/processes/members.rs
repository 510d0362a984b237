//! Machines and the processes of members on them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use pvc_bare::client::{Client, ClientError};
use pvc_bare::hosts::{address, at};
use pvc_bare::talk::{Status, Verb};
use pvc_process::{Daemon, DaemonLogs};
use tokio::time::Instant;

const PORT: u16 = 7000;
const SIGKILL: i32 = libc::SIGKILL;
const ASK_WITHIN: Duration = Duration::from_secs(3);
/// A change of members waits for the new one to catch up.
const CHANGE_WITHIN: Duration = Duration::from_secs(15);
const AGAIN_AFTER: Duration = Duration::from_millis(300);

struct Machine {
    member: Option<u64>,
    process: Option<Daemon>,
}

pub struct Members {
    program: PathBuf,
    folder: PathBuf,
    machines: Mutex<BTreeMap<u8, Machine>>,
    last_id: Mutex<u64>,
    log: Mutex<Vec<String>>,
    begun: Instant,
    pub counts: Mutex<BTreeMap<&'static str, u64>>,
}

pub fn listen(place: u8) -> String {
    format!("{}:{PORT}", address(place))
}

/// The machine of an address that a member gave.
pub fn place_at(address: &str) -> Option<u8> {
    address.split(':').next()?.rsplit('.').next()?.parse().ok()
}

impl Members {
    pub fn new(program: PathBuf, folder: PathBuf, machines: u8) -> Members {
        let machines = (1..=machines).map(|place| (place, Machine { member: None, process: None })).collect();
        Members {
            program,
            folder,
            machines: Mutex::new(machines),
            last_id: Mutex::new(0),
            log: Mutex::default(),
            begun: Instant::now(),
            counts: Mutex::default(),
        }
    }

    pub fn say(&self, line: impl std::fmt::Display) {
        let line = format!("{:>8.3} {line}", self.begun.elapsed().as_secs_f64());
        tracing::info!("{line}");
        self.log.lock().push(line);
    }

    pub fn count(&self, what: &'static str) {
        *self.counts.lock().entry(what).or_default() += 1;
    }

    pub fn said(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// What the members' processes said last.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for id in 1..=*self.last_id.lock() {
            let text = std::fs::read_to_string(self.log_of(id)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            all += &format!("member {id}:\n  {}\n", lines[lines.len().saturating_sub(20)..].join("\n  "));
        }
        all
    }

    fn log_of(&self, id: u64) -> PathBuf {
        self.folder.join(format!("member-{id}.log"))
    }

    /// Machines with a member on them.
    pub fn places(&self) -> Vec<u8> {
        let machines = self.machines.lock();
        machines.iter().filter(|(_, machine)| machine.member.is_some()).map(|(place, _)| *place).collect()
    }

    pub fn empty_places(&self) -> Vec<u8> {
        let machines = self.machines.lock();
        machines.iter().filter(|(_, machine)| machine.member.is_none()).map(|(place, _)| *place).collect()
    }

    pub fn member_at(&self, place: u8) -> Option<u64> {
        self.machines.lock().get(&place)?.member
    }

    pub fn is_running(&self, place: u8) -> bool {
        let machines = self.machines.lock();
        machines.get(&place).and_then(|machine| machine.process.as_ref()).is_some_and(|p| p.id().is_running())
    }

    /// Starts the machine's member, unless it runs.
    pub fn start(&self, place: u8) -> Result<()> {
        if self.is_running(place) {
            return Ok(());
        }
        let Some(id) = self.member_at(place) else { return Ok(()) };
        let folder = self.folder.join(format!("member-{id}"));
        // It ends with us, however we end.
        let cmd = at(place, "setpriv").args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
        let cmd =
            cmd.args(["serve", "--id", &id.to_string(), "--listen", &listen(place)]).arg("--dir").arg(folder);
        // Small, so that members come back by snapshots, and watchers are sent to list again.
        let cmd =
            cmd.args(["--checkpoint-entries", "400", "--checkpoint-keep", "100", "--ring-events", "60"]);
        let process = cmd.spawn_daemon(&DaemonLogs::joined(self.log_of(id)))?;
        let mut machines = self.machines.lock();
        machines.get_mut(&place).context("no such machine")?.process = Some(process);
        Ok(())
    }

    pub fn signal(&self, place: u8, signal: i32) {
        let machines = self.machines.lock();
        if let Some(process) = machines.get(&place).and_then(|machine| machine.process.as_ref()) {
            // One that has ended meanwhile needs no signal.
            let _ = process.id().signal(signal);
        }
    }

    pub async fn kill(&self, place: u8) {
        self.signal(place, SIGKILL);
        loop {
            let ended = {
                let mut machines = self.machines.lock();
                let process = machines.get_mut(&place).and_then(|machine| machine.process.as_mut());
                process.is_none_or(|process| process.exited().is_ok_and(|exit| exit.is_some()))
            };
            if ended {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A new member's process on an empty machine.
    pub fn settle(&self, place: u8) -> Result<u64> {
        let id = {
            let mut last = self.last_id.lock();
            *last += 1;
            *last
        };
        self.machines.lock().get_mut(&place).context("no such machine")?.member = Some(id);
        self.start(place)?;
        Ok(id)
    }

    /// The machine is emptied, for another member.
    pub async fn clear(&self, place: u8) {
        self.kill(place).await;
        let id = self.machines.lock().get_mut(&place).and_then(|machine| machine.member.take());
        if let Some(id) = id {
            let _ = std::fs::remove_dir_all(self.folder.join(format!("member-{id}")));
        }
    }

    pub async fn found(&self, members: u8) -> Result<()> {
        self.settle(1)?;
        let until = Instant::now() + CHANGE_WITHIN;
        while let Err(error) = self.ask(1, Verb::Found, 1, "").await {
            if Instant::now() > until {
                bail!("the store could not be founded: {error}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for place in 2..=members {
            let id = self.settle(place)?;
            if !self.add(id, place).await {
                bail!("machine {place} could not be added: {}", self.said().join("\n"));
            }
        }
        Ok(())
    }

    async fn ask(&self, place: u8, verb: Verb, member: u64, address: &str) -> Result<(), ClientError> {
        let asked = async {
            let mut client = Client::connect(&listen(place), ASK_WITHIN).await?;
            client.change(verb, member, address).await
        };
        tokio::time::timeout(CHANGE_WITHIN, asked).await.unwrap_or(Err(ClientError::Timeout))
    }

    pub async fn status(&self, place: u8) -> Option<Status> {
        let asked = async {
            let mut client = Client::connect(&listen(place), ASK_WITHIN).await?;
            client.status().await
        };
        tokio::time::timeout(ASK_WITHIN, asked).await.ok()?.ok()
    }

    /// The statuses of all that answer.
    pub async fn statuses(&self) -> BTreeMap<u8, Status> {
        let asked =
            self.places().into_iter().map(|place| async move { Some((place, self.status(place).await?)) });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    pub async fn leader(&self) -> Option<u8> {
        let leads = self.statuses().await.into_iter().filter(|(_, status)| status.leads);
        leads.max_by_key(|(_, status)| status.term).map(|(place, _)| place)
    }

    /// How many vote, as the leader has it; 0: nobody leads.
    pub async fn voters(&self) -> usize {
        let leader = self.leader().await;
        let statuses = self.statuses().await;
        leader.and_then(|place| statuses.get(&place)).map_or(0, |status| status.voters.len())
    }

    /// Asks whoever leads, until it is done or too late.
    async fn change(&self, verb: Verb, member: u64, place: u8) -> bool {
        let until = Instant::now() + CHANGE_WITHIN;
        while Instant::now() < until {
            let said = match self.leader().await {
                None => "nobody leads".to_owned(),
                Some(leader) => match self.ask(leader, verb, member, &listen(place)).await {
                    Ok(()) => {
                        self.say(format!("{verb:?} of member {member} is done"));
                        return true;
                    }
                    Err(error) => {
                        // It may have been done by an attempt without an answer.
                        let text = error.to_string();
                        let done = match verb {
                            Verb::AddLearner => text.contains("is or was a member"),
                            Verb::Promote => text.contains("votes already"),
                            _ => text.contains("there is no member"),
                        };
                        if done {
                            return true;
                        }
                        text
                    }
                },
            };
            self.say(format!("{verb:?} of member {member}: not yet: {said}"));
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        false
    }

    pub async fn add(&self, id: u64, place: u8) -> bool {
        self.change(Verb::AddLearner, id, place).await && self.change(Verb::Promote, id, place).await
    }

    pub async fn remove(&self, place: u8) -> bool {
        let Some(id) = self.member_at(place) else { return false };
        self.change(Verb::Remove, id, place).await
    }

    pub async fn transfer(&self, to: u64) {
        if let Some(leader) = self.leader().await {
            let said = self.ask(leader, Verb::Transfer, to, "").await;
            self.say(format!("machine {leader} hands over to member {to}: {said:?}"));
        }
    }

    /// Empties machines whose members are out: everybody who answers must have applied that.
    pub async fn tidy(&self) {
        let statuses = self.statuses().await;
        for place in self.places() {
            let Some(id) = self.member_at(place) else { continue };
            let mut others = statuses.iter().filter(|(other, _)| **other != place).map(|(_, status)| status);
            let voters = others.clone().filter(|status| status.voters.len() >= 3).count();
            if voters >= 2 && others.all(|status| !status.members.contains(&id)) {
                self.say(format!("member {id} is out, machine {place} is emptied"));
                self.clear(place).await;
            }
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for place in self.places() {
            self.signal(place, SIGKILL);
        }
    }
}
