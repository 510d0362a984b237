//! A client with one connection and one call at a time. It follows no leader and repeats nothing: those who
//! test and measure want to see what happens.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::frame::{self, Reader, kind};
use crate::talk::{
    Answer, Ask, Call, Change, Events, Failed, Name, Put, Read, Status, Tell, Values, Verb, Watch, Write,
    Written,
};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection broke: what was asked may have been done. Connect anew.
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("{}", .0.text)]
    Failed(Failed),
    #[error("an answer that does not fit the call")]
    Nonsense,
}

pub struct Client {
    reader: Reader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    buffer: BytesMut,
    call: u64,
}

impl Client {
    pub async fn connect(address: &str, deadline: Duration) -> Result<Client, ClientError> {
        let connecting = TcpStream::connect(address);
        let stream = tokio::time::timeout(deadline, connecting).await.map_err(|_| ClientError::Timeout)??;
        stream.set_nodelay(true)?;
        let (read, writer) = stream.into_split();
        Ok(Client { reader: Reader::new(read), writer, buffer: BytesMut::new(), call: 0 })
    }

    async fn say(&mut self, ask: Ask) -> Result<(), ClientError> {
        self.call += 1;
        self.buffer.clear();
        let call = Call { ask: Some(ask) };
        frame::put(&mut self.buffer, self.call, kind::TALK, |b| call.encode_raw(b));
        Ok(self.writer.write_all(&self.buffer).await?)
    }

    /// The next answer to the last call; answers to earlier ones, given up, are passed over.
    async fn hear(&mut self) -> Result<Tell, ClientError> {
        loop {
            let frame = self.reader.next().await?;
            let frame = frame.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
            if frame.call != self.call {
                continue;
            }
            let answer = Answer::decode(frame.body).map_err(|_| ClientError::Nonsense)?;
            return match answer.tell.ok_or(ClientError::Nonsense)? {
                Tell::Failed(failed) => Err(ClientError::Failed(failed)),
                tell => Ok(tell),
            };
        }
    }

    /// One call. A future that is dropped leaves the client fit for nothing but to be dropped too.
    pub async fn ask(&mut self, ask: Ask) -> Result<Tell, ClientError> {
        self.say(ask).await?;
        self.hear().await
    }

    pub async fn write(&mut self, write: Write) -> Result<Written, ClientError> {
        match self.ask(Ask::Write(write)).await? {
            Tell::Written(written) => Ok(written),
            _ => Err(ClientError::Nonsense),
        }
    }

    pub async fn put(&mut self, key: Name, value: Bytes) -> Result<Written, ClientError> {
        let puts = vec![Put { key: Some(key), value }];
        self.write(Write { puts, ..Write::default() }).await
    }

    pub async fn read(&mut self, read: Read) -> Result<Values, ClientError> {
        match self.ask(Ask::Read(read)).await? {
            Tell::Values(values) => Ok(values),
            _ => Err(ClientError::Nonsense),
        }
    }

    pub async fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask(Ask::Status(true)).await? {
            Tell::Status(status) => Ok(status),
            _ => Err(ClientError::Nonsense),
        }
    }

    /// `address` is of use with `AddLearner` only.
    pub async fn change(&mut self, verb: Verb, member: u64, address: &str) -> Result<(), ClientError> {
        let change = Change { verb: verb.into(), member, address: address.to_owned() };
        self.ask(Ask::Change(change)).await.map(drop)
    }

    /// Begins a watch, which takes the connection over. The first that comes is a bookmark: it has begun.
    pub async fn watch(mut self, watch: Watch) -> Result<Watching, ClientError> {
        self.say(Ask::Watch(watch)).await?;
        Ok(Watching(self))
    }
}

pub struct Watching(Client);

impl Watching {
    /// The next revision's events, or a bookmark; `Failed` when the watch is over. Safe to cancel.
    pub async fn next(&mut self) -> Result<Events, ClientError> {
        match self.0.hear().await? {
            Tell::Events(events) => Ok(events),
            _ => Err(ClientError::Nonsense),
        }
    }
}
