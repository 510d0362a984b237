//! The upstream network of a local cluster: a router that learns routes from hosts' own FRRouting, and loses them when a link
//! goes silent. What hosts say to it is configured by hand here, as `pvcd` does it.

use std::time::Duration;

use pvc_process::Cmd;

use crate::bench::{Bench, eventually};

const SOON: Duration = Duration::from_secs(30);
/// A network that the host announces, and that leads nowhere.
const ANNOUNCED: &str = "10.77.0.0/24";

/// Asks a FRRouting daemon of the router.
async fn router(bench: &Bench, show: &str) -> serde_json::Value {
    let socket = format!("/run/pvc-{}-router", bench.name);
    let cmd = Cmd::new("vtysh").args(["--vty_socket", &socket, "-c", &format!("{show} json")]);
    let out = cmd.run(SOON).await.map(|out| out.stdout_text().into_owned()).unwrap_or_default();
    serde_json::from_str(&out).unwrap_or_default()
}

/// Whether the router knows a way to what the host announces.
async fn knows(bench: &Bench) -> bool {
    router(bench, "show ip route bgp").await.get(ANNOUNCED).is_some()
}

async fn links_live(bench: &Bench) -> bool {
    let peers = router(bench, "show bfd peers").await;
    peers.as_array().is_some_and(|peers| peers.iter().any(|peer| peer["status"] == "up"))
}

async fn configure(bench: &Bench, router: &str) {
    let neighbor = |rest: &str| format!("neighbor {router} {rest}");
    let commands = [
        "configure terminal",
        "frr defaults datacenter",
        "router bgp 65500",
        "no bgp default ipv4-unicast",
        "no bgp network import-check",
        &neighbor("remote-as 64999"),
        &neighbor("bfd"),
        &neighbor("timers connect 1"),
        "address-family ipv4 unicast",
        &neighbor("activate"),
        &format!("network {ANNOUNCED}"),
    ];
    let words = commands.iter().flat_map(|command| ["-c", command]);
    let order: Vec<&str> = ["exec", "hv1", "vtysh"].into_iter().chain(words).collect();
    bench.local(&order).await;
}

pub async fn routes_are_learned_and_lost(bench: &Bench) {
    let status = bench.status().await;
    let address = status["router"]["address"].as_str().unwrap().to_owned();
    a_host_reaches_what_is_behind_by_its_name(bench, &address, &status).await;
    a_bgpd_that_is_killed_comes_back(bench).await;
    configure(bench, &address).await;
    eventually("the host's route on the router", SOON, async || knows(bench).await.then_some(())).await;
    eventually("a watched link", SOON, async || links_live(bench).await.then_some(())).await;

    bench.local(&["cut", "hv1", "--net", "upstream"]).await;
    eventually("no route by a link that is cut", SOON, async || (!knows(bench).await).then_some(())).await;
    let other = status["hosts"][1]["address"].as_str().unwrap();
    let ping = ["exec", "hv1", "ping", "-M", "do", "-s", "8000", "-c1", "-W2", "-q", other];
    assert!(bench.try_local(&ping).await.is_ok(), "large packets pass the cluster network, which is whole");
    bench.local(&["heal"]).await;
    eventually("the route again", SOON, async || knows(bench).await.then_some(())).await;
}

async fn a_host_reaches_what_is_behind_by_its_name(bench: &Bench, address: &str, status: &serde_json::Value) {
    let name = status["router"]["name"].as_str().unwrap();
    let server = format!("@{address}");
    let dig = async |words: &[&str]| {
        let order = [&["exec", "hv1", "dig", "+short", "+time=2", &server], words].concat();
        bench.local(&order).await.trim().to_owned()
    };
    for kind in ["A", "AAAA"] {
        let known = dig(&[name, kind]).await;
        let behind = status["router"]["behind"].as_array().unwrap();
        let with_prefix =
            |entry: &serde_json::Value| entry.as_str().unwrap().starts_with(&format!("{known}/"));
        assert!(!known.is_empty() && behind.iter().any(with_prefix), "{name} {kind}: {known}");
        let ping = ["exec", "hv1", "ping", "-c1", "-W2", "-q", &known];
        assert!(bench.try_local(&ping).await.is_ok(), "{known} answers");
        assert_eq!(dig(&["-x", &known]).await, format!("{name}."));
    }
}

async fn a_bgpd_that_is_killed_comes_back(bench: &Bench) {
    let before = bench.host(0, "bgpd").await;
    assert!(before.is_number(), "{before}");
    bench.local(&["kill", "hv1", "--what", "bgpd"]).await;
    let again = async || Some(bench.host(0, "bgpd").await).filter(|pid| pid.is_number() && *pid != before);
    eventually("bgpd again", SOON, again).await;
    let speaks = ["exec", "hv1", "vtysh", "-d", "bgpd", "-c", "show version"];
    eventually("its socket", SOON, async || bench.try_local(&speaks).await.ok()).await;
}
