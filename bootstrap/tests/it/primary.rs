//! The primary's address on three hosts: handed over, followed when its daemon stands still, and when its host dies.

use std::time::Duration;

use pvc_client::{Client, Connection, Connections, request_id};
use pvc_process::Cmd;
use pvc_proto::v1::{
    ClusterStatus, GetClusterStatusRequest, HandOverPrimaryRequest, PrimaryPhase, TransferLeadershipRequest,
};
use tokio::time::Instant;

use crate::bench::{Bench, eventually};

const SOON: Duration = Duration::from_secs(30);
/// 3.5 s is the aim, on a machine that has nothing else to do.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(10);
const HOSTS: [&str; 3] = ["hv1", "hv2", "hv3"];

/// The cluster as its administrator sees it.
struct Seen<'a> {
    bench: &'a Bench,
    connection: Connection,
    address: String,
}

impl Seen<'_> {
    fn client(&self) -> Client {
        Client::new(&self.connection).unwrap()
    }

    async fn status(&self) -> ClusterStatus {
        let asked = self.client().cluster().get_cluster_status(GetClusterStatusRequest {}).await;
        asked.unwrap().into_inner()
    }

    async fn primary(&self) -> String {
        self.status().await.primary.unwrap_or_default().node
    }

    /// Hosts whose kernel has the address.
    async fn holders(&self) -> Vec<&'static str> {
        let mut holders = Vec::new();
        for host in HOSTS {
            let namespace = format!("pvc-{}-{host}", self.bench.name);
            let show = Cmd::new("ip").args(["-n", &namespace, "address", "show", "dev", "eth0"]);
            let shown = show.run(SOON).await.map(|out| out.stdout_text().into_owned()).unwrap_or_default();
            if shown.contains(&format!(" {}/", self.address)) {
                holders.push(host);
            }
        }
        holders
    }

    async fn answers(&self) -> bool {
        Cmd::new("ping").args(["-c1", "-W0.2", "-q", &self.address]).run(SOON).await.is_ok()
    }

    async fn held_by(&self, host: &str) {
        eventually("the address on one host, which answers", SOON, async || {
            (self.holders().await == [host] && self.answers().await).then_some(())
        })
        .await;
    }

    async fn hand_over(&self, to: &str) {
        let request =
            HandOverPrimaryRequest { node: to.to_owned(), request_id: request_id(), ..Default::default() };
        let status = self.client().cluster().hand_over_primary(request).await.unwrap().into_inner();
        assert_eq!(status.primary.unwrap_or_default().node, to);
    }

    /// The primary, and another host that leads: what dies is the one role, and not both.
    async fn apart(&self) -> (String, u64) {
        let primary = self.status().await.primary.unwrap_or_default();
        let other = HOSTS.into_iter().find(|host| *host != primary.node).unwrap();
        let request = TransferLeadershipRequest { node: other.to_owned() };
        self.client().cluster().transfer_leadership(request).await.unwrap();
        (primary.node, primary.epoch)
    }
}

pub async fn moves_as_it_should(bench: &Bench) {
    let connections = Connections::read(&bench.connections()).unwrap();
    let connection = connections.connections[&bench.name].clone();
    let mut seen = Seen { bench, connection, address: String::new() };
    let floating = seen.status().await.settings.unwrap_or_default().floating_address;
    floating.split_once('/').expect("`up` has set one").0.clone_into(&mut seen.address);
    let first = seen.primary().await;
    seen.held_by(&first).await;

    let second = HOSTS.into_iter().find(|host| *host != first).unwrap();
    seen.hand_over(second).await;
    seen.held_by(second).await;
    the_api_answers_there(&seen).await;
    a_frozen_daemon_is_followed_and_lets_go_when_it_wakes(&seen).await;
    a_dead_host_is_followed(&seen).await;
}

async fn the_api_answers_there(seen: &Seen<'_>) {
    let port = seen.connection.coordinators[0].rsplit_once(':').unwrap().1;
    let by_address = vec![format!("{}:{port}", seen.address)];
    let client = Client::new(&Connection { coordinators: by_address, ..seen.connection.clone() }).unwrap();
    eventually("an answer at the floating address", SOON, async || {
        client.cluster().get_cluster_status(GetClusterStatusRequest {}).await.ok()
    })
    .await;
}

async fn a_frozen_daemon_is_followed_and_lets_go_when_it_wakes(seen: &Seen<'_>) {
    let (old, epoch) = seen.apart().await;
    let status = seen.bench.status().await;
    let host = status["hosts"].as_array().unwrap().iter().find(|host| host["host"] == *old).unwrap();
    let pid = host["pvcd"].as_i64().unwrap().to_string();
    let signal = async |signal: &str| Cmd::new("kill").args([signal, &pid]).run(SOON).await.unwrap();
    signal("-STOP").await;
    let stopped = Instant::now();
    let new = eventually("another holder", FOLLOWED_WITHIN, async || {
        seen.holders().await.into_iter().find(|host| *host != old)
    })
    .await;
    println!("a frozen pvcd was followed within {:?}", stopped.elapsed());
    assert!(seen.holders().await.contains(&&*old), "it could not drop what it had");
    signal("-CONT").await;
    seen.held_by(new).await;
    let now = seen.status().await.primary.unwrap_or_default();
    assert_eq!((now.node.as_str(), now.phase()), (new, PrimaryPhase::Holding));
    assert!(now.epoch > epoch);
    eventually("all hosts", SOON, async || (seen.bench.reachable().await == 3).then_some(())).await;
}

async fn a_dead_host_is_followed(seen: &Seen<'_>) {
    let (old, epoch) = seen.apart().await;
    let cut = Instant::now();
    let order = ["power", &old, "off"];
    let off = seen.bench.local_within(&order, SOON);
    let answer = async {
        // It still answers until its cables are pulled.
        while seen.answers().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let silent = Instant::now();
        eventually("an answer from another host", FOLLOWED_WITHIN, async || {
            seen.answers().await.then_some(())
        })
        .await;
        println!(
            "a dead host was followed {:?} after its last answer, {:?} after the order",
            silent.elapsed(),
            cut.elapsed()
        );
    };
    let (off, ()) = tokio::join!(off, answer);
    off.unwrap();
    let now = seen.status().await.primary.unwrap_or_default();
    assert!(now.node != old && now.epoch > epoch, "{now:?}");
    seen.bench.local(&["power", &old, "on"]).await;
    eventually("all hosts", SOON, async || (seen.bench.reachable().await == 3).then_some(())).await;
    seen.held_by(&now.node).await;
}
