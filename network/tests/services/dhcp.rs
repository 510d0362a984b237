//! dnsmasq, its hook, and guests' own DHCP clients.

use std::time::Duration;

use pvc_model::network::host::Stance;
use pvc_network::dhcp::{Change, Dhcp, Events, LeaseEvent};
use tokio::time::timeout;

use crate::lab::{LONG, address, change, in_lab, network, plan, reservation, settle, stored, until};

async fn next(events: &mut Events) -> LeaseEvent {
    timeout(LONG, events.next()).await.expect("a report of a DHCP server").expect("the part is there").1
}

async fn nothing(events: &mut Events) {
    let heard = timeout(Duration::from_millis(1500), events.next()).await;
    assert!(heard.is_err(), "nothing was to be reported: {heard:?}");
}

/// Leases travel: guest, hook, plan; and the next primary lends the same.
#[test]
fn leases_outlive_the_primary() {
    in_lab(|lab| async move {
        let net = network(1001);
        lab.bridge(&net).await;
        lab.gateways(&net).await;
        let guest = lab.guest(&net, "web1", "52:54:00:00:00:01").await;
        let mut plan = plan(Stance::Primary, &[&net]);

        let (mut first, mut events) = Dhcp::new(&lab.site("hv1", "127.0.0.1"));
        settle(&mut first, &plan).await;
        let told = guest.dhcp4(None).await.unwrap();
        let four = next(&mut events).await;
        assert_eq!((four.change, four.lease.address.to_string()), (Change::Add, told["ip"].clone()));
        assert_eq!(four.lease.mac, "52:54:00:00:00:01".parse().ok());
        assert_eq!(four.lease.hostname.as_ref().map(|name| name.as_str()), Some("web1"));
        assert_eq!(told["router"], "10.4.1.1");
        assert_eq!(told["dns"], "10.4.1.1");
        assert_eq!(told["domain"], "net1001.test");
        assert_eq!(told["mtu"], "1450", "what the bridge takes");
        assert_eq!(told["lease"], "3600");

        let told6 = guest.dhcp6().await.unwrap();
        let six = next(&mut events).await;
        assert_eq!(
            (six.change, six.lease.address.to_string()),
            (Change::Add, told6["new_ip6_address"].clone())
        );
        assert_eq!(six.lease.mac, four.lease.mac, "of DHCPv6 too");
        assert!(six.lease.iaid.is_some() && !six.lease.client_id.is_empty());
        assert!(told6["new_dhcp6_name_servers"].contains("fd00:3e9::1"), "{told6:?}");
        let server = told6["new_dhcp6_server_id"].clone();

        // Its router it knows by advertisement, and makes itself no address.
        let route = routes6(&guest).await;
        assert!(route.contains("default via fe80::") && route.contains("mtu 1450"), "{route}");
        assert!(!guest.addresses6().await.contains("fd00:"), "not by itself");

        // They are stored, and the first primary dies. The guest's addresses are made ones that no server would choose by
        // itself: what it chooses follows from the MAC.
        let mut leases = [four.lease.clone(), six.lease.clone()];
        leases[0].address = address("10.4.1.177");
        leases[1].address = address("fd00:3e9::177");
        plan.leases = leases.iter().map(|lease| stored(lease, 20)).collect();
        plan.revision = 20;
        for process in first.processes().into_iter().flatten() {
            process.stop(Duration::ZERO).await.unwrap();
        }
        drop(first);
        let (mut second, mut events) = Dhcp::new(&lab.site("hv2", "127.0.0.1"));
        settle(&mut second, &plan).await;
        nothing(&mut events).await;
        assert_eq!(guest.dhcp4(None).await.unwrap()["ip"], "10.4.1.177");
        let told6 = guest.dhcp6().await.unwrap();
        assert_eq!(told6["new_ip6_address"], "fd00:3e9::177");
        assert_eq!(told6["new_dhcp6_server_id"], server, "it is the same server to the guest");
        // And nobody else gets it, however he asks.
        let other = lab.guest(&net, "thief", "52:54:00:00:00:02").await;
        assert_ne!(other.dhcp4(Some("10.4.1.177")).await.unwrap()["ip"], "10.4.1.177");

        // What was reported and is not in a plan yet is not forgotten by a server that starts anew.
        let mut lent = None;
        while lent.is_none() {
            let event = next(&mut events).await;
            lent = (event.lease.mac == "52:54:00:00:00:02".parse().ok()).then_some(event.lease.address);
        }
        let before = second.processes()[0].unwrap();
        before.stop(Duration::ZERO).await.unwrap();
        let mut done = settle(&mut second, &plan).await;
        done.retain(|word| word.contains("dhcp4"));
        assert_eq!(done, ["started dhcp4 for 1 networks"]);
        let third = lab.guest(&net, "other", "52:54:00:00:00:03").await;
        let wished = lent.unwrap().to_string();
        assert_ne!(third.dhcp4(Some(&wished)).await.unwrap()["ip"], wished);
    });
}

