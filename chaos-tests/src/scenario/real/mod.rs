//! Scenarios on a real cluster: the same text, played by `pvc-bootstrap local` and `pvc` on hosts with libvirt, qemu and BMCs,
//! in real time. What there are no hands for is refused by name before anything is done.
//!
//! What may never happen here: a line that is passed over, or an expectation that is taken for true because nobody looked.

mod eyes;
mod hands;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pvc_model::Name;
use pvc_process::Cmd;
use tokio::time::Instant;

use self::eyes::{Eyes, Sight};
use super::event::Event;
use super::{Expected, Guest, Scenario, Step, What, Wish};

/// How often a real cluster is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What comes by itself in a simulation comes within this time here.
const COMES_WITHIN: Duration = Duration::from_secs(180);
const GUESTS_WITHIN: Duration = Duration::from_secs(180);
/// After the end all is well again within this time.
const HEALS_WITHIN: Duration = Duration::from_secs(300);
const COMMAND_WITHIN: Duration = Duration::from_secs(300);

/// Where the programs and the guest's files are, and how patient to be.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder with pvc, pvcd and pvc-bootstrap.
    pub programs: PathBuf,
    /// The folder with the little guest's kernel and its files.
    pub guest: PathBuf,
    /// The local cluster's name.
    pub name: String,
    /// `within` is given so many times its time: a machine that emulates all hosts' processors is slow.
    pub patience: u32,
}

impl Place {
    async fn call(&self, program: &str, args: &[String]) -> Result<pvc_process::Output> {
        let cmd = Cmd::new(self.programs.join(program)).args(args).accept_codes(0..=9);
        let cmd = cmd.env("HOME", std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned()));
        let output = cmd.run(COMMAND_WITHIN).await.with_context(|| format!("{program} {args:?}"))?;
        if output.code != 0 {
            tracing::debug!(program, ?args, code = output.code, said = %output.stderr_text());
        }
        Ok(output)
    }

    async fn local(&self, words: &[String]) -> Result<()> {
        let name = ["local", "--name", &self.name].map(str::to_owned);
        let output = self.call("pvc-bootstrap", &[&name[..], words].concat()).await?;
        if output.code != 0 {
            bail!("pvc-bootstrap local {}: {}", words.join(" "), output.stderr_text());
        }
        Ok(())
    }

    async fn pvc(&self, words: &[String]) -> Result<pvc_process::Output> {
        let connection = ["--connection", &self.name].map(str::to_owned);
        self.call("pvc", &[&connection[..], words].concat()).await
    }
}

/// Why a scenario can't be played on a real cluster; None: it can.
pub fn refusal(scenario: &Scenario) -> Option<String> {
    fn of_steps(steps: &[Step]) -> Option<String> {
        let refused = |all: &[Expected]| all.iter().find_map(|expected| eyes::refusal(&expected.check));
        steps.iter().find_map(|step| match &step.what {
            What::Guests(guests) => guests.iter().find_map(hands::refusal_of_guest),
            What::Do(event) => hands::refusal_of_event(event),
            What::When(expected, event) => {
                eyes::refusal(&expected.check).or_else(|| hands::refusal_of_event(event))
            }
            What::Wait(_) => None,
            What::Within(_, all) | What::For(_, all) | What::Now(all) | What::Always(all) => refused(all),
            What::Admin(wish) | What::Refused(_, wish) => hands::words(wish).err(),
            What::Admins(wishes) => wishes.iter().find_map(|wish| hands::words(wish).err()),
            What::Repeat(_, inner) => of_steps(inner),
        })
    }
    let shape = &scenario.shape;
    if shape.spares > 0 || shape.clock_skew_max_ms > 0 {
        return Some("no hands for hosts that stand by, or whose clocks are wrong".to_owned());
    }
    if shape.coordinators + shape.hypervisors > 5 {
        return Some("this machine has room for five hosts".to_owned());
    }
    of_steps(&scenario.steps)
        .or_else(|| scenario.finally.iter().find_map(|expected| eyes::refusal(&expected.check)))
}

/// Plays it on a cluster of its own, which it removes again. An error names the line that was not so.
pub async fn play(scenario: &Scenario, place: &Place) -> Result<()> {
    if let Some(why) = refusal(scenario) {
        bail!("{:?} is not for a real cluster: {why}", scenario.title);
    }
    let player = &mut Player {
        scenario,
        place,
        eyes: Eyes::new(place.clone(), &scenario.shape, scenario.steps.iter().any(moves)),
        always: Vec::new(),
        noted: BTreeMap::new(),
        them: Vec::new(),
    };
    let played = player.all().await;
    let removed = place.local(&["down".to_owned()]).await;
    played.and(removed)
}

/// Whether it moves guests that run: then one of them is on two hosts for a while, and writes on one.
fn moves(step: &Step) -> bool {
    match &step.what {
        What::Admin(wish) | What::Refused(_, wish) => hands::moves(wish),
        What::Admins(wishes) => wishes.iter().any(hands::moves),
        What::Repeat(_, inner) => inner.iter().any(moves),
        _ => false,
    }
}

struct Player<'s> {
    scenario: &'s Scenario,
    place: &'s Place,
    eyes: Eyes,
    always: Vec<(usize, Expected)>,
    /// The processes of each guest, when it was noted.
    noted: BTreeMap<Name, Vec<u32>>,
    them: Vec<String>,
}

