//! The tables over time: changed in one step, put right, and taken away; and nobody else's touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use pvc_model::network::acl::{AclRule, Direction};
use pvc_model::network::host::{HostPlan, Stance};
use pvc_network::firewall;
use pvc_process::Cmd;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lab::{NEVER, Ns, SOON, runtime};
use crate::plans::{mac, managed, network, plan, port, raw, rule, site, subnet, vni};
use crate::routing::Lab;

/// A host's plan with one guest in one network with these rules.
fn with_rules(rules: &[AclRule]) -> HostPlan {
    let mut network = network(1001, Some(subnet("10.1.0.0/24", true)), None);
    managed(&mut network).acl.rules = rules.to_vec();
    let mut plan = plan(Stance::Primary, vec![network]);
    plan.ports.push(port(1001, mac(1)));
    plan
}

fn listing(ns: &Ns) -> String {
    ns.program("nft", "list ruleset").expect("nft lists")
}

/// The tables in order of their names: nft lists them in that of their making.
fn tables(ns: &Ns) -> Vec<String> {
    let listing = listing(ns);
    let mut tables: Vec<String> =
        listing.split("\ntable ").map(|table| table.trim_start_matches("table ").to_owned()).collect();
    tables.iter_mut().for_each(|table| *table = table.trim().to_owned());
    tables.sort();
    tables
}

#[test]
fn what_others_do_to_our_tables_is_put_right_and_said() {
    let Some(ns) = Ns::new() else { return };
    let mut host = ns.firewall(site());
    let plan = with_rules(&[rule("in 1 tcp 22 accept"), rule("in 9 any drop")]);
    assert_eq!(host.pass(&plan), ["wrote inet pvc", "wrote bridge pvc"]);
    assert_eq!(host.pass(&plan), [""; 0], "all is as it should be");
    let good = tables(&ns);
    for (harm, said) in [
        ("flush chain inet pvc in-1001", "removed a rule of in-1001"),
        ("add rule inet pvc forward-out accept", "added a rule to forward-out"),
        (
            "delete element bridge pvc macs { \"nic525400000001\" . 52:54:00:00:00:01 }",
            "removed elements of macs",
        ),
        ("flush ruleset", "removed"),
        ("delete table inet pvc", "removed"),
        ("add chain bridge pvc mine", "made or changed the chain mine"),
    ] {
        ns.nft(harm);
        assert_ne!(tables(&ns), good, "{harm}");
        let done = host.pass(&plan);
        assert!(
            done.iter().any(|words| words.starts_with("nft (") && words.contains(said)),
            "{harm}: {done:?}"
        );
        assert!(done.iter().any(|words| words.starts_with("wrote ")), "{harm}: {done:?}");
        assert_eq!(tables(&ns), good, "{harm}");
        assert_eq!(host.pass(&plan), [""; 0], "{harm}");
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let Some(ns) = Ns::new() else { return };
    let theirs = "table inet filter {\n\tset blocked {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.66 }\n\t}\n\n\tchain input {\n\t\t\
        type filter hook input priority filter; policy accept;\n\t\tip saddr @blocked drop\n\t}\n}\n\
        table ip pvc {\n\tchain mine {\n\t}\n}\n";
    ns.nft(theirs);
    assert_eq!(listing(&ns), theirs);
    let mut host = ns.firewall(site());
    let with = with_rules(&[rule("in 1 tcp 22 accept")]);
    host.pass(&with);
    host.pass(&with_rules(&[rule("in 1 tcp 23 accept")]));
    // What they change of their own is none of our business.
    ns.nft("add element inet filter blocked { 192.0.2.67 }");
    assert_eq!(host.pass(&with_rules(&[rule("in 1 tcp 23 accept")])).len(), 0, "only theirs has changed");
    ns.nft("delete element inet filter blocked { 192.0.2.67 }");
    assert!(listing(&ns).contains("table inet pvc"));
    // Without networks and guests nothing of ours is left.
    let empty = plan(Stance::Primary, Vec::new());
    assert_eq!(host.pass(&empty), ["removed inet pvc", "removed bridge pvc"]);
    assert_eq!(listing(&ns), theirs);
    assert_eq!(host.pass(&empty), [""; 0]);
    // Nor what a daemon before us has left, nor for a host that leaves.
    host.pass(&with);
    assert_eq!(ns.firewall(site()).pass(&empty), ["removed inet pvc", "removed bridge pvc"]);
    host.pass(&with);
    for _ in 0..2 {
        ns.run(|| runtime().block_on(firewall::clear())).expect("they go, and may be gone");
        assert_eq!(listing(&ns), theirs);
    }
}

#[test]
fn a_rule_that_nft_refuses_holds_up_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    lab.first.listen("0.0.0.0:22");
    lab.second.listen("0.0.0.0:22");
    let mut host = lab.host.firewall(site());
    let bad = [
        raw(Direction::In, 1, "tcp dport ssh-and-more accept"),
        raw(Direction::In, 2, "tcp dport 22 drop"),
        raw(Direction::In, 3, "ip saddr 10.0.0.0/8 ip6 saddr 2001:db8::/32 drop"),
        raw(Direction::In, 4, "accept; flush ruleset"),
    ];
    let plan = Lab::plan(&bad, &[rule("in 1 tcp 22 drop")]);
    let done = host.pass(&plan);
    assert_eq!(done, ["wrote inet pvc"]);
    assert_eq!(lab.outside.connects("10.1.0.7:22", NEVER), None, "the network's other rules hold");
    assert_eq!(lab.outside.connects("10.2.0.7:22", NEVER), None, "and the other network's");
    let complaint = host.complaint();
    for (rule, why) in [("raw1", "nft says: "), ("raw3", "conflicting"), ("raw4", "';' can't stand in it")] {
        let line = complaint.split("; network").find(|line| line.contains(rule)).unwrap_or_default();
        assert!(line.contains("1001") && line.contains(why), "{rule}: {complaint}");
    }
    assert!(!complaint.contains("raw2") && !complaint.contains("1002"), "{complaint}");
    // It is not asked again and again, and does not come into the way of others' changes.
    assert_eq!(host.pass(&plan), [""; 0]);
    assert_eq!(host.complaint(), complaint);
    assert_eq!(host.pass(&Lab::plan(&bad, &[])), ["changed inet pvc: in-1002, to-network"]);
    assert!(lab.outside.connects("10.2.0.7:22", SOON).is_some());
    // One may ask before.
    let acl = managed(&mut (*plan.networks[0]).clone()).acl.clone();
    let refused = lab.host.run(move || runtime().block_on(firewall::refused(vni(1001), &acl)));
    let refused: Vec<String> =
        refused.expect("nft answers").into_iter().map(|(rule, _)| rule.to_string()).collect();
    assert_eq!(refused, ["raw4", "raw1", "raw3"]);
    // Put right, it is as any other.
    host.pass(&Lab::plan(&bad[1..2], &[]));
    assert_eq!(host.complaint(), "");
}