#[test]
fn reservations_are_lent_changed_and_taken_back() {
    in_lab(|lab| async move {
        let net = network(1002);
        let mac = "52:54:00:00:00:11";
        let reserved =
            |ip: &str| change(&net, |managed| managed.reservations = vec![reservation(mac, ip, "db")]);
        lab.bridge(&net).await;
        lab.gateways(&net).await;
        let guest = lab.guest(&net, "db1", mac).await;
        let (mut dhcp, mut events) = Dhcp::new(&lab.site("hv1", "127.0.0.1"));
        let mut primary = plan(Stance::Primary, &[&reserved("10.4.2.33")]);
        settle(&mut dhcp, &primary).await;
        let told = guest.dhcp4(None).await.unwrap();
        assert_eq!((told["ip"].as_str(), told["hostname"].as_str()), ("10.4.2.33", "db"));
        let event = next(&mut events).await;
        assert_eq!(
            event.lease.hostname.as_ref().map(|name| name.as_str()),
            Some("db"),
            "not as it calls itself"
        );
        primary.leases = vec![stored(&event.lease, 20)];

        // Another address; the lease on the old one is taken back.
        primary.networks = plan(Stance::Primary, &[&reserved("10.4.2.34")]).networks;
        primary.leases.clear();
        settle(&mut dhcp, &primary).await;
        until_lent(&guest, "10.4.2.34").await;

        // None.
        primary.networks = plan(Stance::Primary, &[&net]).networks;
        primary.leases.clear();
        let before = dhcp.processes()[0];
        let done = settle(&mut dhcp, &primary).await;
        assert_eq!(done, ["changed dhcp4's reservations"]);
        assert_eq!(dhcp.processes()[0], before, "a reservation needs no restart");
    });
}

