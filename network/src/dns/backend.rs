//! PowerDNS's remote backend: it asks us for each name over a unix socket, in lines of JSON
//! (its manual, "Remote Backend"), and we answer from the snapshot of that moment.
//!
//! What may never happen here: a zone handed to somebody who is not named as a secondary; a line that ends more than its
//! own connection.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::snapshot::{Record, Snapshot, Zone};
use crate::files::account;

/// A question, at most: two names and an address.
const QUESTION_BYTES_MAX: u64 = 16 << 10;
/// PowerDNS has one for each of its threads, and for what it does in the background.
const CONNECTIONS_MAX: usize = 128;
/// Questions that are none, after which a connection is ended.
const GARBAGE_MAX: u32 = 16;

#[derive(Deserialize)]
struct Question {
    method: String,
    #[serde(default)]
    parameters: Value,
}

/// What is served, and to whom what was told.
#[derive(Default)]
pub(super) struct Served {
    pub snapshot: ArcSwap<Snapshot>,
    /// The serials that secondaries were told of, by the zone's number. Forgotten with us: they are told once more.
    notified: Mutex<BTreeMap<u32, u32>>,
}

/// The socket's server. Dropped, it ends, and its connections.
pub(super) struct Backend {
    task: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    /// `user` is PowerDNS's account, where it has one: nobody else may ask.
    pub fn open(socket: &Path, user: Option<&str>, served: Arc<Served>) -> io::Result<Backend> {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        if let Some((uid, gid)) = user.and_then(account) {
            std::os::unix::fs::chown(socket, Some(uid), Some(gid))?;
        }
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let task = tokio::spawn(async move {
            // Ended with this task.
            let mut connections = JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let served = Arc::clone(&served);
                connections.spawn(async move {
                    let _permit = permit;
                    if let Err(error) = converse(stream, &served).await {
                        tracing::debug!(%error, "a connection of PowerDNS");
                    }
                });
            }
        });
        Ok(Backend { task })
    }

    pub fn is_open(&self) -> bool {
        !self.task.is_finished()
    }
}

async fn converse(stream: UnixStream, served: &Served) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut garbage = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut read).take(QUESTION_BYTES_MAX).read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            // The end, or a line that has none.
            return Ok(());
        }
        let result = match serde_json::from_slice::<Question>(&line) {
            Ok(question) => served.answer(&question),
            Err(_) => {
                garbage += 1;
                if garbage > GARBAGE_MAX {
                    return Ok(());
                }
                Value::Bool(false)
            }
        };
        let mut answer = serde_json::to_vec(&json!({ "result": result }))?;
        answer.push(b'\n');
        write.write_all(&answer).await?;
    }
}

impl Served {
    fn answer(&self, question: &Question) -> Value {
        let snapshot = self.snapshot.load();
        let asked = Asked(&question.parameters);
        match question.method.as_str() {
            "initialize" => Value::Bool(true),
            "lookup" => lookup(&snapshot, &asked),
            "list" => {
                let zone = asked
                    .name("zonename")
                    .and_then(|name| snapshot.zone(&name).map(|(name, zone)| (name.to_owned(), zone)));
                zone.map_or(Value::Bool(false), |(name, zone)| records(zone, zone.list(&name)))
            }
            "getDomainInfo" => {
                let zone = asked.name("name").and_then(|name| Some(self.info(snapshot.zone(&name)?)));
                zone.unwrap_or(Value::Bool(false))
            }
            "getAllDomains" => snapshot.all().map(|zone| self.info(zone)).collect(),
            // Its newer versions have another word.
            "getUpdatedMasters" | "getUpdatedPrimaries" => self.untold(&snapshot),
            "setNotified" => self.note(&snapshot, &asked),
            "getDomainMetadata" => metadata(&snapshot, &asked),
            "getAllDomainMetadata" => json!({}),
            // Asked where zones are signed; ours are not.
            "getDomainKeys" => json!([]),
            "startTransaction" | "commitTransaction" | "abortTransaction" => Value::Bool(true),
            _ => Value::Bool(false),
        }
    }

    fn info(&self, (name, zone): (&str, &Zone)) -> Value {
        json!({
            "id": zone.id,
            "zone": format!("{name}."),
            "masters": [],
            "notified_serial": self.notified.lock().get(&zone.id).copied().unwrap_or(0),
            "serial": zone.serial,
            "last_check": 0,
            "kind": "master",
        })
    }

