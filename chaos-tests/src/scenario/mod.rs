//! Scenarios: short stories of trouble in plain text, with what is expected of the cluster meanwhile. Each is a setup, events
//! and expectations, one a line, and is played on a simulated cluster (docs/testing-failover.md tells the language).
//!
//! What may never happen here: a line that is not understood and is passed over.

mod admin;
mod check;
mod event;
mod hosts;
mod parse;
mod play;
pub mod real;
mod states;
mod vary;

use std::path::{Path, PathBuf};
use std::time::Duration;

use pvc_model::{Command, Name};

pub use admin::Wish;
pub use check::Check;
pub use event::Event;
pub use hosts::Hosts;
pub use parse::{ParseError, parse};
pub use play::play;

use crate::shape::Shape;

/// Where the scenarios are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// One story.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name of its file, without folders.
    pub file: String,
    pub title: String,
    /// As it is written.
    pub text: String,
    pub shape: Shape,
    pub steps: Vec<Step>,
    /// What holds when all trouble is over and the cluster is well again.
    pub finally: Vec<Expected>,
}

impl Scenario {
    /// By which it is called: "power.story:A host loses its power".
    pub fn name(&self) -> String {
        format!("{}:{}", self.file, self.title)
    }

    /// Its own, by its name: the same in every run, whatever stands beside it.
    pub fn seed(&self) -> u64 {
        u64::from(crc32c::crc32c(self.name().as_bytes()))
    }
}

/// A line, and what it says.
#[derive(Clone, Debug)]
pub struct Step {
    pub line: usize,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Guests(Vec<Guest>),
    Do(Event),
    /// As soon as it is so, to the millisecond.
    When(Expected, Event),
    Wait(Duration),
    /// Comes true in this time.
    Within(Duration, Vec<Expected>),
    /// Is so at each look for this long.
    For(Duration, Vec<Expected>),
    Now(Vec<Expected>),
    /// Is so at each look from here on.
    Always(Vec<Expected>),
    /// An administrator asks, and it is done.
    Admin(Wish),
    /// And is refused, with this text in the refusal.
    Refused(String, Wish),
    /// Several ask in the same moment; what comes of each is not judged.
    Admins(Vec<Wish>),
    Repeat(u32, Vec<Step>),
}

/// A check, perhaps turned round, as it is written.
#[derive(Clone, Debug)]
pub struct Expected {
    pub text: String,
    pub not: bool,
    pub check: Check,
}

/// A VM that is made and started.
#[derive(Clone, Debug)]
pub struct Guest {
    pub name: Name,
    pub create: Command,
    /// None: it stays off.
    pub start: Option<Command>,
}

/// All scenarios of the folder, or those that `wanted` names: FILE, or FILE:TEXT with a part of the title.
pub fn find(wanted: Option<&str>) -> anyhow::Result<Vec<Scenario>> {
    let (file, title) = wanted.map_or((None, None), |wanted| match wanted.split_once(':') {
        Some((file, title)) => (Some(file), Some(title.trim())),
        None => (Some(wanted), None),
    });
    let files: Vec<PathBuf> = match file {
        Some(file) if Path::new(file).exists() => vec![file.into()],
        Some(file) => vec![folder().join(file)],
        None => {
            let mut all = Vec::new();
            for entry in std::fs::read_dir(folder())? {
                all.push(entry?.path());
            }
            all.retain(|path| path.extension().is_some_and(|extension| extension == "story"));
            all.sort();
            all
        }
    };
    let mut scenarios = Vec::new();
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let text = std::fs::read_to_string(&path)
            .map_err(|error| anyhow::anyhow!("{} can't be read: {error}", path.display()))?;
        scenarios.extend(parse(name, &text)?);
    }
    if let Some(title) = title {
        let exact = scenarios.iter().any(|scenario| scenario.title == title);
        scenarios.retain(|s| if exact { s.title == title } else { s.title.contains(title) });
    }
    if scenarios.is_empty() {
        anyhow::bail!("there is no scenario {}", wanted.unwrap_or("in the folder"));
    }
    Ok(scenarios)
}
