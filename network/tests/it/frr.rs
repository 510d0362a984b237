//! The routing daemon configured live: what differs is said, nothing else is touched, no session is dropped.

use std::fs;

use pvc_model::network::host::{HostPlan, Stance};
use pvc_network::frr::Frr as FrrPart;
use pvc_network::{Outcome, Part};

use crate::lab::{Frr, Lab, Netns, Vty, can_route, managed, name, plan, site, until};

/// A coordinator's plan, with two others.
fn coordinator() -> HostPlan {
    let mut plan =
        plan(Stance::Standby, &[managed(7, &["10.0.7.1/24", "fd07::1/64"]), managed(8, &["10.0.8.1/24"])]);
    let at = |number: u8| (name(&format!("hv{number}")), [10, 255, 0, number].into());
    plan.coordinators = vec![at(1), at(2), at(3)];
    plan
}

fn has(shown: &[String], line: &str) -> bool {
    shown.iter().any(|shown| shown == line)
}

fn running(vty: &mut Vty) -> Vec<String> {
    vty.say("show running-config").lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn frrouting_is_told_what_differs_and_keeps_what_is_others() {
    if !can_route() {
        return;
    }
    let netns = Netns::new("frr");
    netns.ip(&["link", "add", "name", "cluster0", "type", "veth", "peer", "name", "far"]);
    netns.ip(&["link", "set", "cluster0", "up"]);
    netns.ip(&["addr", "add", "10.255.0.1/24", "dev", "cluster0"]);
    let dir = tempfile::tempdir().expect("a directory");
    let site = site("hv1", "10.255.0.1", dir.path());
    let mut plan = coordinator();
    netns.within(|| async {
        let mut part = FrrPart::new(site.clone());
        fs::write(dir.path().join("frr.conf"), "! the administrator's\n").expect("a file");
        fs::write(dir.path().join("daemons"), "zebra=yes\nbgpd=no\n#bfdd=maybe\n").expect("a file");
        let reason = part.pass(&plan).await.expect_err("it does not run").reason;
        assert!(reason.contains("bgpd does not run") && reason.contains("systemctl restart frr"), "{reason}");
        let boot = fs::read_to_string(dir.path().join("frr.conf")).expect("a file");
        assert!(boot.contains("router bgp 65500"), "it would start with what is wanted: {boot}");
        let kept = fs::read_to_string(dir.path().join("frr.conf.before-pvc")).expect("a file");
        assert_eq!(kept, "! the administrator's\n");
        let daemons = fs::read_to_string(dir.path().join("daemons")).expect("a file");
        assert_eq!(daemons, "zebra=yes\nbgpd=yes\n#bfdd=maybe\nbfdd=yes\n");

        // It starts, without a configuration.
        fs::write(dir.path().join("frr.conf"), "").expect("a file");
        let mut frr = Frr::start(&netns, dir.path()).await;
        let mut vty = Vty::open(dir.path(), "bgpd");
        for line in ["configure terminal", "route-map MINE permit 10", "end"] {
            vty.say(line);
        }
        assert!(matches!(part.pass(&plan).await, Ok(Outcome::Progressed(_))));
        assert_eq!(part.pass(&plan).await, Ok(Outcome::Settled));
        // All that is wanted is shown as it was said: so what is missing can be seen.
        let shown = [running(&mut vty), running(&mut Vty::open(dir.path(), "bfdd"))].concat();
        let wanted = fs::read_to_string(dir.path().join("frr.conf")).expect("a file");
        for line in
            wanted.lines().map(str::trim).filter(|line| !line.starts_with(['!', 'f']) && !line.is_empty())
        {
            assert!(shown.contains(&line.to_owned()), "{line} is not in\n{}", shown.join("\n"));
        }
        assert!(shown.contains(&"route-map MINE permit 10".to_owned()));

        // Somebody changes what is ours.
        for line in [
            "configure terminal",
            "no ip prefix-list PVC-CLIENTS",
            "route-map PVC-TO-UPSTREAM permit 30",
            "set metric 7",
            "route-map PVC-ODD permit 10",
            "router bgp 65500",
            "neighbor 9.9.9.9 remote-as 9",
            "no timers bgp",
            "end",
        ] {
            vty.say(line);
        }
        assert!(matches!(part.pass(&plan).await, Ok(Outcome::Progressed(_))));
        assert_eq!(part.pass(&plan).await, Ok(Outcome::Settled));
        let mut before = shown.clone();
        let mut after = [running(&mut vty), running(&mut Vty::open(dir.path(), "bfdd"))].concat();
        before.sort();
        after.sort();
        assert_eq!(before, after);

        // A hypervisor becomes a coordinator.
        plan.hypervisors.push((name("hv4"), [10, 255, 0, 4].into()));
        part.pass(&plan).await.expect("it can be done");
        assert_eq!(part.pass(&plan).await, Ok(Outcome::Settled));
        assert!(has(&running(&mut vty), "neighbor 10.255.0.4 peer-group PVC-HYPERVISOR"));
        plan.coordinators.append(&mut plan.hypervisors);
        part.pass(&plan).await.expect("it leaves one group for the other");
        part.pass(&plan).await.expect("what went with it comes again");
        assert_eq!(part.pass(&plan).await, Ok(Outcome::Settled));
        assert!(has(&running(&mut vty), "neighbor 10.255.0.4 peer-group PVC-COORDINATOR"));
        assert!(has(&running(&mut vty), "neighbor 10.255.0.4 description hv4"));

        // Networks and hosts come and go.
        plan.networks = vec![managed(8, &["10.0.9.1/24"])];
        plan.coordinators.truncate(2);
        part.pass(&plan).await.expect("it can be done");
        let shown = running(&mut vty);
        assert!(has(&shown, "ip prefix-list PVC-CLIENTS seq 108 permit 10.0.9.0/24"), "{shown:#?}");
        for gone in ["10.0.7.0", "10.0.8.0", "fd07", "10.255.0.3", "10.255.0.4"] {
            assert!(!shown.iter().any(|line| line.contains(gone)), "{gone}: {shown:#?}");
        }
        assert_eq!(part.pass(&plan).await, Ok(Outcome::Settled));

        // People's own settings, and how they go again.
        let snippets = &site.frr_snippets_dir;
        fs::create_dir_all(snippets).expect("a directory");
        let own =
            "ip route 192.0.2.0/24 blackhole\nrouter bgp 65500\n neighbor 10.255.0.2 password abc\nexit\n";
        fs::write(snippets.join("a.conf"), own).expect("a file");
        part.pass(&plan).await.expect_err("no daemon of this host takes a static route");
        fs::write(
            snippets.join("a.conf"),
            own.replace("ip route 192.0.2.0/24 blackhole\n", "ip prefix-list MINE seq 5 permit any\n"),
        )
        .expect("a file");
        part.pass(&plan).await.expect("it can be done");
        assert_eq!(part.pass(&plan).await, Ok(Outcome::Settled));
        assert!(has(&running(&mut vty), "neighbor 10.255.0.2 password abc"));
        assert!(has(&running(&mut vty), "ip prefix-list MINE seq 5 permit any"));
        fs::write(snippets.join("a.conf"), "router bgp 65500\n neighbour oops\n").expect("a file");
        let reason = part.pass(&plan).await.expect_err("that is no setting").reason;
        assert!(reason.contains("FRRouting does not take the configuration"), "{reason}");
        assert!(has(&running(&mut vty), "neighbor 10.255.0.2 password abc"), "nothing has changed");
        fs::remove_file(snippets.join("a.conf")).expect("a file");
        part.pass(&plan).await.expect("it can be done");
        assert_eq!(part.pass(&plan).await, Ok(Outcome::Settled));
        let shown = running(&mut vty);
        assert!(!shown.iter().any(|line| line.contains("abc") || line.contains("MINE seq")), "{shown:#?}");
        assert!(has(&shown, "route-map MINE permit 10"), "what was never in a file of ours is not ours");

        // Another autonomous system: what is ours makes room. Somebody else's does not.
        plan.fabric.asn = 65_501;
        part.pass(&plan).await.expect("it can be done");
        assert!(has(&running(&mut vty), "router bgp 65501"));
        for line in ["configure terminal", "no router bgp 65501", "router bgp 64512", "end"] {
            vty.say(line);
        }
        let reason = part.pass(&plan).await.expect_err("the place is taken").reason;
        assert!(reason.contains("`router bgp 64512`") && reason.contains("no router bgp 64512"), "{reason}");
        frr.stop().await;
    });
}

#[tokio::test]
async fn sessions_outlive_changes_and_a_daemon_that_starts_anew_is_configured() {
    if !can_route() {
        return;
    }
    let networks: Vec<_> =
        (1..=100).map(|number| managed(number, &[&format!("10.0.{number}.1/24")])).collect();
    let mut lab = Lab::new(&networks[..50]).await;
    let established = |lab: &Lab, host: usize| {
        let shown = lab.hosts[host].vty("bgpd").json("show bgp l2vpn evpn summary json");
        let peers = shown["peers"].as_object().cloned().unwrap_or_default();
        let up = peers.values().filter(|peer| peer["state"] == "Established").count();
        let dropped: u64 = peers.values().filter_map(|peer| peer["connectionsDropped"].as_u64()).sum();
        (up, dropped)
    };
    until("all sessions are there", || (0..3).all(|host| established(&lab, host).0 == 3)).await;
    let before: Vec<_> = (0..3).map(|host| established(&lab, host)).collect();
    for host in &mut lab.hosts {
        host.tell(|plan| plan.networks = networks[30..].to_vec());
    }
    for host in &lab.hosts {
        until(&format!("{} is as it was told", host.name), || host.is_settled()).await;
    }
    lab.hosts[0].tell(|plan| plan.stance = Stance::CutOff);
    until("it is cut off", || lab.hosts[0].is_settled()).await;
    let after: Vec<_> = (0..3).map(|host| established(&lab, host)).collect();
    assert_eq!(before, after, "sessions (established, dropped)");

    // It dies, and starts with nothing.
    lab.hosts[1].frr.restart_daemon("bgpd").await;
    until("its sessions are back", || established(&lab, 1).0 == 3).await;
    until("it is as it was told", || lab.hosts[1].is_settled()).await;
    assert!(lab.hosts[1].health.borrow().repairs > 0, "that is told of");
}
