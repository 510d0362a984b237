//! Who changes nftables, and what: the kernel tells each transaction to whoever listens. So our tables need not be listed to
//! know that they are as we wrote them, however many rules they hold.
//!
//! What was told is checked by the kernel's count of transactions: a difference means that something was not heard, and then our
//! tables count as changed.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use rtnetlink::sys::{Socket, SocketAddr, constants::NETLINK_NETFILTER};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::table::{Family, NAME};

/// `NFNLGRP_NFTABLES`, of linux/netfilter/nfnetlink.h.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, the upper byte of all message types here.
const SUBSYSTEM: u16 = 10;
/// The lower byte: linux/netfilter/nf_tables.h.
const NEWGEN: u16 = 15;
const GETGEN: u16 = 16;
/// Netlink's header, and netfilter's after it.
const HEADERS: usize = 16 + 4;
/// A transaction is told in pieces of this size at most.
const PIECE_BYTES_MAX: usize = 1 << 16;
/// What may wait for us: the story of some ten thousand rules.
const QUEUE_BYTES: usize = 8 << 20;

/// One transaction, as far as it is about our tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The program and its process: "nft (4711)".
    pub by: String,
    /// What it did to which, the first of it: "removed a rule of in-1001".
    pub touched: BTreeMap<Family, String>,
}

/// Listens since it was made.
pub struct Monitor {
    listener: Listener,
    /// The kernel's count up to which all has been heard.
    generation: u32,
}

impl Monitor {
    pub fn new() -> io::Result<Self> {
        // In this order: what comes in between is heard, and does no harm.
        let listener = Listener::new()?;
        let generation = generation()?;
        Ok(Monitor { listener, generation })
    }

    /// After one transaction of ours: whether it alone has touched our tables since the last call. The story of a great one is
    /// longer than what is kept for us; if the kernel counts no other, it need not be heard.
    pub async fn was_alone(&mut self) -> io::Result<bool> {
        let mut ours = 0;
        let complete =
            self.listener.read(|transaction| ours += u32::from(!transaction.touched.is_empty()))?;
        let now = generation()?;
        let count = now.wrapping_sub(self.generation);
        self.generation = now;
        Ok(count == 1 || (complete && ours == 1))
    }

    /// What has changed our tables since the last call. None: not all was heard.
    pub async fn heard(&mut self) -> io::Result<Option<Vec<Transaction>>> {
        let mut transactions = Vec::new();
        let mut count = 0;
        for _ in 0..10 {
            let complete = self.listener.read(|transaction| {
                count += 1;
                if !transaction.touched.is_empty() {
                    transactions.push(transaction);
                }
            })?;
            let now = generation()?;
            let expected = now.wrapping_sub(self.generation);
            if !complete || count > expected {
                self.generation = now;
                return Ok(None);
            }
            if count == expected {
                self.generation = now;
                return Ok(Some(transactions));
            }
            // The count goes up a moment before it is told.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.generation = generation()?;
        Ok(None)
    }
}

/// Tells `wake` whenever somebody has changed one of our tables, we ourselves too, until listening fails.
pub async fn watch(wake: Arc<Notify>) -> io::Error {
    let listen = async {
        let mut listener = Listener::new()?;
        let socket = listener.socket.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor is its own, and open until it is dropped with it.
        let readable = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        loop {
            readable.readable().await?.clear_ready();
            let mut ours = false;
            let complete = listener.read(|transaction| ours |= !transaction.touched.is_empty())?;
            if ours || !complete {
                wake.notify_one();
            }
        }
    };
    match listen.await {
        Ok(never) => never,
        Err(error) => error,
    }
}

/// How many transactions the kernel has seen in this network namespace, more or less: it counts round and round.
fn generation() -> io::Result<u32> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    let mut request = Vec::with_capacity(HEADERS);
    request.extend((HEADERS as u32).to_ne_bytes());
    request.extend((SUBSYSTEM << 8 | GETGEN).to_ne_bytes());
    request.extend(1u16.to_ne_bytes()); // NLM_F_REQUEST
    request.extend([0; 8 + 4]); // No number and no port; any family, version 0.
    socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = Message::all(&answer).next();
    let answer = answer.filter(|message| message.kind == NEWGEN).and_then(|message| message.number(1));
    answer.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "nftables does not tell its generation"))
}

