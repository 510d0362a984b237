//! One of nft's tables as a value: what must be in it, and the scripts that make it so in one transaction.
//!
//! What goes into a script is of `model`'s types, or words that this crate has written. The one exception is a raw rule: see
//! [`super::raw`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use pvc_model::Name;

/// The name of both our tables.
pub const NAME: &str = "pvc";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// What is routed through the host, or meant for itself.
    Inet,
    /// What guests' NICs send.
    Bridge,
}

impl Family {
    pub const ALL: [Family; 2] = [Family::Inet, Family::Bridge];

    pub fn as_str(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Bridge => "bridge",
        }
    }

    /// Makes the table go, whether it is there or not.
    pub fn removal(self) -> String {
        let family = self.as_str();
        format!("add table {family} {NAME}\ndelete table {family} {NAME}\n")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub family: Family,
    pub sets: BTreeMap<String, Set>,
    pub chains: BTreeMap<String, Chain>,
}

/// A set, or with verdicts a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// As nft declares it: "type ifname".
    pub kind: &'static str,
    pub is_map: bool,
    /// Each with its verdict; of a set it is empty.
    pub elements: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where the kernel enters it, as nft declares it; None: other chains lead here.
    pub hook: Option<&'static str>,
    pub rules: Arc<Vec<Rule>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub matches: String,
    /// A counter of that name, which outlives the rule while its chain is written anew.
    pub counter: Option<String>,
    pub action: String,
    /// What people call it, where it is theirs.
    pub name: Option<Name>,
}

impl Rule {
    pub fn new(matches: impl Into<String>, action: impl Into<String>) -> Self {
        Rule { matches: matches.into(), counter: None, action: action.into(), name: None }
    }

    /// The rule with all that it says, but without a counter of its own.
    pub fn plain(&self) -> String {
        format!("{} {}", self.matches, self.action).trim().to_owned()
    }

    fn shown(&self) -> String {
        match &self.counter {
            Some(counter) => {
                format!("{} counter name \"{counter}\" {}", self.matches, self.action).trim().to_owned()
            }
            None => self.plain(),
        }
    }
}

impl Set {
    pub fn of(kind: &'static str) -> Self {
        Set { kind, is_map: false, elements: BTreeMap::new() }
    }

    pub fn map(kind: &'static str) -> Self {
        Set { is_map: true, ..Set::of(kind) }
    }

    pub fn insert(&mut self, element: impl Into<String>) {
        self.elements.insert(element.into(), String::new());
    }
}

impl Chain {
    pub fn of(rules: Vec<Rule>) -> Self {
        Chain { hook: None, rules: Arc::new(rules) }
    }

    pub fn hooked(hook: &'static str, rules: Vec<Rule>) -> Self {
        Chain { hook: Some(hook), rules: Arc::new(rules) }
    }

    fn counters(&self) -> BTreeSet<&str> {
        self.rules.iter().filter_map(|rule| rule.counter.as_deref()).collect()
    }
}

/// What counters stood at, by their names: packets and bytes.
pub type Counts = HashMap<String, (u64, u64)>;

impl Table {
    pub fn new(family: Family) -> Self {
        Table { family, sets: BTreeMap::new(), chains: BTreeMap::new() }
    }

    /// Puts this table in the place of whatever has its name. Counters go on from `counts`.
    ///
    /// The kernel enters new base chains a moment before their rules count, so those must let through what no rule matches:
    /// none of ours has the policy "drop".
    pub fn whole(&self, counts: &Counts) -> String {
        let mut script = Script::new(self.family);
        script.text.push_str(&self.family.removal());
        script.line("add table", "", "");
        for chain in self.chains.values() {
            script.counters(chain.counters(), counts);
        }
        for (name, chain) in &self.chains {
            script.chain(name, chain);
        }
        for (name, set) in &self.sets {
            script.set(name, set);
            script.elements("add", name, set.elements.iter(), set.is_map);
        }
        for (name, chain) in &self.chains {
            script.rules(name, chain);
        }
        script.text
    }

