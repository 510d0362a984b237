//! A member's door. A client's calls are answered one after the other; a peer's side by side, since a
//! heartbeat must not wait behind entries that are being synced.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use raft_store::{Event as StoreEvent, Member, ReadError, Store, WatchError, WatchEvent, Watcher};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

use crate::frame::{self, Frame, Reader, kind};
use crate::lane::Lane;
use crate::outbox::Outbox;
use crate::peers::{caller_of, kind_of};
use crate::talk::{
    Answer, Ask, Call, Change, Event, Events, Failed, Read, Status, Tell, Value, Values, Verb, Watch, Why,
};

/// Serves for ever.
pub async fn serve(store: Store, listener: TcpListener) -> io::Result<()> {
    let lane = Lane::start(store.clone());
    loop {
        let (stream, _) = listener.accept().await?;
        let (store, lane) = (store.clone(), lane.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(store, lane, stream).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
}

async fn connection(store: Store, lane: Lane, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let (mut reader, outbox) = (Reader::new(read), Outbox::new(write));
    while let Some(Frame { call, kind, body }) = reader.next().await? {
        match kind {
            kind::TALK => {
                let ask = Call::decode(body)?.ask;
                let tell = match ask {
                    Some(Ask::Watch(watch)) => {
                        let (store, outbox) = (store.clone(), outbox.clone());
                        tokio::spawn(follow(store, watch, outbox, call));
                        continue;
                    }
                    Some(ask) => answer(&store, &lane, ask).await,
                    None => refused("an empty call"),
                };
                tell_to(&outbox, call, tell)?;
            }
            kind::SNAPSHOT => return snapshot(store, reader, outbox, body).await,
            number => peer(&store, &outbox, call, number, body)?,
        }
    }
    Ok(())
}

fn tell_to(outbox: &Outbox, call: u64, tell: Tell) -> io::Result<()> {
    let answer = Answer { tell: Some(tell) };
    let mut bytes = BytesMut::with_capacity(answer.encoded_len() + 16);
    frame::put(&mut bytes, call, kind::TALK, |b| answer.encode_raw(b));
    outbox.send(bytes)
}

fn reply(outbox: &Outbox, call: u64, result: Result<Bytes, impl std::fmt::Display>) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    match result {
        Ok(body) => frame::put(&mut bytes, call, kind::PEER, |b| b.put_slice(&body)),
        Err(error) => {
            frame::put(&mut bytes, call, kind::FAILED, |b| b.put_slice(error.to_string().as_bytes()));
        }
    }
    outbox.send(bytes)
}

fn peer(store: &Store, outbox: &Outbox, call: u64, number: u8, mut body: Bytes) -> io::Result<()> {
    let kind = kind_of(number).ok_or(io::ErrorKind::InvalidData)?;
    let from = caller_of(&mut body)?;
    let (store, outbox) = (store.clone(), outbox.clone());
    tokio::spawn(async move {
        let result = store.handle(from, kind, body).await;
        // A peer that has gone needs no answer.
        let _ = reply(&outbox, call, result);
    });
    Ok(())
}

async fn snapshot(
    store: Store,
    reader: Reader<OwnedReadHalf>,
    outbox: Outbox,
    mut header: Bytes,
) -> io::Result<()> {
    let from = caller_of(&mut header)?;
    let (mut sender, receiver) = tokio::io::duplex(1 << 20);
    let pieces = async move {
        let mut reader = reader;
        while let Ok(Some(frame)) = reader.next().await {
            if frame.kind != kind::PIECE || frame.body.is_empty() {
                break;
            }
            if tokio::io::AsyncWriteExt::write_all(&mut sender, &frame.body).await.is_err() {
                break;
            }
        }
        // The connection must live until the answer is sent.
        drop(sender);
        reader
    };
    let (_reader, result) = tokio::join!(pieces, store.handle_snapshot(from, header, Box::pin(receiver)));
    reply(&outbox, 0, result)
}

fn failed(why: Why, text: impl ToString) -> Tell {
    Tell::Failed(Failed { why: why.into(), text: text.to_string(), ..Failed::default() })
}

fn refused(text: impl ToString) -> Tell {
    failed(Why::Refused, text)
}

async fn answer(store: &Store, lane: &Lane, ask: Ask) -> Tell {
    match ask {
        Ask::Write(write) => match write.transaction() {
            Ok(transaction) => {
                let lost = |_| failed(Why::Unknown, "this member stopped meanwhile");
                lane.write(transaction).await.unwrap_or_else(lost)
            }
            Err(error) => refused(error),
        },
        Ask::Read(read) => values(store, read).await,
        Ask::Change(change) => self::change(store, change).await,
        Ask::Status(_) => Tell::Status(status(store)),
        Ask::Watch(_) => refused("a watch has its own way"),
    }
}

async fn values(store: &Store, read: Read) -> Tell {
    let view = if read.local {
        store.view()
    } else {
        match store.linearizable().await {
            Ok(view) => view,
            Err(error @ ReadError::Stopped) => return failed(Why::Unavailable, error),
            Err(error) => return failed(Why::Unavailable, error),
        }
    };
    let mut values = Vec::with_capacity(read.keys.len());
    for name in &read.keys {
        let key = match name.key() {
            Ok(key) => key,
            Err(error) => return refused(error),
        };
        values.push(view.get(&key).map_or_else(Value::default, value));
    }
    Tell::Values(Values { revision: view.revision, values })
}

fn value(entry: &raft_store::Entry) -> Value {
    Value { revision: entry.revision, value: entry.value.clone() }
}

async fn change(store: &Store, change: Change) -> Tell {
    let id = change.member;
    let done = match change.verb() {
        Verb::Found => return done(store.found().await),
        Verb::AddLearner => store.add_learner(Member::new(id, change.address)).await,
        Verb::Promote => store.promote(id).await,
        Verb::Remove => store.remove(id).await,
        Verb::Transfer => return done(store.transfer_leadership(id).await),
        Verb::Unknown => return refused("an unknown change"),
    };
    done.map_or_else(|error| failed(Why::Unavailable, error), |()| Tell::Done(true))
}

fn done(result: Result<(), impl std::fmt::Display>) -> Tell {
    result.map_or_else(|error| failed(Why::Unavailable, error), |()| Tell::Done(true))
}

fn status(store: &Store) -> Status {
    let status = store.status().borrow().clone();
    let voters = status.members.iter().filter(|m| m.voter).map(|m| m.member.id).collect();
    Status {
        term: status.term,
        leader: status.leader.as_ref().map_or(0, |leader| leader.id),
        leader_address: status.leader.map_or_else(String::new, |leader| leader.address),
        leads: store.leadership().borrow().is_some(),
        applied: store.view().revision,
        voters,
        members: status.members.iter().map(|m| m.member.id).collect(),
        alarms: status.alarms.iter().map(ToString::to_string).collect(),
        log_syncs: status.fsync.log_syncs,
        keys: store.view().len() as u64,
    }
}

async fn follow(store: Store, watch: Watch, outbox: Outbox, call: u64) {
    let from = watch.from.unwrap_or_else(|| store.view().revision);
    let end = match store.watch(from) {
        Ok(mut watcher) => {
            let started = Events { revision: from, events: Vec::new() };
            if tell_to(&outbox, call, Tell::Events(started)).is_err() {
                return;
            }
            match pass_on(&mut watcher, &watch, &outbox, call).await {
                Ok(never) => match never {},
                Err(Some(end)) => end,
                Err(None) => return,
            }
        }
        Err(WatchError::Compacted { oldest }) => Tell::Failed(Failed {
            why: Why::Compacted.into(),
            text: WatchError::Compacted { oldest }.to_string(),
            oldest,
            ..Failed::default()
        }),
        Err(error) => failed(Why::Unavailable, error),
    };
    // A watcher that has gone needs no end.
    let _ = tell_to(&outbox, call, end);
}

/// None: the client has gone.
async fn pass_on(
    watcher: &mut Watcher,
    watch: &Watch,
    outbox: &Outbox,
    call: u64,
) -> Result<std::convert::Infallible, Option<Tell>> {
    loop {
        let events = match watcher.next().await {
            Ok(WatchEvent::Bookmark { revision }) => Events { revision, events: Vec::new() },
            Ok(WatchEvent::Changes { revision, events }) => {
                let mine = |event: &&StoreEvent| {
                    *event.key.collection == *watch.collection && event.key.name.starts_with(&watch.prefix)
                };
                let events: Vec<Event> = events.iter().filter(mine).map(event).collect();
                if events.is_empty() {
                    continue;
                }
                Events { revision, events }
            }
            Err(end) => return Err(Some(failed(Why::Ended, end))),
        };
        tell_to(outbox, call, Tell::Events(events)).map_err(|_| None)?;
    }
}

fn event(event: &StoreEvent) -> Event {
    Event { key: Some((&event.key).into()), new: event.new.as_ref().map(value) }
}

/// Opens a member's store and serves it.
pub async fn run(options: raft_store::Options, listener: TcpListener) -> anyhow::Result<()> {
    let peers = crate::peers::Peers::new(options.me.id);
    let store = Store::open(options, Arc::clone(&peers) as Arc<dyn raft_store::Transport>).await?;
    Ok(serve(store, listener).await?)
}
