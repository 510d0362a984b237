//! Real time, real files, default timing: how long writes stop when the leader dies, and that a loaded
//! machine elects nobody without need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use raft_store::{Engine, Options, Store};

use crate::network::{CLUSTER, Network, member, put};

async fn start(network: &Network, dir: &std::path::Path, id: u64) -> Store {
    let options = Options::new(Engine::Disk { dir: dir.join(id.to_string()) }, member(id), CLUSTER);
    let store = Store::open(options, network.transport(id)).await.unwrap();
    network.connect(&store);
    store
}

async fn leader(stores: &[Store]) -> (usize, u64) {
    loop {
        let leads = |store: &Store| store.leadership().borrow().map(|leadership| leadership.term);
        if let Some(found) = stores.iter().enumerate().find_map(|(i, store)| Some((i, leads(store)?))) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loaded_machine_keeps_its_leader_and_a_dead_one_is_replaced_in_three_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let network = Network::default();
    let mut stores = vec![start(&network, dir.path(), 1).await];
    stores[0].found().await.unwrap();
    for id in 2..=3 {
        stores.push(start(&network, dir.path(), id).await);
        stores[0].add_learner(member(id)).await.unwrap();
        stores[0].promote(id).await.unwrap();
    }
    let (at, term) = leader(&stores).await;
    let busy = Arc::new(AtomicBool::new(true));
    let burners: Vec<_> = (0..4)
        .map(|_| {
            let busy = busy.clone();
            std::thread::spawn(move || {
                while busy.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let until = tokio::time::Instant::now() + Duration::from_secs(8);
    let mut writes = 0;
    while tokio::time::Instant::now() < until {
        stores[at]
            .propose(term, vec![put(&format!("n{}", writes % 500), &writes.to_string())], 1)
            .await
            .unwrap();
        writes += 1;
    }
    assert_eq!(stores[at].leadership().borrow().unwrap().term, term, "an election under load");
    busy.store(false, Ordering::Relaxed);
    for burner in burners {
        burner.join().unwrap();
    }
    let dead = stores.remove(at);
    network.disconnect(dead.options().me.id);
    let start = tokio::time::Instant::now();
    dead.kill().await;
    let (at, term) = leader(&stores).await;
    stores[at].propose(term, vec![put("after", "1")], 1).await.unwrap();
    let gap = start.elapsed();
    println!("{writes} writes one after the other in 8 s under load; writes were back after {gap:?}");
    assert!(gap < Duration::from_secs(3), "writes were back after {gap:?}");
    for store in stores {
        store.shutdown().await;
    }
}