    /// Zones whose secondaries do not know the newest serial. Only the primary tells them.
    fn untold(&self, snapshot: &Snapshot) -> Value {
        if !snapshot.tells || snapshot.secondaries.is_empty() {
            return json!([]);
        }
        let told = self.notified.lock().clone();
        let untold = snapshot.all().filter(|(_, zone)| told.get(&zone.id) != Some(&zone.serial));
        untold.map(|zone| self.info(zone)).collect()
    }

    fn note(&self, snapshot: &Snapshot, asked: &Asked<'_>) -> Value {
        let noted = asked.number("id").zip(asked.number("serial"));
        let Some((id, serial)) = noted.filter(|(id, _)| snapshot.by_id(*id).is_some()) else {
            return Value::Bool(false);
        };
        self.notified.lock().insert(id, serial);
        Value::Bool(true)
    }

    /// A server that has begun anew: what the one before it noted it may not have sent.
    pub fn forget_all(&self) {
        self.notified.lock().clear();
    }

    /// Forgets what zones were told that are no more; everything, where another is to tell from now on.
    pub fn forget(&self, snapshot: &Snapshot) {
        self.notified.lock().retain(|id, _| snapshot.tells && snapshot.by_id(*id).is_some());
    }
}

fn lookup(snapshot: &Snapshot, asked: &Asked<'_>) -> Value {
    let (Some(name), Some(kind)) = (asked.name("qname"), asked.text("qtype")) else {
        return Value::Bool(false);
    };
    let zone = match asked.number("zone-id").filter(|id| *id > 0) {
        Some(id) => snapshot.by_id(id),
        // "Which zone is this of?" is asked by the names of all that it may be.
        None if kind == "SOA" => snapshot.zone(&name),
        None => snapshot.around(&name),
    };
    let Some((zone_name, zone)) = zone else { return json!([]) };
    let mut found = zone.lookup(zone_name, &name);
    found.retain(|record| kind == "ANY" || record.kind == kind);
    records(zone, found)
}

fn records(zone: &Zone, records: Vec<Record<'_>>) -> Value {
    let record = |record: Record<'_>| {
        json!({
            "qtype": record.kind,
            "qname": format!("{}.", record.name),
            "content": record.content,
            "ttl": record.ttl,
            "domain_id": zone.id,
            "auth": 1,
        })
    };
    records.into_iter().map(record).collect()
}

/// Who may copy a zone and who is told stands in no file of PowerDNS's: it changes without a restart.
fn metadata(snapshot: &Snapshot, asked: &Asked<'_>) -> Value {
    let known = asked.name("name").is_some_and(|name| snapshot.zone(&name).is_some());
    match asked.text("kind") {
        Some("ALLOW-AXFR-FROM" | "ALSO-NOTIFY") if known => {
            snapshot.secondaries.iter().map(|address| Value::String(address.to_string())).collect()
        }
        _ => json!([]),
    }
}

/// The parameters of a question.
struct Asked<'a>(&'a Value);

impl Asked<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A name in the DNS, as we write it.
    fn name(&self, name: &str) -> Option<String> {
        Some(self.text(name)?.trim_end_matches('.').to_ascii_lowercase())
    }

    /// Some come as text.
    fn number(&self, name: &str) -> Option<u32> {
        let value = self.0.get(name)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.or_else(|| value.as_str()?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::zones::Content;
    use super::*;

    #[test]
    fn secondaries_are_told_once_and_again_by_a_server_that_begins_anew() {
        let served = Served::default();
        let serials = BTreeMap::from([("a.test".to_owned(), 7)]);
        let mut snapshot = Snapshot::new(BTreeMap::from([("a.test".into(), Content::default())]), &serials);
        snapshot.secondaries = vec!["192.0.2.9".parse().unwrap()];
        snapshot.tells = true;
        served.snapshot.store(Arc::new(snapshot));
        let ask = |method: &str, parameters: Value| {
            served.answer(
                &serde_json::from_value(json!({ "method": method, "parameters": parameters })).unwrap(),
            )
        };
        let untold = || ask("getUpdatedMasters", json!({}));
        assert_eq!(untold()[0]["serial"], 7);
        assert_eq!(ask("setNotified", json!({ "id": untold()[0]["id"], "serial": 7 })), true);
        assert_eq!(untold(), json!([]));
        served.forget_all();
        assert_eq!(untold()[0]["serial"], 7);
    }
}
