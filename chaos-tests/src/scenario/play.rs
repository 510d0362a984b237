//! Plays a scenario: line after line on a stage, with the checks that look at each tick. The rules that hold always are the
//! witness's; here are only the scenario's own expectations.

use std::time::Duration;

use pvc_model::phase::{VmPhase, vm_phase};
use pvc_model::{Command, Name, World};
use tokio::time::Instant;

use super::check::{Noted, Scene};
use super::event::Event;
use super::{Expected, Guest, Scenario, Step, What, Wish};
use crate::net::Place;
use crate::people::Told;
use crate::script::{Outcome, Stage};
use crate::witness::Rule;

const TICK: Duration = Duration::from_millis(50);
/// How finely the moment of a `when`, and of an answer, is looked for.
const FINE_TICK: Duration = Duration::from_millis(1);
/// What is waited for by `when` comes in this time.
const COMES_WITHIN: Duration = Duration::from_secs(150);
const GUESTS_WITHIN: Duration = Duration::from_secs(60);

struct Player<'s> {
    scenario: &'s Scenario,
    stage: Stage,
    always: Vec<(usize, Expected)>,
    noted: Noted,
    them: Vec<Place>,
    /// The newest world that was seen: it is known also while no coordinator runs.
    world: World,
}

pub async fn play(scenario: &Scenario, aloud: bool) -> Outcome {
    let stage = Stage::set(&scenario.shape, scenario.seed(), aloud).await;
    let mut player = Player {
        world: stage.cluster.world(),
        scenario,
        stage,
        always: Vec::new(),
        noted: Noted::new(),
        them: Vec::new(),
    };
    player.steps(&scenario.steps).await;
    player.end().await
}

