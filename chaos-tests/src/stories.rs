//! Longer stories, each of one kind of trouble, with numbers that people were promised.

use std::pin::Pin;
use std::time::Duration;

use pvc_model::Command;
use pvc_model::node::Reachability;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::net::{Place, Weather};
use crate::people::Told;
use crate::script::{Outcome, Stage};
use crate::shape::Shape;
use crate::witness::Rule;
use crate::workload::{self, name, spec};

pub type Story = fn(u64, bool) -> Pin<Box<dyn Future<Output = Outcome>>>;

/// A leader's death must not keep writes away for longer.
const WRITES_BACK_WITHIN: Duration = Duration::from_secs(3);

macro_rules! stories {
    ($($name:literal => $story:ident),* $(,)?) => {
        pub const NAMES: &[&str] = &[$($name),*];

        pub fn find(name: &str) -> Option<Story> {
            match name {
                $($name => Some(|seed, aloud| Box::pin($story(seed, aloud))),)*
                _ => None,
            }
        }
    };
}

stories! {
    "two-hundred-creates" => two_hundred_creates,
    "everybody-dies" => everybody_dies,
    "rolling-restart" => rolling_restart,
    "voters-come-and-go" => voters_come_and_go,
    "a-wiped-disk" => a_wiped_disk,
    "a-long-partition" => a_long_partition,
    "bad-weather" => bad_weather,
    "a-long-storm" => a_long_storm,
}

fn shape(coordinators: u8, hypervisors: u8) -> Shape {
    Shape { coordinators, hypervisors, ..Shape::default() }
}

/// Lets time pass, and accuses when a guest began or ended meanwhile.
async fn undisturbed(stage: &mut Stage, time: Duration) {
    let before = stage.cluster.happenings();
    stage.cluster.pass(time).await;
    if stage.cluster.happenings() != before {
        stage.accuse(Rule::ElectionsAreQuiet, "a guest began or ended".to_owned());
    }
}

/// The leader dies in the middle of 200 creates: all that are acknowledged are there, none twice, and
/// writes are back soon.
async fn two_hundred_creates(seed: u64, aloud: bool) -> Outcome {
    let mut stage = Stage::set(&shape(3, 0), seed, aloud).await;
    let dice = Dice::new(seed, "story");
    for number in 0..200 {
        let vm = name(&format!("vm-{number}"));
        stage.people.send(Command::CreateVm { spec: spec(&vm), name: vm });
        if number % 10 == 0 {
            stage.cluster.pass(dice.millis(0, 50)).await;
        }
        if number == 100
            && let Some((leader, _)) = stage.cluster.leader()
        {
            stage.cluster.kill(leader);
        }
    }
    let killed = Instant::now();
    let told = stage.people.ask(Command::CreateVm { spec: spec(&name("last")), name: name("last") }).await;
    if killed.elapsed() > WRITES_BACK_WITHIN || !matches!(told, Told::Done { .. }) {
        stage.accuse(Rule::Heals, format!("a write took {:?}: {told:?}", killed.elapsed()));
    }
    stage.end().await
}

/// All daemons are killed at once, twice: guests keep running, and the cluster knows them again.
async fn everybody_dies(seed: u64, aloud: bool) -> Outcome {
    let mut stage = Stage::set(&shape(3, 1), seed, aloud).await;
    stage.start_guests(4).await;
    for pause in [Duration::from_secs(20), Duration::from_millis(300)] {
        stage.heal().await;
        let before = stage.cluster.happenings();
        let places = stage.cluster.places();
        places.iter().for_each(|place| stage.cluster.kill(*place));
        undisturbed(&mut stage, pause).await;
        places.iter().for_each(|place| stage.cluster.boot(*place));
        stage.heal().await;
        if stage.cluster.happenings() != before {
            stage.accuse(Rule::ElectionsAreQuiet, "guests were not adopted as they were".to_owned());
        }
    }
    stage.end().await
}

/// Every daemon is restarted in order, one after the other, while people edit: nothing is refused for
/// long, and no guest notices.
async fn rolling_restart(seed: u64, aloud: bool) -> Outcome {
    let mut stage = Stage::set(&shape(3, 1), seed, aloud).await;
    stage.start_guests(3).await;
    stage.heal().await;
    let before = stage.cluster.happenings();
    for place in stage.cluster.places() {
        stage.cluster.restart(place).await;
        for _ in 0..5 {
            let number = stage.people.next();
            stage.people.send(workload::edit(&stage.cluster.world(), name("a"), number));
            stage.cluster.pass(Duration::from_secs(1)).await;
        }
        stage.heal().await;
    }
    if stage.cluster.happenings() != before {
        stage.accuse(Rule::ElectionsAreQuiet, "a guest began or ended".to_owned());
    }
    let refused = |told: &Told| !matches!(told, Told::Done { .. });
    if let Some(deed) = stage.people.deeds().iter().find(|deed| refused(&deed.told)) {
        stage.accuse(Rule::Heals, format!("an edit was not done: {deed:?}"));
    }
    stage.end().await
}

