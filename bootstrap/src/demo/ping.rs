//! Ten pings a second at a guest, on a thread of their own, so that nothing else that happens delays them.
//!
//! ```text
//! IPv4 header (received only) | type 8 or 0 | code 0 | checksum | identifier | sequence
//! ```
//! A raw socket hears every ICMP packet of the machine; ours are known by identifier and sequence.

use std::io::{self, ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::{Instant, sleep};

/// Between two pings.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// An answer that has not come by then is lost.
const PATIENCE: Duration = Duration::from_secs(2);
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// One ping.
#[derive(Debug, Clone, Copy)]
struct Echo {
    sent: Instant,
    answered: Option<Instant>,
}

/// Pings under way. Dropped, they end.
#[derive(Debug)]
pub struct Pings {
    echoes: Arc<Mutex<Vec<Echo>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// What became of all pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub sent: usize,
    pub lost: usize,
    /// Longest time between two answers.
    pub longest_gap: Duration,
}

impl Pings {
    /// Starts to ping. Needs the right to open a raw socket.
    pub fn start(address: Ipv4Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.connect(&SocketAddrV4::new(address, 0).into())?;
        let (echoes, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (told, stopped) = (echoes.clone(), stop.clone());
        let thread = std::thread::Builder::new()
            .name("ping".to_owned())
            .spawn(move || ping(&socket, &told, &stopped))?;
        Ok(Self { echoes, stop, thread: Some(thread) })
    }

    /// Waits for the first answer; false when there is none within `limit`.
    pub async fn answered_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.echoes.lock().iter().any(|echo| echo.answered.is_some()) {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// Ends pinging, waits for the last answers, and counts.
    pub async fn finish(mut self) -> io::Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is taken only here");
        while !thread.is_finished() {
            sleep(Duration::from_millis(20)).await;
        }
        thread.join().map_err(|_| io::Error::other("the pinging thread has panicked"))??;
        Ok(tally(&self.echoes.lock()))
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn tally(echoes: &[Echo]) -> Tally {
    let mut answers: Vec<Instant> = echoes.iter().filter_map(|echo| echo.answered).collect();
    answers.sort();
    let gaps = answers.windows(2).map(|pair| pair[1] - pair[0]);
    Tally {
        sent: echoes.len(),
        lost: echoes.len() - answers.len(),
        longest_gap: gaps.max().unwrap_or_default(),
    }
}

fn ping(socket: &Socket, echoes: &Mutex<Vec<Echo>>, stop: &AtomicBool) -> io::Result<()> {
    let id: u16 = rand::random();
    let mut next = Instant::now();
    let mut buffer = [0; 1500];
    loop {
        let now = Instant::now();
        let stopping = stop.load(Ordering::Relaxed);
        if stopping && echoes.lock().iter().all(|echo| is_settled(echo, now)) {
            return Ok(());
        }
        if !stopping && now >= next {
            next += INTERVAL;
            let mut echoes = echoes.lock();
            // a sequence number is found again for 65,536 pings: almost two hours
            let sequence = u16::try_from(echoes.len() % (1 << 16)).expect("it is below 2^16");
            echoes.push(Echo { sent: now, answered: None });
            drop(echoes);
            // what cannot be sent (the guest's address is not resolved) is a ping that is lost
            let _ = socket.send(&request(id, sequence));
        }
        let wait = next.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), INTERVAL);
        socket.set_read_timeout(Some(wait))?;
        let length = match (&*socket).read(&mut buffer) {
            Ok(length) => length,
            Err(error) if is_no_answer(&error) => continue,
            Err(error) => return Err(error),
        };
        if let Some(sequence) = reply(&buffer[..length], id) {
            let now = Instant::now();
            settle(&mut echoes.lock(), sequence, now);
        }
    }
}

fn settle(echoes: &mut [Echo], sequence: u16, now: Instant) {
    let latest = echoes.len().saturating_sub(1);
    let index = (latest & !0xffff) | usize::from(sequence);
    let index = if index > latest { index.checked_sub(1 << 16) } else { Some(index) };
    if let Some(echo) = index.and_then(|index| echoes.get_mut(index)) {
        echo.answered.get_or_insert(now);
    }
}

fn is_settled(echo: &Echo, now: Instant) -> bool {
    echo.answered.is_some() || now - echo.sent >= PATIENCE
}

/// A read that timed out, or an ICMP error about an earlier ping.
fn is_no_answer(error: &io::Error) -> bool {
    use ErrorKind::{
        ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut, WouldBlock,
    };
    let kinds = [WouldBlock, TimedOut, Interrupted, ConnectionRefused, HostUnreachable, NetworkUnreachable];
    kinds.contains(&error.kind())
}

fn request(id: u16, sequence: u16) -> [u8; 8] {
    let mut packet = [ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 0];
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let checksum = checksum(&packet);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The Internet checksum (RFC 1071) of whole 16-bit words.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("it was folded")
}

/// The sequence number of one of our answers.
fn reply(packet: &[u8], id: u16) -> Option<u16> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let icmp = packet.get(header..)?;
    let number = |at: usize| Some(u16::from_be_bytes([*icmp.get(at)?, *icmp.get(at + 1)?]));
    (*icmp.first()? == ECHO_REPLY && number(4)? == id).then(|| number(6)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_bytes_of_rfc_792() {
        assert_eq!(request(0x1234, 0x0001), [8, 0, 0xe5, 0xca, 0x12, 0x34, 0x00, 0x01]);
        assert_eq!(checksum(&request(0xffff, 0xffff)), 0, "a packet with its checksum sums up to nothing");
    }

    #[test]
    fn only_our_answers_count() {
        let mut packet = vec![0x45; 20];
        packet.extend([0, 0, 0, 0, 0x12, 0x34, 0, 7]);
        assert_eq!(reply(&packet, 0x1234), Some(7));
        assert_eq!(reply(&packet, 0x1235), None);
        assert_eq!(reply(&packet[..24], 0x1234), None);
        packet[20] = ECHO_REQUEST;
        assert_eq!(reply(&packet, 0x1234), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_and_the_longest_gap_are_counted() {
        let start = Instant::now();
        let echo = |sent: u64, answered: Option<u64>| Echo {
            sent: start + Duration::from_millis(sent),
            answered: answered.map(|at| start + Duration::from_millis(at)),
        };
        let echoes = [echo(0, Some(1)), echo(100, None), echo(200, Some(450)), echo(300, Some(451))];
        let expected = Tally { sent: 4, lost: 1, longest_gap: Duration::from_millis(449) };
        assert_eq!(tally(&echoes), expected);
        assert_eq!(tally(&[]), Tally { sent: 0, lost: 0, longest_gap: Duration::ZERO });
    }

    #[tokio::test(start_paused = true)]
    async fn a_sequence_number_means_the_latest_ping_that_had_it() {
        let now = Instant::now();
        let mut echoes = vec![Echo { sent: now, answered: None }; (1 << 16) + 2];
        for sequence in [1, 2] {
            settle(&mut echoes, sequence, now);
        }
        let answered: Vec<usize> =
            (0..echoes.len()).filter(|index| echoes[*index].answered.is_some()).collect();
        assert_eq!(answered, [2, (1 << 16) + 1]);
    }
}
