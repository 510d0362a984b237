//! Three hosts with `pvcd`, from nothing to nothing: cut off while they come up, shown by the demo, killed and wiped.

use std::fs;
use std::time::Duration;

use crate::bench::{Bench, eventually, guest, nothing_is_left};
use crate::{networks, primary};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn three_hosts_become_a_cluster_and_stay_one() {
    let bench = Bench::new("c");
    bench.require_pvcd();
    up_survives_being_cut_off(&bench).await;
    let (kernel, _) = guest().await;
    let guest = kernel.parent().unwrap().to_str().unwrap().to_owned();
    // the second time all is there already
    for round in ["first", "second"] {
        let told = bench.local(&["demo", "--guest", &guest]).await;
        assert!(told.contains("its uptime is unbroken"), "{round}: {told}");
        assert!(told.contains("the next write was acknowledged"), "{round}: {told}");
        // one is the aim, on a machine that has nothing else to do
        assert!(lost_while_moving(&told) <= 5, "{round}: {told}");
        assert_eq!(told.contains("$ pvc vm define"), round == "first", "{told}");
    }
    networks::carry_a_guest(&bench).await;
    primary::moves_as_it_should(&bench).await;
    a_killed_leader_is_replaced_and_comes_back(&bench).await;
    a_wiped_voter_does_not_vote(&bench).await;
    a_wiped_founder_does_not_found(&bench).await;
    bench.local(&["down"]).await;
    nothing_is_left(&bench);
    assert!(!bench.connections().exists(), "the connection is gone too");
}

/// Killed at any moment, `up` goes on the next time.
async fn up_survives_being_cut_off(bench: &Bench) {
    for after in [300, 600, 900, 1500, 2500, 4000, 6000] {
        let _ = bench.local_within(&["up"], Duration::from_millis(after)).await;
    }
    bench.local(&["up"]).await;
    let status = bench.status().await;
    let hosts = status["hosts"].as_array().unwrap();
    assert!(hosts.iter().all(|host| host["reachability"] == "reachable"), "{status}");
    let raft = |role: &str| hosts.iter().filter(|host| host["raft"] == role).count();
    assert_eq!((raft("leader"), raft("voter")), (1, 2), "{status}");
    let connections = fs::read_to_string(bench.connections()).unwrap();
    assert!(connections.contains(&format!("default = \"{}\"", bench.name)), "{connections}");
}

/// How many pings the demo tells to have been lost while the VM moved.
fn lost_while_moving(told: &str) -> u32 {
    let line =
        told.lines().find(|line| line.contains("it moved live")).expect("the summary tells of the move");
    let (before, _) = line.split_once(" lost").expect("it tells what was lost");
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn leader(bench: &Bench) -> Option<String> {
    let status = bench.status().await;
    let hosts = status["hosts"].as_array().unwrap();
    let leader = hosts.iter().find(|host| host["raft"] == "leader")?;
    Some(leader["host"].as_str().unwrap().to_owned())
}

async fn raft(bench: &Bench, host: &str) -> serde_json::Value {
    let status = bench.status().await;
    let hosts = status["hosts"].as_array().unwrap();
    hosts.iter().find(|known| known["host"] == host).unwrap()["raft"].clone()
}

async fn a_killed_leader_is_replaced_and_comes_back(bench: &Bench) {
    let old = leader(bench).await.expect("somebody leads");
    // By its name: "leader" may be another one by now.
    bench.local(&["kill", &old, "--hold"]).await;
    let new = async || leader(bench).await.filter(|new| *new != old);
    eventually("another leader", SOON, new).await;
    let seen = eventually("the dead one's silence", SOON, async || {
        let status = bench.status().await;
        let hosts = status["hosts"].as_array().unwrap().clone();
        hosts.into_iter().find(|host| host["host"] == *old && host["reachability"] == "unreachable")
    })
    .await;
    assert!(seen["pvcd"].is_null(), "it is held down");
    bench.local(&["start", &old]).await;
    eventually("the old leader as a voter", SOON, async || {
        (raft(bench, &old).await == "voter" && bench.reachable().await == 3).then_some(())
    })
    .await;
}

/// Empties a host's data as a lost disk does.
async fn wipe(bench: &Bench, host: &str) {
    bench.local(&["power", host, "off"]).await;
    fs::remove_dir_all(bench.disk(host, "var-lib-pvc/store")).unwrap();
    bench.local(&["power", host, "on"]).await;
}

fn log(bench: &Bench, host: &str) -> String {
    fs::read_to_string(bench.disk(host, "var-log-pvc/pvcd.log")).unwrap_or_default()
}

async fn a_wiped_voter_does_not_vote(bench: &Bench) {
    let host = if leader(bench).await.as_deref() == Some("hv3") { "hv2" } else { "hv3" };
    wipe(bench, host).await;
    let told = async || log(bench, host).contains("does not become a voter").then_some(());
    eventually("the refusal of a voter without its data", SOON, told).await;
    // nor does it make the others' daemons believe that they are strangers
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(leader(bench).await.is_some(), "the others go on");
    assert!(bench.reachable().await >= 2, "{}", bench.status().await);
}

async fn a_wiped_founder_does_not_found(bench: &Bench) {
    wipe(bench, "hv1").await;
    let told = async || log(bench, "hv1").contains("has founded its cluster already").then_some(());
    eventually("the refusal of a founder without its data", SOON, told).await;
    let error = bench.try_local(&["up"]).await.unwrap_err().to_string();
    assert!(error.contains("never founded a second time"), "{error}");
    assert!(error.contains("pvc node remove hv1"), "{error}");
}