#[test]
fn our_table_is_known_to_be_another_ones_only_by_what_is_heard() {
    let Some(ns) = Ns::new() else { return };
    let mut host = ns.firewall(site());
    let plan = with_rules(&[rule("in 1 tcp 22 accept")]);
    host.pass(&plan);
    // Others' transactions, more than are kept for us, and one of them in our table.
    let many: String = (0..40_000).map(|n| format!("add element inet theirs s {{ {n} }}\n")).collect();
    ns.nft("add table inet theirs\nadd set inet theirs s { type mark; }\n");
    for _ in 0..3 {
        ns.nft(&many);
        ns.nft("flush set inet theirs s");
    }
    ns.nft("flush chain inet pvc input");
    let done = host.pass(&plan);
    assert!(done.iter().any(|words| words == "wrote inet pvc"), "{done:?}");
    assert!(listing(&ns).contains("goto clients"));
    assert_eq!(host.pass(&plan), [""; 0]);
}

#[test]
fn a_change_at_the_same_time_as_ours_is_seen() {
    let Some(ns) = Ns::new() else { return };
    let rules = |port: u32| -> Vec<AclRule> {
        (0..300).map(|n| rule(&format!("in {n} tcp {} drop", port + n))).collect()
    };
    let mut host = ns.firewall(site());
    for round in 0..20 {
        let meddling = ns.run(move || {
            std::thread::spawn(move || {
                // Before, amid and after: what takes the pass some 30 ms is met somewhere.
                std::thread::sleep(Duration::from_millis(round * 2));
                let add = Cmd::new("nft").args(["add", "rule", "inet", "pvc", "services", "counter"]);
                add.run_blocking(SOON).is_ok()
            })
        });
        let plan = with_rules(&rules(1000 * (1 + u32::try_from(round).expect("few") % 2)));
        host.pass(&plan);
        let met = meddling.join().expect("it ends");
        // The first time there may be no table yet.
        assert!(met || round == 0);
        while !host.pass(&plan).is_empty() {}
        let services = ns.program("nft", "list chain inet pvc services").expect("nft lists");
        assert_eq!(services.matches("counter").count(), 1, "round {round}: {services}");
    }
}

#[test]
fn a_change_by_others_wakes_whoever_watches() {
    let Some(ns) = Ns::new() else { return };
    let plan = with_rules(&[rule("in 1 tcp 22 accept")]);
    ns.firewall(site()).pass(&plan);
    let woken = ns.run(|| {
        runtime().block_on(async {
            let wake = Arc::new(Notify::new());
            let watching = tokio::spawn(firewall::watch(wake.clone()));
            tokio::task::yield_now().await;
            let nft = |script: &'static str| Cmd::new("nft").args(["-f", "-"]).stdin(script).run(SOON);
            nft("add table inet theirs").await.expect("nft");
            let theirs = tokio::time::timeout(NEVER, wake.notified()).await.is_ok();
            nft("flush chain inet pvc in-1001").await.expect("nft");
            let ours = tokio::time::timeout(SOON, wake.notified()).await.is_ok();
            watching.abort();
            (theirs, ours)
        })
    });
    assert_eq!(woken, (false, true));
}