/// Three voters become five, two die and are dismissed, while people work.
async fn voters_come_and_go(seed: u64, aloud: bool) -> Outcome {
    let dice = Dice::new(seed, "story");
    let mut stage = Stage::set(&Shape { spares: 2, ..shape(3, 0) }, seed, aloud).await;
    stage.start_guests(2).await;
    for place in [Place(4), Place(5)] {
        stage.cluster.call_to_vote(place).await;
        stage.work(&dice, 8).await;
    }
    for place in [Place(1), Place(3)] {
        stage.cluster.kill(place);
        stage.work(&dice, 8).await;
        stage.cluster.dismiss(place).await;
        stage.work(&dice, 8).await;
    }
    stage.end().await
}

/// A coordinator loses its disk and comes back as if nothing had happened: it must not vote again, and the
/// others go on without it until it is called anew.
async fn a_wiped_disk(seed: u64, aloud: bool) -> Outcome {
    let dice = Dice::new(seed, "story");
    let mut stage = Stage::set(&shape(3, 0), seed, aloud).await;
    stage.start_guests(2).await;
    stage.cluster.kill(Place(2));
    stage.cluster.disk(Place(2)).wipe();
    stage.cluster.boot(Place(2));
    stage.work(&dice, 8).await;
    // With one more gone there is no quorum: the wiped one does not count.
    stage.cluster.kill(Place(3));
    stage.cluster.pass(Duration::from_secs(5)).await;
    let command = Command::CreateVm { spec: spec(&name("e")), name: name("e") };
    let told = stage.people.ask(command).await;
    if matches!(told, Told::Done { .. }) {
        stage.accuse(Rule::NothingLost, "a wiped disk has voted".to_owned());
    }
    stage.cluster.boot(Place(3));
    stage.cluster.pass(Duration::from_secs(10)).await;
    stage.cluster.dismiss(Place(2)).await;
    stage.end().await
}

/// The leader and one host are alone for a minute: they start nothing and end nothing, the others go on,
/// and all find together.
async fn a_long_partition(seed: u64, aloud: bool) -> Outcome {
    let dice = Dice::new(seed, "story");
    let mut stage = Stage::set(&shape(3, 2), seed, aloud).await;
    stage.start_guests(4).await;
    stage.heal().await;
    let Some((leader, _)) = stage.cluster.leader() else { return stage.end().await };
    let everybody: Vec<Place> = std::iter::once(Place::PEOPLE).chain(stage.cluster.places()).collect();
    stage.cluster.setting.net.part(&[leader, Place(5)], &everybody);
    undisturbed(&mut stage, Duration::from_secs(10)).await;
    stage.work(&dice, 40).await;
    stage.end().await
}

/// Eight minutes of lost and late messages: nobody is given up, no guest is touched, the leader stays.
async fn bad_weather(seed: u64, aloud: bool) -> Outcome {
    let mut stage = Stage::set(&shape(3, 2), seed, aloud).await;
    stage.start_guests(3).await;
    stage.heal().await;
    let before = stage.cluster.world();
    let weather = Weather { lost_per_mille: 10, slow_per_mille: 50, slow_max_ms: 300 };
    stage.cluster.setting.net.set_weather(weather);
    undisturbed(&mut stage, Duration::from_secs(480)).await;
    let now = stage.cluster.world();
    for (name, node) in &now.nodes {
        let since = before.nodes.get(name).map(|before| before.status.since);
        if node.status.reachability != Reachability::Reachable || Some(node.status.since) != since {
            stage.accuse(Rule::GraceOutlastsLease, format!("{name} was given up: {:?}", node.status));
        }
    }
    stage.end().await
}

/// The script's storm, and longer.
async fn a_long_storm(seed: u64, aloud: bool) -> Outcome {
    let dice = Dice::new(seed, "story");
    let mut stage = Stage::set(&shape(3, 2), seed, aloud).await;
    stage.start_guests(4).await;
    stage.storm(&dice, 300).await;
    stage.end().await
}
