//! Where the servers' calls arrive: a socket, and the book of leases that answers `init` and tells what is news.
//!
//! What may never happen here: a lease that was reported and is not stored yet being forgotten when a server starts anew;
//! a caller that makes the daemon wait.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use parking_lot::Mutex;
use pvc_model::Timestamp;
use pvc_model::network::Vni;
use pvc_model::network::host::HostPlan;
use pvc_model::network::lease::LeaseReport;
use pvc_model::vm::Mac;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::wire::{Asked, CALL_BYTES_MAX, Call, Change, Family, LeaseEvent, Refused, lease_file};

/// Events that wait to be stored; callers wait behind them, and try again.
const WAITING_MAX: usize = 4096;
/// A caller is given up after this.
const CALL_WITHIN: Duration = Duration::from_secs(3);
/// Callers at once: each server has one, and there are two.
const CALLERS_MAX: usize = 16;
/// For so long a report may be on its way to the store and back in a plan. After that the plan is right.
const ON_ITS_WAY: Duration = Duration::from_secs(60);

/// What the servers report, in order.
pub struct Events(mpsc::Receiver<(u64, LeaseEvent)>);

impl From<mpsc::Receiver<(u64, LeaseEvent)>> for Events {
    fn from(told: mpsc::Receiver<(u64, LeaseEvent)>) -> Self {
        Events(told)
    }
}

impl Events {
    /// With the epoch of the plan by which it was lent: whoever tells of it at another one tells of what is another primary's
    /// by now. None: the part that these are of is gone.
    pub async fn next(&mut self) -> Option<(u64, LeaseEvent)> {
        self.0.recv().await
    }
}

/// All leases as far as this host knows: those of the plan, and what was reported since.
#[derive(Default)]
pub(super) struct Book {
    subnets: Vec<(IpNet, Vni)>,
    planned: BTreeMap<IpAddr, LeaseReport>,
    /// None: it is over.
    reported: BTreeMap<IpAddr, (Instant, Option<LeaseReport>)>,
    duid: String,
    /// The primary's, of the plan.
    epoch: u64,
}

impl Book {
    /// Takes a new plan. Tells what the servers can't know: leases that are not over, and that somebody has removed.
    pub fn plan(&mut self, plan: &HostPlan, duid: String, now: Timestamp) -> Vec<LeaseReport> {
        self.duid = duid;
        if std::mem::replace(&mut self.epoch, plan.epoch) != plan.epoch {
            // What is not stored by now was refused: somebody else has lent since, or may have.
            self.reported.clear();
        }
        self.subnets = plan
            .networks
            .iter()
            .filter_map(|network| Some((network.vni, network.managed()?)))
            .flat_map(|(vni, managed)| managed.subnets().map(move |subnet| (subnet.subnet, vni)))
            .collect();
        let planned: BTreeMap<IpAddr, LeaseReport> =
            plan.leases.iter().map(|lease| (lease.address, LeaseReport::from(&**lease))).collect();
        let before = std::mem::replace(&mut self.planned, planned);
        let gone = before.into_iter().filter(|(address, lease)| {
            let known =
                self.planned.contains_key(address) || self.network_of(*address) != Some(lease.network);
            !known && lease.expires > now && !self.reported.contains_key(address)
        });
        let gone = gone.map(|(_, lease)| lease).collect();
        self.reported.retain(|address, (at, reported)| {
            let stored = match (&*reported, self.planned.get(address)) {
                (Some(reported), Some(planned)) => says_all(planned, reported),
                (None, None) => true,
                _ => false,
            };
            !stored && at.elapsed() < ON_ITS_WAY
        });
        gone
    }

    fn network_of(&self, address: IpAddr) -> Option<Vni> {
        self.subnets.iter().find(|(subnet, _)| subnet.contains(&address)).map(|(_, vni)| *vni)
    }

    /// The lease file for a server that starts.
    pub fn init(&self, family: Family, now: Timestamp) -> String {
        let mut all = self.planned.clone();
        for (address, (_, reported)) in &self.reported {
            match reported {
                Some(lease) => all.insert(*address, lease.clone()),
                None => all.remove(address),
            };
        }
        // One of a network that is no more would keep its address from nobody.
        all.retain(|address, lease| self.network_of(*address) == Some(lease.network));
        lease_file(family, all.values(), &self.duid, now)
    }

    /// Takes a report. None: the plan says the same already.
    pub fn report(&mut self, mut event: LeaseEvent, partial: bool) -> Option<LeaseEvent> {
        let address = event.lease.address;
        let planned = self.planned.get(&address);
        if let Some(known) = planned.filter(|_| partial) {
            complete(&mut event.lease, known);
        }
        if event.lease.mac.is_none() {
            let same = planned.filter(|known| known.client_id == event.lease.client_id);
            event.lease.mac = same.and_then(|known| known.mac).or_else(|| mac_in(&event.lease.client_id));
        }
        let news = match event.change {
            Change::Del => {
                planned.is_some() || self.reported.get(&address).is_some_and(|(_, lent)| lent.is_some())
            }
            Change::Add | Change::Old => !planned.is_some_and(|planned| says_all(planned, &event.lease)),
        };
        let kept = (event.change != Change::Del).then(|| event.lease.clone());
        if news {
            self.reported.insert(address, (Instant::now(), kept));
        } else {
            self.reported.remove(&address);
        }
        news.then_some(event)
    }
}

