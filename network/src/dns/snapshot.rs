//! The zones as they are served: found by name, each with its number and its serial.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::zones::{Content, Kind, TTL};

/// One moment of all zones.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    zones: BTreeMap<String, Zone>,
    by_id: BTreeMap<u32, String>,
    /// Who may copy them.
    pub secondaries: Vec<IpAddr>,
    /// Whether secondaries are to be told of changes from here.
    pub tells: bool,
}

#[derive(Debug)]
pub(super) struct Zone {
    pub id: u32,
    pub serial: u32,
    pub content: Content,
    /// Names that hold nothing, with others below them: they are there (RFC 8020).
    hollow: BTreeSet<String>,
}

/// A record as an answer has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub name: &'a str,
    pub kind: &'static str,
    pub content: String,
    pub ttl: u32,
}

impl Snapshot {
    pub fn new(contents: BTreeMap<String, Content>, serials: &BTreeMap<String, u64>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (name, content) in contents {
            // The same on each start: PowerDNS outlives us, and remembers.
            let hash = blake3::hash(name.as_bytes());
            let [a, b, c, d] = [0, 1, 2, 3].map(|at| hash.as_bytes()[at]);
            let mut id = u32::from_be_bytes([a & 0x7f, b, c, d]).max(1);
            while snapshot.by_id.contains_key(&id) {
                id = (id + 1) & 0x7fff_ffff;
            }
            // Serials are compared in 32 bits that begin again (RFC 1982).
            let serial = serials.get(&name).map_or(1, |serial| (serial & 0xffff_ffff) as u32);
            let hollow = hollow(&name, &content);
            snapshot.by_id.insert(id, name.clone());
            snapshot.zones.insert(name, Zone { id, serial, content, hollow });
        }
        snapshot
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, &Zone)> {
        self.zones.iter().map(|(name, zone)| (name.as_str(), zone))
    }

    pub fn zone(&self, name: &str) -> Option<(&str, &Zone)> {
        self.zones.get_key_value(name).map(|(name, zone)| (name.as_str(), zone))
    }

    pub fn by_id(&self, id: u32) -> Option<(&str, &Zone)> {
        self.zone(self.by_id.get(&id)?)
    }

    /// The zone that a name is in.
    pub fn around(&self, name: &str) -> Option<(&str, &Zone)> {
        let mut rest = name;
        loop {
            if let Some(found) = self.zone(rest) {
                return Some(found);
            }
            rest = rest.split_once('.')?.1;
        }
    }
}

impl Zone {
    /// The records of a name; of all kinds, for the asker chooses.
    pub fn lookup<'a>(&'a self, zone: &'a str, name: &str) -> Vec<Record<'a>> {
        let mut found = Vec::new();
        if name == zone {
            found.push(self.authority(zone));
        }
        if let Some((name, records)) = self.content.records.get_key_value(name) {
            found.extend(records.iter().map(|(kind, content)| record(name, *kind, content)));
        } else if let Some(name) = self.hollow.get(name) {
            found.push(Record { name, kind: "ENT", content: String::new(), ttl: TTL });
        }
        found
    }

    /// All records, its own first.
    pub fn list<'a>(&'a self, zone: &'a str) -> Vec<Record<'a>> {
        let records = self.content.records.iter().flat_map(|(name, records)| {
            records.iter().map(move |(kind, content)| record(name, *kind, content))
        });
        std::iter::once(self.authority(zone)).chain(records).collect()
    }

    fn authority<'a>(&self, zone: &'a str) -> Record<'a> {
        Record { name: zone, kind: "SOA", content: self.content.authority(self.serial), ttl: TTL }
    }
}

fn record<'a>(name: &'a str, kind: Kind, content: &str) -> Record<'a> {
    let content = match kind {
        Kind::A | Kind::Aaaa => content.to_owned(),
        Kind::Ns | Kind::Ptr => format!("{content}."),
    };
    Record { name, kind: kind.as_str(), content, ttl: TTL }
}

fn hollow(zone: &str, content: &Content) -> BTreeSet<String> {
    let mut hollow = BTreeSet::new();
    for name in content.records.keys() {
        let mut rest = name.as_str();
        while let Some((_, above)) = rest.split_once('.') {
            if above == zone || !above.ends_with(zone) {
                break;
            }
            if !content.records.contains_key(above) {
                hollow.insert(above.to_owned());
            }
            rest = above;
        }
    }
    hollow
}