struct Listener {
    socket: Socket,
    piece: Vec<u8>,
    /// What has been heard of a transaction whose end is to come.
    begun: BTreeMap<Family, String>,
}

impl Listener {
    fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE_BYTES)?;
        socket.add_membership(GROUP)?;
        Ok(Listener { socket, piece: Vec::with_capacity(PIECE_BYTES_MAX), begun: BTreeMap::new() })
    }

    /// Reads what has been told so far. False: something was told that could not be kept for us.
    fn read(&mut self, mut each: impl FnMut(Transaction)) -> io::Result<bool> {
        let mut complete = true;
        loop {
            self.piece.clear();
            match self.socket.recv(&mut self.piece, 0) {
                Ok(bytes) => complete &= bytes == self.piece.len(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(complete),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                    complete = false;
                    self.begun.clear();
                    continue;
                }
                Err(error) => return Err(error),
            }
            for message in Message::all(&self.piece) {
                if message.kind == NEWGEN {
                    let (process, name) = (message.number(2), message.text(3));
                    let by = format!("{} ({})", name.unwrap_or("somebody"), process.unwrap_or(0));
                    each(Transaction { by, touched: std::mem::take(&mut self.begun) });
                } else if let Some((family, what)) = message.about_ours() {
                    self.begun.entry(family).or_insert(what);
                }
            }
        }
    }
}

/// One message of nftables'.
struct Message<'a> {
    kind: u16,
    family: u8,
    attributes: &'a [u8],
}

impl<'a> Message<'a> {
    fn all(mut bytes: &'a [u8]) -> impl Iterator<Item = Message<'a>> {
        std::iter::from_fn(move || {
            loop {
                let length = u32::from_ne_bytes(bytes.first_chunk().copied()?) as usize;
                let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
                let message = bytes.get(..length)?;
                bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
                if kind >> 8 == SUBSYSTEM && length >= HEADERS {
                    return Some(Message {
                        kind: kind & 0xff,
                        family: message[16],
                        attributes: &message[HEADERS..],
                    });
                }
                if length < 16 {
                    return None;
                }
            }
        })
    }

    fn attribute(&self, number: u16) -> Option<&'a [u8]> {
        let mut rest = self.attributes;
        loop {
            let length = usize::from(u16::from_ne_bytes(rest.first_chunk().copied()?));
            // Without the two bits that say how it is written.
            let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & 0x3fff;
            let value = rest.get(4..length)?;
            if kind == number {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }

    fn number(&self, attribute: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(attribute)?.try_into().ok()?))
    }

    fn text(&self, attribute: u16) -> Option<&'a str> {
        let bytes = self.attribute(attribute)?;
        std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()
    }

    /// Which of our tables it is about, and what it says. The first attribute of all that is in a table is the table's name.
    fn about_ours(&self) -> Option<(Family, String)> {
        if self.text(1)? != NAME {
            return None;
        }
        let family = match self.family {
            1 => Family::Inet,
            7 => Family::Bridge,
            _ => return None,
        };
        let of = |attribute, what: &str| format!("{what} {}", self.text(attribute).unwrap_or("something"));
        let what = match self.kind {
            0 => "made the table".to_owned(),
            2 => "removed the table".to_owned(),
            3 => of(3, "made or changed the chain"),
            5 => of(3, "removed the chain"),
            6 => of(2, "added a rule to"),
            8 => of(2, "removed a rule of"),
            9 => of(2, "made the set"),
            11 => of(2, "removed the set"),
            12 => of(2, "added elements to"),
            14 => of(2, "removed elements of"),
            18 => of(2, "made the counter"),
            20 => of(2, "removed the counter"),
            _ => "changed it".to_owned(),
        };
        Some((family, what))
    }
}
