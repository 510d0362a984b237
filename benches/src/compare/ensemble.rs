//! Three servers of one system: starting, killing, finding the leader. Settings are each system's defaults;
//! what differs is said where it is set.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use pvc_bare::hosts;
use pvc_process::{Cmd, Daemon, DaemonLogs};
use tokio::time::{Instant, sleep, timeout};

use super::target::Clients;
use crate::daemons::{Cluster, Host};

const GRACE: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(10);

pub const HOSTS: usize = 3;

fn address(host: usize) -> std::net::Ipv4Addr {
    hosts::address(host as u8)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum System {
    Zookeeper,
    Etcd,
    /// The store alone, by `pvc-bare`
    #[value(name = "ours")]
    Bare,
    /// The whole path: `pvcd` with TLS, roles, the decision lane and gRPC
    Pvcd,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            System::Zookeeper => "zookeeper",
            System::Etcd => "etcd",
            System::Bare => "ours",
            System::Pvcd => "pvcd",
        })
    }
}

impl System {
    pub fn port(self) -> u16 {
        match self {
            System::Zookeeper => 2181,
            System::Etcd => 2379,
            System::Bare | System::Pvcd => 7000,
        }
    }
}

pub struct Ensemble {
    pub system: System,
    dir: PathBuf,
    bare: PathBuf,
    servers: [Option<Daemon>; HOSTS],
    /// With `Pvcd`, in place of the servers.
    cluster: Option<Cluster>,
}

impl Ensemble {
    /// An ensemble that has no data yet, below `dir`. `bare` is the program of our own servers.
    pub fn new(system: System, dir: &Path, bare: &Path) -> Result<Ensemble> {
        let dir = dir.join(system.to_string());
        for host in 1..=HOSTS {
            std::fs::create_dir_all(dir.join(host.to_string()))?;
        }
        Ok(Ensemble { system, dir, bare: bare.to_owned(), servers: [None, None, None], cluster: None })
    }

    /// How its clients reach it.
    pub fn clients(&self) -> Clients {
        let trust = self.cluster.as_ref().map(Cluster::admin_trust);
        Clients {
            system: self.system,
            endpoints: (1..=HOSTS).map(|host| self.endpoint(host)).collect(),
            trust,
        }
    }

    pub fn endpoint(&self, host: usize) -> String {
        match &self.cluster {
            Some(cluster) => cluster.hosts[host - 1].address(),
            None => format!("{}:{}", address(host), self.system.port()),
        }
    }

    pub fn pids(&self) -> Vec<u32> {
        let daemons = self.cluster.iter().flat_map(|cluster| cluster.hosts.iter().filter_map(Host::pid));
        self.servers.iter().flatten().map(Daemon::pid).chain(daemons).collect()
    }

    /// A server's data.
    pub fn data(&self, host: usize) -> PathBuf {
        match &self.cluster {
            Some(cluster) => cluster.hosts[host - 1].config.data_dir.clone(),
            None => self.dir.join(host.to_string()).join("data"),
        }
    }

    fn runs(&self, host: usize) -> bool {
        let daemon = self.cluster.as_ref().and_then(|cluster| cluster.hosts[host - 1].pid());
        self.servers[host - 1].is_some() || daemon.is_some()
    }

    /// Starts the servers that do not run.
    pub fn start(&mut self) -> Result<()> {
        if let Some(cluster) = &mut self.cluster {
            cluster.hosts.iter_mut().filter(|host| host.pid().is_none()).for_each(Host::start);
            return Ok(());
        }
        for host in 1..=HOSTS {
            if self.servers[host - 1].is_none() {
                self.servers[host - 1] = Some(self.start_one(host)?);
            }
        }
        Ok(())
    }

    /// The first start: founds what has to be founded, and waits until it serves.
    pub async fn found(&mut self) -> Result<()> {
        if self.system == System::Pvcd {
            // Where the daemons' folders go. Set once; a second time it is this folder already.
            let _ = tempfile::env::override_temp_dir(&self.dir);
            self.cluster = Some(Cluster::of_three().await);
            return self.ready().await;
        }
        self.start()?;
        if self.system == System::Bare {
            let members: Vec<String> =
                (1..=HOSTS).map(|host| format!("{host}={}", self.endpoint(host))).collect();
            Cmd::new(&self.bare).arg("found").args(members).run(PATIENCE).await?;
        }
        self.ready().await
    }

    fn start_one(&self, host: usize) -> Result<Daemon> {
        let dir = self.dir.join(host.to_string());
        let data = self.data(host);
        std::fs::create_dir_all(&data)?;
        let cmd = match self.system {
            System::Zookeeper => {
                std::fs::write(data.join("myid"), host.to_string())?;
                let config = dir.join("zoo.cfg");
                std::fs::write(&config, zookeeper_config(&data, host))?;
                // The heap's limit is that of ZooKeeper's own start script.
                let jar = "/usr/share/java/zookeeper.jar";
                Cmd::new("java")
                    .args(["-Xmx1000m", "-cp", jar, "org.apache.zookeeper.server.quorum.QuorumPeerMain"])
                    .arg(config)
            }
            System::Etcd => {
                let (client, peer) =
                    (format!("http://{}:2379", address(host)), format!("http://{}:2380", address(host)));
                let cluster: Vec<String> =
                    (1..=HOSTS).map(|h| format!("n{h}=http://{}:2380", address(h))).collect();
                Cmd::new("etcd")
                    .args(["--name", &format!("n{host}"), "--log-level", "error", "--logger", "zap"])
                    .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                    .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                    .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"])
                    .arg("--data-dir")
                    .arg(&data)
            }
            System::Bare => Cmd::new(&self.bare)
                .args(["serve", "--id", &host.to_string(), "--listen", &self.endpoint(host), "--dir"])
                .arg(&data),
            System::Pvcd => anyhow::bail!("daemons are started by their cluster"),
        };
        let logs = DaemonLogs::joined(dir.join("out"));
        Ok(cmd.in_netns(hosts::name(host as u8)).spawn_daemon(&logs)?)
    }