#[test]
fn nothing_is_lost_nor_let_through_while_rules_change() {
    let Some(lab) = Lab::new() else { return };
    lab.outside.echo("192.0.2.2:7");
    lab.first.listen("0.0.0.0:23");
    let mut host = lab.host.firewall(site());
    // What is asked for each time: that the outside's port 7 is reached, and port 23 here is not.
    let rules = |ports: u32| -> HostPlan {
        let fill = (0..ports).map(|n| rule(&format!("out {} udp {} drop", n + 10, 1000 + n)));
        let mut all: Vec<AclRule> = fill.collect();
        all.extend([rule("out 1 udp 7 accept"), rule("out 9999 any drop"), rule("in 1 tcp 23 drop")]);
        let mut plan = Lab::plan(&all, &[rule("out 1 udp 53 drop")]);
        plan.ports.push(port(1001, mac(1)));
        plan.leases.push(crate::plans::lease(1001, Some(mac(1)), "10.1.0.7"));
        plan
    };
    host.pass(&rules(0));
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, lost, passed) =
        (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let asking = {
        let (stop, asked, lost) = (stop.clone(), asked.clone(), lost.clone());
        lab.first.begin(move || {
            // A new socket each time: no packet is let through for the sake of one before it.
            while !stop.load(Ordering::Relaxed) {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
                socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time");
                socket.connect("192.0.2.2:7").expect("a route");
                let answered = socket.send(b"?").is_ok() && socket.recv(&mut [0; 8]).is_ok();
                asked.fetch_add(1, Ordering::Relaxed);
                lost.fetch_add(u32::from(!answered), Ordering::Relaxed);
                // Not so many that ports come again.
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let knocking = {
        let (stop, passed) = (stop.clone(), passed.clone());
        lab.outside.begin(move || {
            while !stop.load(Ordering::Relaxed) {
                let to = "10.1.0.7:23".parse().expect("an address");
                let through = std::net::TcpStream::connect_timeout(&to, Duration::from_millis(5)).is_ok();
                passed.fetch_add(u32::from(through), Ordering::Relaxed);
            }
        })
    };
    for round in 1..40 {
        // By turns a few chains anew, and the whole of both tables, as after somebody else's hand.
        if round % 4 == 0 {
            lab.host.nft("add rule inet pvc forward-guard counter\nadd rule bridge pvc prerouting counter\n");
        }
        assert!(!host.pass(&rules(round % 7 * 100)).is_empty());
    }
    stop.store(true, Ordering::Relaxed);
    asking.recv().expect("it ends");
    knocking.recv().expect("it ends");
    let (asked, lost) = (asked.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
    println!("{asked} new flows while the tables changed 39 times: {lost} lost");
    assert!(asked >= 100 && lost == 0, "{lost} of {asked} lost");
    assert_eq!(passed.load(Ordering::Relaxed), 0, "what is forbidden came through");
}

#[test]
fn a_thousand_rules_change_in_one_step() {
    let Some(ns) = Ns::new() else { return };
    let rules = |port: u32| -> Vec<AclRule> {
        (0..1000)
            .map(|n| rule(&format!("in {n} tcp {} from 192.0.{}.{}/32 drop", port, n / 250, n % 250)))
            .collect()
    };
    let mut host = ns.firewall(site());
    host.pass(&with_rules(&rules(22)));
    let timed = |what: &mut dyn FnMut()| {
        let begun = Instant::now();
        what();
        begun.elapsed()
    };
    // The floor: what the program takes for as many of the plainest rules.
    let plain: String = (0..1000).map(|n| format!("add rule inet floor c tcp dport {n} drop\n")).collect();
    ns.nft("add table inet floor\nadd chain inet floor c\n");
    let (mut floor, mut ours) = (Duration::MAX, Duration::MAX);
    for round in 0..5 {
        floor = floor.min(timed(&mut || drop(ns.nft(&format!("flush chain inet floor c\n{plain}")))));
        let plan = with_rules(&rules(1000 + round));
        ours = ours.min(timed(&mut || assert_eq!(host.pass(&plan), ["changed inet pvc: in-1001"])));
    }
    let ratio = ours.as_secs_f64() / floor.as_secs_f64();
    println!("a thousand rules: {ours:?}, nft alone for as many {floor:?}: {ratio:.1} times");
    let listed = ns.program("nft", "list chain inet pvc in-1001").expect("nft lists");
    assert_eq!(listed.matches("tcp dport 1004").count(), 1000);
    assert!(ratio < 10.0, "{ratio:.1} times of what nft needs");
}