impl Player<'_> {
    async fn all(&mut self) -> Result<()> {
        let shape = &self.scenario.shape;
        let hosts = (shape.coordinators + shape.hypervisors).to_string();
        let voters = shape.coordinators.to_string();
        let up = ["up", "--hosts", &hosts, "--voters", &voters].map(str::to_owned);
        self.place.local(&up).await?;
        self.eyes.wait_for_nodes().await?;
        if shape.bmcs {
            hands::set_bmcs(self.place, &self.eyes.look().await?).await?;
        }
        self.steps(&self.scenario.steps).await?;
        self.always.clear();
        hands::relent(self.place, &self.eyes.hosts).await?;
        let well = Expected { text: "well".into(), not: false, check: super::Check::Well };
        self.within(0, HEALS_WITHIN, &[well]).await?;
        self.expect(0, &self.scenario.finally).await
    }

    async fn steps(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            println!("  -- {}", self.line(step.line));
            Box::pin(self.step(step)).await?;
        }
        Ok(())
    }

    fn line(&self, number: usize) -> &str {
        let own =
            |line: &&str| line.trim_start().split_once(' ').is_some_and(|(n, _)| n.parse() == Ok(number));
        self.scenario.text.lines().find(own).map(str::trim).unwrap_or_default()
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        let line = step.line;
        match &step.what {
            What::Guests(guests) => self.start_guests(line, guests).await,
            What::Do(event) => self.befall(event).await,
            What::When(expected, event) => {
                self.within(line, COMES_WITHIN, std::slice::from_ref(expected)).await?;
                self.befall(event).await
            }
            What::Wait(time) => self.pass(*time).await,
            What::Within(time, all) => self.within(line, *time * self.place.patience, all).await,
            What::For(time, all) => {
                let until = Instant::now() + *time;
                while Instant::now() < until {
                    self.expect(line, all).await?;
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Ok(())
            }
            What::Now(all) => self.expect(line, all).await,
            What::Always(all) => {
                self.always.extend(all.iter().map(|expected| (line, expected.clone())));
                Ok(())
            }
            What::Admin(wish) => {
                let output = self.ask(wish).await?;
                (output.code == 0).then_some(()).with_context(|| self.wrong(line, &output.stderr_text()))
            }
            What::Refused(text, wish) => {
                let output = self.ask(wish).await?;
                let said = output.stderr_text();
                let so = output.code != 0 && said.contains(text.as_str());
                so.then_some(()).with_context(|| self.wrong(line, &said))
            }
            What::Admins(wishes) => {
                let asked = wishes.iter().map(|wish| self.ask(wish));
                futures::future::try_join_all(asked).await.map(drop)
            }
            What::Repeat(times, inner) => {
                for _ in 0..*times {
                    self.steps(inner).await?;
                }
                Ok(())
            }
        }
    }

    fn wrong(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {:?}: {what}", self.scenario.file, self.line(line))
    }

    async fn ask(&self, wish: &Wish) -> Result<pvc_process::Output> {
        self.place.pvc(&hands::words(wish).map_err(anyhow::Error::msg)?).await
    }

    async fn befall(&mut self, event: &Event) -> Result<()> {
        let sight = self.eyes.look().await?;
        if let Event::Note = event {
            self.noted = sight.processes();
            return Ok(());
        }
        let (them, commands) = hands::carry_out(event, &sight, &self.them)?;
        for words in commands {
            self.place.local(&words).await?;
        }
        if let Some(them) = them {
            self.them = them;
        }
        Ok(())
    }

    /// What is seen now, with what must always hold held against it.
    async fn sight(&mut self) -> Result<Sight> {
        let sight = self.eyes.look().await?;
        for (line, expected) in &self.always {
            if let Err(wrong) = self.judge(&sight, expected) {
                bail!(self.wrong(*line, &wrong));
            }
        }
        Ok(sight)
    }

    fn judge(&self, sight: &Sight, expected: &Expected) -> Result<(), String> {
        match (sight.look(&expected.check, &self.noted, &self.them), expected.not) {
            (Ok(()), true) => Err("it is so".to_owned()),
            (Err(_), true) | (Ok(()), false) => Ok(()),
            (wrong, false) => wrong,
        }
    }

    async fn expect(&mut self, line: usize, all: &[Expected]) -> Result<()> {
        let sight = self.sight().await?;
        let wrong = all.iter().find_map(|expected| {
            self.judge(&sight, expected).err().map(|wrong| format!("{:?} is not so: {wrong}", expected.text))
        });
        wrong.map_or(Ok(()), |wrong| bail!(self.wrong(line, &wrong)))
    }

    async fn within(&mut self, line: usize, time: Duration, all: &[Expected]) -> Result<()> {
        let until = Instant::now() + time;
        for expected in all {
            loop {
                let sight = self.sight().await?;
                let Err(wrong) = self.judge(&sight, expected) else { break };
                if Instant::now() >= until {
                    bail!(self.wrong(line, &format!("not within {time:?} {:?}: {wrong}", expected.text)));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    async fn pass(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.sight().await?;
            tokio::time::sleep(LOOK_EVERY.min(until - Instant::now())).await;
        }
        Ok(())
    }

    async fn start_guests(&mut self, line: usize, guests: &[Guest]) -> Result<()> {
        for guest in guests {
            for words in hands::guest_words(self.place, guest).map_err(anyhow::Error::msg)? {
                let output = self.place.pvc(&words).await?;
                if output.code != 0 {
                    bail!(self.wrong(line, &output.stderr_text()));
                }
            }
        }
        let started = guests.iter().filter(|guest| guest.start.is_some());
        let started = started.map(|guest| guest.name.clone()).collect();
        let run = super::Check::Runs(started);
        self.within(line, GUESTS_WITHIN, &[Expected { text: "they run".into(), not: false, check: run }])
            .await?;
        self.noted = self.eyes.look().await?.processes();
        Ok(())
    }
}