impl Player<'_> {
    fn is_content(&self) -> bool {
        self.stage.cluster.setting.witness.is_content()
    }

    /// Something is not as it is told. What the tasks have come to often tells why.
    fn accuse(&self, line: usize, what: String) {
        for task in self.world.tasks.values() {
            let (kind, subject, state) = (task.kind.as_str(), &task.subject, task.state);
            let told = format!("task {kind} of {subject}: {state:?} {}", task.message);
            self.stage.cluster.setting.trace.say(told);
        }
        self.stage.accuse(Rule::AsTold, format!("{}:{line}: {what}", self.scenario.file));
    }

    fn say(&self, line: usize) {
        let text = self.scenario.text.lines().find_map(|text| {
            let (number, said) = text.trim_start().split_once(' ')?;
            (number.parse() == Ok(line)).then(|| said.trim().to_owned())
        });
        self.stage.cluster.setting.trace.say(format!("-- {}", text.unwrap_or_default()));
    }

    fn look(&self, expected: &Expected) -> Result<(), String> {
        let scene =
            Scene { cluster: &self.stage.cluster, world: &self.world, noted: &self.noted, them: &self.them };
        match (expected.check.look(&scene), expected.not) {
            (Ok(()), true) => Err("it is so".to_owned()),
            (Err(_), true) | (Ok(()), false) => Ok(()),
            (wrong, false) => wrong,
        }
    }

    async fn tick(&mut self, time: Duration) {
        self.stage.cluster.tick(time).await;
        let world = self.stage.cluster.world();
        if world.revision >= self.world.revision {
            self.world = world;
        }
        for (line, expected) in &self.always {
            if let Err(wrong) = self.look(expected) {
                self.accuse(*line, format!("always {:?}, and now: {wrong}", expected.text));
            }
        }
    }

    async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && self.is_content() {
            self.tick(TICK.min(until - Instant::now())).await;
        }
    }

    /// Lets time pass until it is so; None: in time.
    async fn wait_for(&mut self, within: Duration, tick: Duration, expected: &Expected) -> Option<String> {
        let until = Instant::now() + within;
        while self.is_content() {
            let wrong = self.look(expected).err()?;
            if Instant::now() >= until {
                return Some(wrong);
            }
            self.tick(tick).await;
        }
        None
    }

    async fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            if !self.is_content() {
                return;
            }
            self.say(step.line);
            Box::pin(self.step(step)).await;
        }
    }

    async fn step(&mut self, step: &Step) {
        let line = step.line;
        match &step.what {
            What::Guests(guests) => self.start_guests(line, guests).await,
            What::Do(event) => self.befall(event).await,
            What::When(expected, event) => match self.wait_for(COMES_WITHIN, FINE_TICK, expected).await {
                None => self.befall(event).await,
                Some(wrong) => self.accuse(line, format!("never {:?}: {wrong}", expected.text)),
            },
            What::Wait(time) => self.pass(*time).await,
            What::Within(time, all) => {
                let until = Instant::now() + *time;
                for expected in all {
                    let left = until.saturating_duration_since(Instant::now());
                    if let Some(wrong) = self.wait_for(left, TICK, expected).await {
                        self.accuse(line, format!("not within {time:?} {:?}: {wrong}", expected.text));
                    }
                }
            }
            What::For(time, all) => {
                let until = Instant::now() + *time;
                while Instant::now() < until && self.is_content() {
                    self.expect(line, all);
                    self.tick(TICK).await;
                }
            }
            What::Now(all) => self.expect(line, all),
            What::Always(all) => self.always.extend(all.iter().map(|expected| (line, expected.clone()))),
            What::Admin(wish) => match self.ask(line, wish).await {
                Some(Told::Done { .. }) => self.retire(wish),
                None => {}
                Some(told) => self.accuse(line, format!("it is answered with {told:?}")),
            },
            What::Refused(text, wish) => match self.ask(line, wish).await {
                Some(Told::Rejected { rejection, .. }) if rejection.to_string().contains(text) => {}
                None => {}
                Some(told) => self.accuse(line, format!("it is answered with {told:?}")),
            },
            What::Admins(wishes) => {
                let numbers: Vec<usize> = wishes.iter().filter_map(|wish| self.send(line, wish)).collect();
                for number in numbers {
                    self.answer(number).await;
                }
            }
            What::Repeat(times, inner) => {
                for _ in 0..*times {
                    self.steps(inner).await;
                }
            }
        }
    }

    /// A host that was removed from the cluster is none of it any more.
    fn retire(&mut self, wish: &Wish) {
        if let Wish::This(command) = wish
            && let Command::DeleteNode { name, .. } = &**command
            && let Some(place) = Place::of_node(name)
        {
            self.stage.cluster.retire(place);
        }
    }

    fn expect(&self, line: usize, all: &[Expected]) {
        for expected in all {
            if let Err(wrong) = self.look(expected) {
                self.accuse(line, format!("{:?} is not so: {wrong}", expected.text));
            }
        }
    }

    async fn befall(&mut self, event: &Event) {
        if let Event::Note = event {
            self.note();
        }
        if let Some(them) = event.befall(&mut self.stage.cluster, &self.them).await {
            self.them = them;
        }
    }

    /// Where the guests are now.
    fn note(&mut self) {
        let (world, guests) = (self.stage.cluster.world(), &self.stage.cluster.setting.guests);
        let noted = world
            .vms
            .iter()
            .map(|(name, vm)| (name.clone(), (guests.writers(vm.uid()), guests.boots(vm.uid()))));
        self.noted = noted.collect();
    }

    /// Asks, and does not wait: the number of the deed.
    fn send(&self, line: usize, wish: &Wish) -> Option<usize> {
        match wish.command(&self.stage.cluster.world()) {
            Ok(command) => Some(self.request(command)),
            Err(wrong) => {
                self.accuse(line, wrong);
                None
            }
        }
    }

    fn request(&self, command: Command) -> usize {
        let number = self.stage.people.next();
        self.stage.people.send(command);
        number
    }

    async fn answer(&mut self, number: usize) -> Told {
        loop {
            self.tick(FINE_TICK).await;
            match self.stage.people.deeds().swap_remove(number).told {
                Told::Waiting if self.is_content() => {}
                told => return told,
            }
        }
    }

    async fn ask(&mut self, line: usize, wish: &Wish) -> Option<Told> {
        let number = self.send(line, wish)?;
        Some(self.answer(number).await)
    }

    async fn start_guests(&mut self, line: usize, guests: &[Guest]) {
        let mut numbers = Vec::new();
        for guest in guests {
            let number = self.request(guest.create.clone());
            numbers.push(number);
        }
        self.all_done(line, numbers).await;
        let started: Vec<&Guest> = guests.iter().filter(|guest| guest.start.is_some()).collect();
        let numbers = started.iter().filter_map(|guest| Some(self.request(guest.start.clone()?))).collect();
        self.all_done(line, numbers).await;
        let until = Instant::now() + GUESTS_WITHIN;
        while self.is_content() && !started.iter().all(|guest| self.is_running(&guest.name)) {
            if Instant::now() >= until {
                return self.accuse(line, "the guests do not run".to_owned());
            }
            self.tick(TICK).await;
        }
        self.note();
    }

    async fn all_done(&mut self, line: usize, numbers: Vec<usize>) {
        for number in numbers {
            match self.answer(number).await {
                Told::Done { .. } | Told::Waiting => {}
                told => self.accuse(line, format!("a guest can't be had: {told:?}")),
            }
        }
    }

    fn is_running(&self, name: &Name) -> bool {
        let world = self.stage.cluster.world();
        world.vms.get(name).is_some_and(|vm| vm_phase(&world, vm).0 == VmPhase::Running)
    }

    /// All trouble is taken away; then what was hoped for is to be so, and the rules of every story's end.
    async fn end(mut self) -> Outcome {
        if self.is_content() {
            self.always.clear();
            self.stage.temper.relent(&mut self.stage.cluster);
            self.stage.heal().await;
        }
        if self.is_content() {
            let line = self.scenario.text.lines().last().and_then(|line| line.split_whitespace().next());
            let line = line.and_then(|line| line.parse().ok()).unwrap_or(0);
            self.expect(line, &self.scenario.finally);
        }
        self.stage.end().await
    }
}
