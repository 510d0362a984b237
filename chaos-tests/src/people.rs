//! Those who use the cluster: they ask, repeat with the same request id what got no answer, give up after a
//! while, and write down what they were told. They sit at a place of their own in the network.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_coordinator::core::Committed;
use pvc_model::{Command, Name, ObjectKey, Rejection, Uid};
use raft_store::Key;

use crate::asking::{AskError, Asking};
use crate::dice::Dice;
use crate::net::{Endpoint, Place};
use crate::setting::Setting;
use crate::witness::Rule;

/// After this long a person gives up; some are less patient.
const WITHIN_MIN_MS: u64 = 3_000;
const WITHIN_MAX_MS: u64 = 15_000;
/// How long a silent coordinator is waited for before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// What somebody was told of what they asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Waiting,
    Done {
        revision: u64,
        reply: Option<ObjectKey>,
        vm: Option<Uid>,
    },
    /// `sure`: no other call of it can have been taken, or be taken yet.
    Rejected {
        rejection: Rejection,
        sure: bool,
    },
    NotDone(String),
    Unknown(String),
}

/// Something that was asked for.
#[derive(Clone, Debug)]
pub struct Deed {
    pub command: Command,
    /// Unique: what came of the deed can be told by it.
    pub actor: String,
    pub request_id: String,
    pub told: Told,
}

#[derive(Default)]
struct Book {
    deeds: Vec<Deed>,
    /// The newest revision that anybody was told of.
    seen: u64,
    reads: u64,
}

/// Clones are the same people.
#[derive(Clone)]
pub struct People {
    setting: Setting,
    asking: Asking,
    dice: Dice,
    book: Arc<Mutex<Book>>,
}

/// The name under which the deed with this number acts.
pub fn actor(number: usize) -> String {
    format!("admin/deed-{number}")
}

/// A mark that the deed with this number leaves in what it edits.
pub fn mark(number: usize) -> String {
    format!("deed-{number}")
}

impl People {
    pub fn new(setting: &Setting) -> People {
        let dice = Dice::new(setting.seed, "people");
        let asking =
            Asking::new(setting.net.clone(), Place::PEOPLE, setting.coordinators.clone(), dice.clone());
        People { setting: setting.clone(), asking, dice, book: Arc::default() }
    }

    /// The number of the next deed.
    pub fn next(&self) -> usize {
        self.book.lock().deeds.len()
    }

    pub fn deeds(&self) -> Vec<Deed> {
        self.book.lock().deeds.clone()
    }

    pub fn reads(&self) -> u64 {
        self.book.lock().reads
    }

    /// Whether anybody still waits for an answer.
    pub fn waiting(&self) -> usize {
        self.book.lock().deeds.iter().filter(|deed| deed.told == Told::Waiting).count()
    }

    /// Asks for something, and does not wait.
    pub fn send(&self, command: Command) {
        let (people, number) = (self.clone(), self.resolve(&command));
        tokio::spawn(async move { people.carry_out(number, command).await });
    }

    /// Asks until there is an answer or the patience is over.
    pub async fn ask(&self, command: Command) -> Told {
        self.carry_out(self.resolve(&command), command).await
    }

    /// Writes down that something was done that nobody was asked for: a lie, to test the checks.
    pub fn pretend(&self, command: &Command, vm: Uid) {
        let number = self.resolve(command);
        self.book.lock().deeds[number].told = Told::Done { revision: 1, reply: None, vm: Some(vm) };
    }

    /// Writes down what is to be asked for.
    fn resolve(&self, command: &Command) -> usize {
        let mut book = self.book.lock();
        let number = book.deeds.len();
        let request_id = format!("request-{number}");
        let deed = Deed { command: command.clone(), actor: actor(number), request_id, told: Told::Waiting };
        book.deeds.push(deed);
        number
    }

    async fn carry_out(&self, number: usize, command: Command) -> Told {
        self.setting.trace.say(format!("deed {number}: {command:?}"));
        let asked_for = command.clone();
        let within = self.dice.millis(WITHIN_MIN_MS, WITHIN_MAX_MS);
        let asked = self.asking.leader(within, PATIENCE, move |there| {
            let (command, actor, id) = (asked_for.clone(), actor(number), format!("request-{number}"));
            async move {
                let done = there.coordinator.submit(command.clone(), &actor, Some(id)).await?;
                let vm = vm_of(&command).and_then(|name| vm_at(&there, name, &done));
                Ok((done, vm))
            }
        });
        let told = match asked.await {
            Ok((done, vm)) => Told::Done { revision: done.revision, reply: done.reply, vm },
            Err(AskError::Rejected { rejection, sure }) => Told::Rejected { rejection, sure },
            Err(AskError::NotDone(why)) => Told::NotDone(why),
            Err(AskError::Unknown(why)) => Told::Unknown(why),
        };
        self.setting.trace.say(format!("deed {number}: {}", in_short(&told)));
        let mut book = self.book.lock();
        if let Told::Done { revision, .. } = &told {
            book.seen = book.seen.max(*revision);
        }
        book.deeds[number].told = told.clone();
        told
    }

    /// Reads at any coordinator: whatever anybody was told of before must show.
    pub fn read(&self) {
        let people = self.clone();
        tokio::spawn(async move {
            let before = people.book.lock().seen;
            let at = people.asking.anyone();
            let net = people.setting.net.clone();
            let read = net.call(Place::PEOPLE, at, PATIENCE, |there| async move {
                there.coordinator.linearizable_world().await
            });
            let Ok(Ok(world)) = read.await else { return };
            if world.revision < before {
                let detail = format!("{at} read revision {} after {before} was told", world.revision);
                people.setting.witness.accuse(Rule::NothingLost, detail);
            }
            let mut book = people.book.lock();
            book.seen = book.seen.max(world.revision);
            book.reads += 1;
        });
    }
}

/// The VM that a command is about, as it is called afterwards.
pub fn vm_of(command: &Command) -> Option<&Name> {
    match command {
        Command::CreateVm { name, .. } => Some(name),
        Command::RenameVm { new_name, .. } => Some(new_name),
        other => other.vm(),
    }
}

/// The VM that had this name when the deed was done. None: another one may have it by now.
fn vm_at(there: &Endpoint, name: &Name, done: &Committed) -> Option<Uid> {
    let key = Key::new("vms", name.as_str()).ok()?;
    let defined = there.store.view().get(&key)?.create_revision;
    let vm = done.world.vms.get(name)?;
    (defined <= done.revision).then(|| vm.uid())
}

fn in_short(told: &Told) -> String {
    match told {
        Told::Waiting => "waiting".to_owned(),
        Told::Done { revision, reply, .. } => {
            let reply = reply.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("done at {revision} {reply}")
        }
        Told::Rejected { rejection, .. } => format!("refused: {rejection}"),
        Told::NotDone(why) => format!("not done: {why}"),
        Told::Unknown(why) => format!("unknown: {why}"),
    }
}