/// The MAC in a DUID that was made of one (RFC 8415 sections 11.2 and 11.4). dnsmasq asks the client's neighbour entry for its MAC,
/// and a guest that is slow to answer has none yet.
fn mac_in(duid: &str) -> Option<Mac> {
    const LINK_LAYER: &str = "00:03:00:01:";
    const WITH_TIME: &str = "00:01:00:01:";
    const TIME: usize = "xx:xx:xx:xx:".len();
    let with_time = || duid.strip_prefix(WITH_TIME)?.get(TIME..);
    duid.strip_prefix(LINK_LAYER).or_else(with_time)?.parse().ok()
}

/// dnsmasq does not keep all that a client has said over a start of its own.
fn complete(told: &mut LeaseReport, known: &LeaseReport) {
    if told.client_id.is_empty() && told.mac == known.mac {
        told.client_id.clone_from(&known.client_id);
    }
    if told.mac.is_none() && told.client_id == known.client_id {
        told.mac = known.mac;
    }
}

/// Whether what is stored says all that is told; an end is told in whole seconds.
fn says_all(stored: &LeaseReport, told: &LeaseReport) -> bool {
    let same_end = stored.expires.0.div_ceil(1000) == told.expires.0.div_ceil(1000);
    same_end && LeaseReport { expires: told.expires, ..stored.clone() } == *told
}

/// The socket's server. Dropped, it takes no more calls; the socket's file stays, and callers try again.
pub(super) struct Desk {
    task: JoinHandle<()>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Desk {
    pub fn open(
        socket: &Path,
        book: Arc<Mutex<Book>>,
        events: mpsc::Sender<(u64, LeaseEvent)>,
    ) -> io::Result<Desk> {
        // One of an earlier process of ours; who listens there has gone.
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        // dnsmasq runs its script as root: nobody else has business here.
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
        let callers = Arc::new(Semaphore::new(CALLERS_MAX));
        let task = tokio::spawn(async move {
            loop {
                let Ok(permit) = Arc::clone(&callers).acquire_owned().await else { return };
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let (book, events) = (Arc::clone(&book), events.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Ok(Err(error)) = timeout(CALL_WITHIN, serve(stream, &book, &events)).await {
                        tracing::debug!(%error, "a call of a DHCP server");
                    }
                });
            }
        });
        Ok(Desk { task })
    }

    pub fn is_open(&self) -> bool {
        !self.task.is_finished()
    }
}

async fn serve(
    stream: UnixStream,
    book: &Mutex<Book>,
    events: &mpsc::Sender<(u64, LeaseEvent)>,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let limit = u64::try_from(CALL_BYTES_MAX).unwrap_or(u64::MAX);
    BufReader::new(read.take(limit)).read_until(b'\n', &mut line).await?;
    let answer = match answer(&line, book, events).await {
        Ok(body) => format!("ok {}\n{body}", body.len()),
        Err(refused) => {
            tracing::warn!(%refused, "a call of a DHCP server is not believed");
            format!("refused {refused}\n")
        }
    };
    write.write_all(answer.as_bytes()).await
}

async fn answer(
    line: &[u8],
    book: &Mutex<Book>,
    events: &mpsc::Sender<(u64, LeaseEvent)>,
) -> Result<String, Refused> {
    let call: Call = serde_json::from_slice(line).map_err(|_| Refused("not a call"))?;
    let asked = call.parse(|address| book.lock().network_of(address))?;
    match asked {
        Asked::Init(family) => Ok(book.lock().init(family, now())),
        Asked::Event { event, partial } => {
            // Room first: what the book has noted is also told.
            let room = events.reserve().await.map_err(|_| Refused("the daemon ends"))?;
            let mut book = book.lock();
            if let Some(news) = book.report(event, partial) {
                room.send((book.epoch, news));
            }
            Ok(String::new())
        }
    }
}

pub(super) fn events() -> (mpsc::Sender<(u64, LeaseEvent)>, Events) {
    let (tell, told) = mpsc::channel(WAITING_MAX);
    (tell, told.into())
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::mac_in;

    #[test]
    fn a_duid_that_was_made_of_a_mac_tells_it() {
        let mac = Some("52:54:00:f7:cc:aa".parse().unwrap());
        assert_eq!(mac_in("00:03:00:01:52:54:00:f7:cc:aa"), mac);
        assert_eq!(mac_in("00:01:00:01:2a:bb:cc:dd:52:54:00:f7:cc:aa"), mac);
        for none in [
            "",
            "00:02:00:00:ab:11:52:54:00:f7:cc:aa",
            "00:03:00:01:52:54",
            "00:01:00:01:2a",
            "00:03:00:06:52:54:00:f7:cc:aa",
        ] {
            assert_eq!(mac_in(none), None, "{none}");
        }
    }
}