/// The guest's routers, once it has heard of one.
async fn routes6(guest: &crate::lab::Guest) -> String {
    let end = tokio::time::Instant::now() + LONG;
    loop {
        let routes = guest
            .cmd()
            .args(["ip", "-6", "route", "show", "default"])
            .run(LONG)
            .await
            .unwrap()
            .stdout_text()
            .into_owned();
        if !routes.is_empty() || tokio::time::Instant::now() > end {
            return routes;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Without DHCPv6 guests make themselves addresses; and a primary that is cut off is still their router.
#[test]
fn a_router_is_advertised_and_answers_also_when_cut_off() {
    in_lab(|lab| async move {
        let net = change(&network(1004), |managed| {
            managed.ipv4 = None;
            managed.ipv6.as_mut().unwrap().dhcp = None;
        });
        lab.bridge(&net).await;
        let (mut dhcp, _events) = Dhcp::new(&lab.site("hv1", "127.0.0.1"));
        // The gateway's address comes after the part is ready for it.
        settle(&mut dhcp, &plan(Stance::CutOff, &[&net])).await;
        assert_eq!(dhcp.processes(), [None, None]);
        lab.gateways(&net).await;
        // This guest comes when all has been said, and asks.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let guest = lab.guest(&net, "web1", "52:54:00:00:00:31").await;
        assert!(routes6(&guest).await.contains("default via fe80::"));
        let end = tokio::time::Instant::now() + LONG;
        while !guest.addresses6().await.contains("fd00:3ec::5054:ff:fe00:31/64") {
            assert!(tokio::time::Instant::now() < end, "{}", guest.addresses6().await);
        }
        settle(&mut dhcp, &plan(Stance::Standby, &[&net])).await;
        let other = lab.guest(&net, "web2", "52:54:00:00:00:32").await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(!other.addresses6().await.contains("fd00:"), "nobody is a router here");
    });
}

async fn until_lent(guest: &crate::lab::Guest, wanted: &str) {
    for _ in 0..10 {
        if guest.dhcp4(None).await.is_ok_and(|told| told["ip"] == wanted) {
            return;
        }
    }
    panic!("{wanted} is not lent");
}

/// Killed, taken over, stopped: the processes are as the plan says.
#[test]
fn servers_are_kept_and_adopted() {
    in_lab(|lab| async move {
        let net = network(1003);
        lab.bridge(&net).await;
        lab.gateways(&net).await;
        let site = lab.site("hv1", "127.0.0.1");
        let primary = plan(Stance::Primary, &[&net]);
        let (mut dhcp, mut events) = Dhcp::new(&site);

        // Ready: all is prepared, nothing lends.
        let ready = plan(Stance::Ready, &[&net]);
        settle(&mut dhcp, &ready).await;
        assert_eq!(dhcp.processes(), [None, None]);
        assert!(site.run_dir.join("dhcp/dhcp4.conf").exists());

        settle(&mut dhcp, &primary).await;
        let first = dhcp.processes();
        assert!(first.iter().all(Option::is_some));
        let guest = lab.guest(&net, "web1", "52:54:00:00:00:21").await;
        guest.dhcp4(None).await.unwrap();
        let lent = next(&mut events).await.lease;

        // The daemon starts anew: the same processes, and what was lent meanwhile is told again.
        drop((dhcp, events));
        let (mut dhcp, mut events) = Dhcp::new(&site);
        let done = settle(&mut dhcp, &primary).await;
        // What it says of routers is said again.
        assert_eq!(done, ["changed what IPv6 routers are advertised", "took over dhcp4", "took over dhcp6"]);
        assert_eq!(dhcp.processes(), first);
        let again = next(&mut events).await;
        assert_eq!((again.change, &again.lease), (Change::Old, &lent));

        // And where the file that names it was never written.
        drop((dhcp, events));
        std::fs::remove_file(site.run_dir.join("dhcp/dhcp4.process")).unwrap();
        let (mut dhcp, mut events) = Dhcp::new(&site);
        settle(&mut dhcp, &primary).await;
        assert!(!first[0].unwrap().is_running(), "one of unknown configuration is replaced");
        assert!(dhcp.processes()[0].is_some_and(|process| process.is_running()));

        let killed = dhcp.processes()[1].unwrap();
        killed.signal(9).unwrap();
        until("it is dead", || !killed.is_running()).await;
        let mut stored_plan = primary.clone();
        stored_plan.leases = vec![stored(&lent, 20)];
        // It has not lived for long: that is told once.
        settle(&mut dhcp, &stored_plan).await;
        assert!(dhcp.processes()[1].is_some_and(|process| process.is_running() && process != killed));
        while timeout(Duration::from_millis(500), events.next()).await.is_ok() {}

        // Cut off: nothing is lent.
        let running = dhcp.processes();
        settle(&mut dhcp, &plan(Stance::CutOff, &[&net])).await;
        assert!(running.into_iter().flatten().all(|process| !process.is_running()));
        assert!(guest.dhcp4(None).await.is_err());
    });
}
