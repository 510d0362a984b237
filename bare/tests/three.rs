//! Three members on this machine: writes, reads, watches, and going on without the leader.

use std::time::Duration;

use bytes::Bytes;
use pvc_bare::client::{Client, ClientError};
use pvc_bare::server;
use pvc_bare::talk::{Name, Put, Read, Verb, Watch, When, Why, Write};
use raft_store::{Engine, Member, Options};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: String,
    task: JoinHandle<()>,
}

async fn start(id: u64, dir: &std::path::Path) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let engine = Engine::Disk { dir: dir.join(id.to_string()) };
    let options = Options::new(engine, Member::new(id, address.clone()), "bare");
    let task = tokio::spawn(async move { server::run(options, listener).await.unwrap() });
    Server { address, task }
}

async fn connect(address: &str) -> Client {
    Client::connect(address, PATIENCE).await.unwrap()
}

fn key(name: &str) -> Name {
    Name::new("test", name)
}

fn read(names: &[&str]) -> Read {
    Read { keys: names.iter().map(|name| key(name)).collect(), local: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_at_the_leader_is_read_and_watched_at_a_follower() {
    let dir = tempfile::tempdir().unwrap();
    let mut servers = Vec::new();
    for id in 1..=3 {
        servers.push(start(id, dir.path()).await);
    }
    let mut leader = connect(&servers[0].address).await;
    leader.change(Verb::Found, 1, "").await.unwrap();
    for id in 2..=3 {
        leader.change(Verb::AddLearner, id, &servers[id as usize - 1].address).await.unwrap();
        leader.change(Verb::Promote, id, "").await.unwrap();
    }
    let mut follower = connect(&servers[1].address).await;
    let watch = Watch { collection: "test".into(), prefix: "a".into(), from: Some(0) };
    let mut watching = connect(&servers[2].address).await.watch(watch).await.unwrap();
    assert!(watching.next().await.unwrap().events.is_empty(), "a bookmark first");

    let first = leader.put(key("a"), "1".into()).await.unwrap();
    assert!(!first.conflict && first.revision > 0);
    let values = follower.read(read(&["a", "b"])).await.unwrap();
    assert_eq!(values.values[0].value, Bytes::from("1"));
    assert_eq!(values.values[1].revision, 0);
    let swap = |revision| Write {
        when: vec![When { key: Some(key("a")), revision }],
        puts: vec![Put { key: Some(key("a")), value: "2".into() }],
        ..Write::default()
    };
    assert!(leader.write(swap(first.revision + 7)).await.unwrap().conflict);
    assert!(!leader.write(swap(first.revision)).await.unwrap().conflict);
    for expected in ["1", "2"] {
        let events = tokio::time::timeout(PATIENCE, watching.next()).await.unwrap().unwrap();
        assert_eq!(events.events[0].new.as_ref().unwrap().value, Bytes::from(expected));
    }
    match follower.put(key("c"), "1".into()).await {
        Err(ClientError::Failed(failed)) if failed.why() == Why::NotLeader => {
            assert_eq!(failed.leader, servers[0].address);
        }
        other => panic!("a follower took a write: {other:?}"),
    }
    leader.change(Verb::Transfer, 2, "").await.unwrap();
    let until = tokio::time::Instant::now() + PATIENCE;
    while !follower.status().await.unwrap().leads {
        assert!(tokio::time::Instant::now() < until, "member 2 does not lead");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    follower.put(key("c"), "1".into()).await.unwrap();
    for server in servers {
        server.task.abort();
    }
}
