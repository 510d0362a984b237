//! A client of each system: what a server under load has to offer. One client is one connection, as one
//! program would have it; the generator spreads its clients over the servers.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use async_trait::async_trait;
use bytes::Bytes;

use pvc_client::Trust;

use super::ensemble::System;

#[async_trait]
pub trait Conn: Send {
    /// Creates a key; one that is there already is fine too.
    async fn create(&mut self, key: &str, value: &[u8]) -> Result<()>;
    /// Overwrites a key; returns once that is replicated and durable.
    async fn put(&mut self, key: &str, value: &[u8]) -> Result<()>;
    /// A linearizable read; the length of what is there. ZooKeeper: sync and read, its nearest equivalent.
    async fn get_lin(&mut self, key: &str) -> Result<usize>;
    /// A read of whatever the server has.
    async fn get_local(&mut self, key: &str) -> Result<usize>;
    /// Follows one key; takes the client over.
    async fn watch(self: Box<Self>, key: &str) -> Result<Box<dyn Watching>>;
}

#[async_trait]
pub trait Watching: Send {
    /// Returns at the next change of the key.
    async fn next(&mut self) -> Result<()>;
}

const CONNECT: Duration = Duration::from_secs(2);

/// How clients reach a system.
#[derive(Clone)]
pub struct Clients {
    pub system: System,
    /// HOST:PORT, a server each.
    pub endpoints: Vec<String>,
    /// What `pvcd` is shown.
    pub trust: Option<Trust>,
}

impl Clients {
    /// A client of the server that is `at` in the list, which goes round. Ours take their writes to the leader,
    /// whom a server names, as our client library does.
    pub async fn connect(&self, at: usize) -> Result<Box<dyn Conn>> {
        let at = at % self.endpoints.len();
        let endpoint = &self.endpoints[at];
        Ok(match self.system {
            System::Zookeeper => Box::new(zookeeper::Conn::new(endpoint).await?),
            System::Etcd => Box::new(etcd::Conn::new(endpoint).await?),
            System::Bare => Box::new(bare::Conn::new(endpoint).await?),
            System::Pvcd => {
                let trust = self.trust.as_ref().ok_or_else(|| anyhow!("no credentials"))?;
                let mut endpoints = self.endpoints.clone();
                endpoints.rotate_left(at);
                Box::new(super::target_pvcd::Conn::new(&endpoints, trust))
            }
        })
    }
}

mod etcd {
    use super::*;
    use etcd_client::{Client, ConnectOptions, GetOptions, WatchStream};

    pub struct Conn(Client);

    impl Conn {
        pub async fn new(endpoint: &str) -> Result<Self> {
            let options = ConnectOptions::new().with_connect_timeout(CONNECT);
            Ok(Conn(Client::connect([endpoint], Some(options)).await?))
        }

        async fn get(&mut self, key: &str, options: Option<GetOptions>) -> Result<usize> {
            Ok(self.0.get(key, options).await?.kvs().first().map_or(0, |kv| kv.value().len()))
        }
    }

    #[async_trait]
    impl super::Conn for Conn {
        async fn create(&mut self, key: &str, value: &[u8]) -> Result<()> {
            self.put(key, value).await
        }

        async fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
            self.0.put(key, value, None).await?;
            Ok(())
        }

        async fn get_lin(&mut self, key: &str) -> Result<usize> {
            self.get(key, None).await
        }

        async fn get_local(&mut self, key: &str) -> Result<usize> {
            self.get(key, Some(GetOptions::new().with_serializable())).await
        }

        async fn watch(mut self: Box<Self>, key: &str) -> Result<Box<dyn super::Watching>> {
            let stream = self.0.watch(key, None).await?;
            Ok(Box::new(Watching(stream)))
        }
    }

    struct Watching(WatchStream);

    #[async_trait]
    impl super::Watching for Watching {
        async fn next(&mut self) -> Result<()> {
            loop {
                match self.0.message().await? {
                    Some(message) if !message.events().is_empty() => return Ok(()),
                    Some(_) => {}
                    None => bail!("the watch ended"),
                }
            }
        }
    }
}

mod zookeeper {
    use super::*;
    use zookeeper_client::{Acls, AddWatchMode, Client, CreateMode, Error, PersistentWatcher};