    /// Waits until every server that runs answers a read and takes a write.
    pub async fn ready(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for host in 1..=HOSTS {
            if !self.runs(host) {
                continue;
            }
            let clients = self.clients();
            loop {
                let tried = timeout(Duration::from_secs(2), async {
                    let mut client = clients.connect(host - 1).await?;
                    client.create("ready", b"1").await?;
                    client.get_lin("ready").await
                });
                match tried.await {
                    Ok(Ok(_)) => break,
                    Ok(Err(error)) if Instant::now() > until => {
                        return Err(error).context("it does not get ready");
                    }
                    Err(_) if Instant::now() > until => anyhow::bail!("{} does not get ready", self.system),
                    _ => sleep(Duration::from_millis(20)).await,
                }
            }
        }
        Ok(())
    }

    /// The host whose server leads.
    pub async fn leader(&self) -> Result<usize> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            for host in 1..=HOSTS {
                if self.runs(host) && self.leads(host).await.unwrap_or(false) {
                    return Ok(host);
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("{} has no leader", self.system)
    }

    async fn leads(&self, host: usize) -> Result<bool> {
        match self.system {
            System::Zookeeper => {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let asked = timeout(DEADLINE, async {
                    let mut stream = tokio::net::TcpStream::connect(self.endpoint(host)).await?;
                    stream.write_all(b"srvr").await?;
                    let mut text = String::new();
                    stream.read_to_string(&mut text).await?;
                    anyhow::Ok(text)
                });
                Ok(asked.await??.contains("Mode: leader"))
            }
            System::Etcd => {
                let mut client = etcd_client::Client::connect([self.endpoint(host)], None).await?;
                let status = timeout(DEADLINE, client.status()).await??;
                Ok(status.header().is_some_and(|header| header.member_id() == status.leader()))
            }
            System::Bare => {
                let mut client = pvc_bare::client::Client::connect(&self.endpoint(host), DEADLINE).await?;
                Ok(timeout(DEADLINE, client.status()).await??.leads)
            }
            System::Pvcd => {
                let cluster = self.cluster.as_ref().context("no cluster")?;
                Ok(cluster.leader().await == cluster.hosts[host - 1].config.node)
            }
        }
    }

    /// The term of our store.
    pub async fn term(&self) -> Result<u64> {
        let leader = self.leader().await?;
        let mut client = pvc_bare::client::Client::connect(&self.endpoint(leader), DEADLINE).await?;
        Ok(timeout(DEADLINE, client.status()).await??.term)
    }

    /// Kills a server as `kill -9` does.
    pub async fn kill(&mut self, host: usize) -> Result<()> {
        if let Some(cluster) = &mut self.cluster {
            cluster.hosts[host - 1].kill();
        }
        if let Some(server) = self.servers[host - 1].take() {
            server.id().signal(libc::SIGKILL)?;
            server.id().stop(Duration::ZERO).await?;
        }
        Ok(())
    }

    /// Kills without waiting for anything: the moment counts.
    pub fn kill_now(&mut self, host: usize) -> Result<()> {
        if let Some(cluster) = &mut self.cluster {
            cluster.hosts[host - 1].kill();
        }
        if let Some(server) = &self.servers[host - 1] {
            server.id().signal(libc::SIGKILL)?;
        }
        Ok(())
    }

    /// Stops all servers in order.
    pub async fn stop(&mut self) -> Result<()> {
        for host in self.cluster.iter_mut().flat_map(|cluster| &mut cluster.hosts) {
            host.stop(GRACE).await?;
        }
        for server in &mut self.servers {
            if let Some(server) = server.take() {
                server.id().stop(GRACE).await?;
            }
        }
        Ok(())
    }

    /// What the servers said, for messages.
    pub fn said(&self) -> String {
        let logs = (1..=HOSTS).map(|host| self.dir.join(host.to_string()).join("out"));
        logs.filter_map(|path| std::fs::read_to_string(path).ok()).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for server in self.servers.iter().flatten() {
            // One that has ended by itself needs no signal.
            let _ = server.id().signal(libc::SIGKILL);
        }
    }
}

/// ZooKeeper's own sample values. `maxClientCnxns` differs: its default of 60 refuses the clients, which all
/// come from one address.
fn zookeeper_config(data: &Path, host: usize) -> String {
    let servers: String = (1..=HOSTS).map(|h| format!("server.{h}={}:2888:3888\n", address(h))).collect();
    format!(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort=2181\nclientPortAddress={}\n\
         maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n{servers}",
        data.display(),
        address(host),
    )
}