    /// Turns `old` into this table, touching only what differs; empty where nothing does. None: it can't be done so.
    pub fn delta(&self, old: &Table) -> Option<String> {
        if !self.is_built_like(old) {
            return None;
        }
        let changed: Vec<(&String, &Chain)> =
            self.chains.iter().filter(|(name, chain)| old.chains.get(*name) != Some(chain)).collect();
        let gone: Vec<(&String, &Chain)> =
            old.chains.iter().filter(|(name, _)| !self.chains.contains_key(*name)).collect();

        let mut script = Script::new(self.family);
        for (name, set) in &self.sets {
            let now = old.sets[name].elements.iter();
            script.elements(
                "delete",
                name,
                now.filter(|(key, verdict)| set.elements.get(*key) != Some(verdict)),
                false,
            );
        }
        for (name, _) in changed.iter().filter(|(name, _)| old.chains.contains_key(*name)).chain(&gone) {
            script.line("flush chain", name, "");
        }
        for (name, _) in &gone {
            script.line("delete chain", name, "");
        }
        let nothing = Chain::default();
        for (name, chain) in &changed {
            let before = old.chains.get(*name).unwrap_or(&nothing).counters();
            let after = chain.counters();
            before.difference(&after).for_each(|counter| script.line("delete counter", counter, ""));
            script.counters(after.difference(&before).copied(), &Counts::new());
        }
        for (_, chain) in &gone {
            chain.counters().iter().for_each(|counter| script.line("delete counter", counter, ""));
        }
        for (name, chain) in changed.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
            script.chain(name, chain);
        }
        for (name, set) in &self.sets {
            let before = &old.sets[name].elements;
            let new = set.elements.iter().filter(|(key, verdict)| before.get(*key) != Some(verdict));
            script.elements("add", name, new, set.is_map);
        }
        for (name, chain) in &changed {
            script.rules(name, chain);
        }
        Some(script.text)
    }

    /// The names of what differs, the first few.
    pub fn differing(&self, other: &Table, max: usize) -> String {
        let names = |table: &'_ Table| -> BTreeSet<String> {
            table.chains.keys().chain(table.sets.keys()).cloned().collect()
        };
        let differs = |name: &String| {
            self.chains.get(name) != other.chains.get(name) || self.sets.get(name) != other.sets.get(name)
        };
        let mut differing: Vec<String> =
            names(self).union(&names(other)).filter(|name| differs(name)).cloned().collect();
        let more = differing.len().saturating_sub(max);
        differing.truncate(max);
        match more {
            0 => differing.join(", "),
            more => format!("{} and {more} more", differing.join(", ")),
        }
    }

    /// Whether both have the same sets and base chains: those are made once, in a table's beginning.
    fn is_built_like(&self, other: &Table) -> bool {
        let sets = |table: &Table| -> Vec<(String, &'static str, bool)> {
            table.sets.iter().map(|(name, set)| (name.clone(), set.kind, set.is_map)).collect()
        };
        let hooks = |table: &Table| -> Vec<(String, &'static str)> {
            let hooked = |(name, chain): (&String, &Chain)| chain.hook.map(|hook| (name.clone(), hook));
            table.chains.iter().filter_map(hooked).collect()
        };
        self.family == other.family && sets(self) == sets(other) && hooks(self) == hooks(other)
    }
}

struct Script {
    family: &'static str,
    text: String,
}

impl Script {
    fn new(family: Family) -> Self {
        Script { family: family.as_str(), text: String::new() }
    }

    fn line(&mut self, verb: &str, name: &str, rest: &str) {
        let line = format!("{verb} {} {NAME} {name} {rest}", self.family);
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn counters<'a>(&mut self, names: impl IntoIterator<Item = &'a str>, counts: &Counts) {
        for name in names {
            match counts.get(name) {
                Some((packets, bytes)) => {
                    self.line("add counter", name, &format!("{{ packets {packets} bytes {bytes} }}"));
                }
                None => self.line("add counter", name, ""),
            }
        }
    }

    fn chain(&mut self, name: &str, chain: &Chain) {
        let hook = chain.hook.map(|hook| format!("{{ {hook}; policy accept; }}"));
        self.line("add chain", name, hook.as_deref().unwrap_or(""));
    }

    fn set(&mut self, name: &str, set: &Set) {
        let verb = if set.is_map { "add map" } else { "add set" };
        self.line(verb, name, &format!("{{ {}; }}", set.kind));
    }

    fn elements<'a>(
        &mut self,
        verb: &str,
        set: &str,
        elements: impl Iterator<Item = (&'a String, &'a String)>,
        with_verdicts: bool,
    ) {
        let shown = |(key, verdict): (&String, &String)| match with_verdicts {
            true => format!("{key} : {verdict}"),
            false => key.clone(),
        };
        let elements: Vec<String> = elements.map(shown).collect();
        if !elements.is_empty() {
            self.line(&format!("{verb} element"), set, &format!("{{ {} }}", elements.join(", ")));
        }
    }

    fn rules(&mut self, name: &str, chain: &Chain) {
        for rule in chain.rules.iter() {
            let _ = writeln!(self.text, "add rule {} {NAME} {name} {}", self.family, rule.shown());
        }
    }
}