    pub struct Conn(Client);

    impl Conn {
        pub async fn new(endpoint: &str) -> Result<Self> {
            let client = Client::connector()
                .with_session_timeout(Duration::from_secs(20))
                .with_connection_timeout(CONNECT)
                .with_fail_eagerly()
                .connect(endpoint)
                .await?;
            Ok(Conn(client))
        }
    }

    #[async_trait]
    impl super::Conn for Conn {
        async fn create(&mut self, key: &str, value: &[u8]) -> Result<()> {
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            match self.0.create(&format!("/{key}"), value, &options).await {
                Ok(_) | Err(Error::NodeExists) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }

        async fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
            self.0.set_data(&format!("/{key}"), value, None).await?;
            Ok(())
        }

        async fn get_lin(&mut self, key: &str) -> Result<usize> {
            let path = format!("/{key}");
            // Pipelined in one session: the server answers in order.
            let (synced, got) = tokio::join!(self.0.sync(&path), self.0.get_data(&path));
            synced?;
            Ok(got?.0.len())
        }

        async fn get_local(&mut self, key: &str) -> Result<usize> {
            Ok(self.0.get_data(&format!("/{key}")).await?.0.len())
        }

        async fn watch(self: Box<Self>, key: &str) -> Result<Box<dyn super::Watching>> {
            let watcher = self.0.watch(&format!("/{key}"), AddWatchMode::Persistent).await?;
            Ok(Box::new(Watching(watcher, self.0)))
        }
    }

    /// The session lives as long as its client.
    struct Watching(PersistentWatcher, #[expect(dead_code, reason = "keeps the session")] Client);

    #[async_trait]
    impl super::Watching for Watching {
        async fn next(&mut self) -> Result<()> {
            self.0.changed().await;
            Ok(())
        }
    }
}

mod bare {
    use super::*;
    use pvc_bare::client::{Client, ClientError, Watching as BareWatching};
    use pvc_bare::talk::{Name, Read, Watch, Why};

    const COLLECTION: &str = "bench";

    pub struct Conn {
        /// The server that this client was given.
        own: Client,
        /// The leader, once its own server has said that it does not lead.
        leader: Option<Client>,
    }

    impl Conn {
        pub async fn new(endpoint: &str) -> Result<Self> {
            Ok(Conn { own: Client::connect(endpoint, CONNECT).await?, leader: None })
        }

        async fn get(&mut self, key: &str, local: bool) -> Result<usize> {
            let keys = vec![Name::new(COLLECTION, key)];
            let values = self.own.read(Read { keys, local }).await?;
            Ok(values.values.first().map_or(0, |value| value.value.len()))
        }
    }

    #[async_trait]
    impl super::Conn for Conn {
        async fn create(&mut self, key: &str, value: &[u8]) -> Result<()> {
            self.put(key, value).await
        }

        async fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
            loop {
                let client = self.leader.as_mut().unwrap_or(&mut self.own);
                let put = client.put(Name::new(COLLECTION, key), Bytes::copy_from_slice(value)).await;
                match put {
                    Ok(_) => return Ok(()),
                    Err(ClientError::Failed(failed)) if failed.why() == Why::NotLeader => {
                        if self.leader.take().is_some() || failed.leader.is_empty() {
                            bail!("the leader has changed: {}", failed.text);
                        }
                        self.leader = Some(Client::connect(&failed.leader, CONNECT).await?);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }

        async fn get_lin(&mut self, key: &str) -> Result<usize> {
            self.get(key, false).await
        }

        async fn get_local(&mut self, key: &str) -> Result<usize> {
            self.get(key, true).await
        }

        async fn watch(self: Box<Self>, key: &str) -> Result<Box<dyn super::Watching>> {
            let watch = Watch { collection: COLLECTION.into(), prefix: key.into(), from: None };
            let mut watching = self.own.watch(watch).await?;
            // The first bookmark says that it has begun.
            watching.next().await?;
            Ok(Box::new(Watching(watching)))
        }
    }

    struct Watching(BareWatching);

    #[async_trait]
    impl super::Watching for Watching {
        async fn next(&mut self) -> Result<()> {
            while self.0.next().await?.events.is_empty() {}
            Ok(())
        }
    }
}
