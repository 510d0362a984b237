//! Advertises the gateways as IPv6 routers: when they come, now and then, and to whoever asks.
//!
//! Ours and not dnsmasq's, for two reasons. dnsmasq asks the kernel for all devices and addresses at each advertisement: at a
//! thousand networks that takes it seconds in a row, in which it lends nothing. And a primary that is cut off lends nothing,
//! but is still its guests' router.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ROUTER_SOLICITATION: u8 = 133;
/// Neighbours take nothing that has passed a router.
const HOPS: u32 = 255;
/// As RFC 4861 has it: a few at once at first, then between these.
const FIRST_ROUNDS: u8 = 3;
const BETWEEN_FIRST: Duration = Duration::from_secs(16);
const BETWEEN: (Duration, Duration) = (Duration::from_secs(200), Duration::from_secs(600));
/// A gateway's own address may come a moment later than we do.
const AGAIN: Duration = Duration::from_millis(200);
/// A guest that asks without end is answered so often.
const ANSWER_EVERY: Duration = Duration::from_millis(100);
/// Bytes that one socket may need for the groups that it is in: a thousand networks need more than older kernels give.
const SOCKET_MEMORY: (&str, u64) = ("/proc/sys/net/core/optmem_max", 1 << 20);

/// What is to be said, by the device's number.
pub(super) type Adverts = BTreeMap<u32, Vec<u8>>;

pub(super) struct Router {
    socket: Arc<AsyncFd<Socket>>,
    task: JoinHandle<()>,
    said: watch::Sender<Adverts>,
    joined: BTreeSet<u32>,
}

impl Drop for Router {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Router {
    pub fn open() -> io::Result<Router> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        hear_solicitations(&socket)?;
        socket.set_nonblocking(true)?;
        socket.set_multicast_hops_v6(HOPS)?;
        socket.set_unicast_hops_v6(HOPS)?;
        socket.set_multicast_loop_v6(false)?;
        // SAFETY: a `Socket` owns its descriptor, names always the same, and closes it when it is dropped, which is after this.
        let socket = Arc::new(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?);
        let (said, saying) = watch::channel(Adverts::new());
        let task = tokio::spawn(speak(Arc::clone(&socket), saying));
        Ok(Router { socket, task, said, joined: BTreeSet::new() })
    }

    /// From now on this is said. Whether it was something else until now.
    pub fn say(&mut self, adverts: Adverts) -> io::Result<bool> {
        let socket = self.socket.get_ref();
        for index in self.joined.iter().filter(|index| !adverts.contains_key(index)) {
            // It is gone, or will soon be.
            let _ = socket.leave_multicast_v6(&ALL_ROUTERS, *index);
        }
        self.joined.retain(|index| adverts.contains_key(index));
        for index in adverts.keys() {
            if !self.joined.contains(index) {
                socket.join_multicast_v6(&ALL_ROUTERS, *index)?;
                self.joined.insert(*index);
            }
        }
        Ok(self.said.send_if_modified(|said| {
            let news = *said != adverts;
            *said = adverts;
            news
        }))
    }
}

/// Older kernels' limit suffices for 400 networks, with DHCPv6 for 200.
pub(super) fn make_room_for_groups() {
    let (file, wanted) = SOCKET_MEMORY;
    let there = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok());
    if there.is_some_and(|there| there < wanted) {
        // Not in a container; should it be too little there, joining a group fails, and that is told.
        let _ = std::fs::write(file, wanted.to_string());
    }
}

/// All other kinds of ICMPv6 pass us by (RFC 3542 section 3.2).
fn hear_solicitations(socket: &Socket) -> io::Result<()> {
    const ICMP6_FILTER: libc::c_int = 1;
    let mut filter = [u32::MAX; 8];
    filter[usize::from(ROUTER_SOLICITATION >> 5)] &= !(1 << (ROUTER_SOLICITATION & 31));
    let length = libc::socklen_t::try_from(size_of_val(&filter)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `length` bytes of `filter`, and keeps no pointer.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_ICMPV6,
            ICMP6_FILTER,
            filter.as_ptr().cast(),
            length,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

struct Link {
    message: Vec<u8>,
    due: Instant,
    rounds: u8,
    answered: Option<Instant>,
}

async fn speak(socket: Arc<AsyncFd<Socket>>, mut saying: watch::Receiver<Adverts>) {
    let mut links: BTreeMap<u32, Link> = BTreeMap::new();
    loop {
        let next = links.values().map(|link| link.due).min();
        tokio::select! {
            changed = saying.changed() => {
                if changed.is_err() {
                    return;
                }
                take(&mut links, &saying.borrow_and_update());
            }
            ready = socket.readable() => {
                let Ok(mut ready) = ready else { return };
                if let Ok(Err(error)) = ready.try_io(|socket| answer(socket.get_ref(), &mut links)) {
                    tracing::debug!(%error, "router solicitations can't be heard");
                    tokio::time::sleep(AGAIN).await;
                }
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                advertise(socket.get_ref(), &mut links);
            }
        }
    }
}

/// What is new, or another, is said at once.
fn take(links: &mut BTreeMap<u32, Link>, adverts: &Adverts) {
    links.retain(|index, link| adverts.get(index) == Some(&link.message));
    for (index, message) in adverts {
        links.entry(*index).or_insert_with(|| Link {
            message: message.clone(),
            due: Instant::now(),
            rounds: FIRST_ROUNDS,
            answered: None,
        });
    }
}

fn advertise(socket: &Socket, links: &mut BTreeMap<u32, Link>) {
    let now = Instant::now();
    for (index, link) in links.iter_mut().filter(|(_, link)| link.due <= now) {
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, *index);
        link.due = now
            + match socket.send_to(&link.message, &SockAddr::from(to)) {
                Err(_) => AGAIN,
                Ok(_) if link.rounds > 1 => {
                    link.rounds -= 1;
                    BETWEEN_FIRST
                }
                Ok(_) => rand::random_range(BETWEEN.0..BETWEEN.1),
            };
    }
}

/// Takes one solicitation, and answers who sent it.
fn answer(socket: &Socket, links: &mut BTreeMap<u32, Link>) -> io::Result<()> {
    let mut packet = [MaybeUninit::uninit(); 256];
    let (length, from) = socket.recv_from(&mut packet)?;
    // SAFETY: the first byte is written when there is one.
    let kind = if length > 0 { unsafe { packet[0].assume_init() } } else { 0 };
    let from = from.as_socket_ipv6().filter(|from| from.ip().is_unicast_link_local());
    // Who has no address yet asks again, or hears the next one.
    let (Some(from), ROUTER_SOLICITATION) = (from, kind) else { return Ok(()) };
    let Some(link) = links.get_mut(&from.scope_id()) else { return Ok(()) };
    if link.answered.is_none_or(|answered| answered.elapsed() >= ANSWER_EVERY) {
        link.answered = Some(Instant::now());
        let to = SocketAddrV6::new(*from.ip(), 0, 0, from.scope_id());
        let _ = socket.send_to(&link.message, &SockAddr::from(to));
    }
    Ok(())
}
