//! The power adapter against a real BMC simulator, by both clients: what is off is read back as off, and each way of failing
//! says what it is.

use std::net::UdpSocket;
use std::time::Duration;

use pvc_coordinator::core::power::{Power, PowerError, PowerState};
use pvc_model::bmc::BmcAdapter;
use pvc_process::Cmd;
use tokio::time::Instant;

use super::ipmi_sim::{GUID, IpmiSim, Lab, PASSWORD};

const EACH: [BmcAdapter; 3] = [BmcAdapter::Native, BmcAdapter::Ipmitool, BmcAdapter::Auto];

#[tokio::test]
async fn it_is_switched_off_and_on_and_tells_who_it_is() {
    let (sim, lab) = (IpmiSim::start().await, Lab::new());
    for adapter in EACH {
        let mut access = lab.access(&sim.address, adapter);
        assert_eq!(lab.power.identity(&access).await.as_deref(), Ok(GUID), "{adapter:?}");
        access.bmc.identity = GUID.to_owned();
        assert_eq!(lab.power.status(&access).await, Ok(PowerState::On), "{adapter:?}");
        lab.power.off(&access).await.unwrap_or_else(|error| panic!("{adapter:?}: {error}"));
        assert!(!sim.has_power(), "{adapter:?}");
        assert_eq!(lab.power.status(&access).await, Ok(PowerState::Off), "{adapter:?}");
        let orders = sim.orders();
        lab.power.off(&access).await.expect("off already");
        assert_eq!(sim.orders(), orders, "{adapter:?}: nothing is ordered where nothing is to be done");
        lab.power.on(&access).await.unwrap_or_else(|error| panic!("{adapter:?}: {error}"));
        assert!(sim.has_power(), "{adapter:?}");
    }
}

#[tokio::test]
async fn off_is_said_when_it_is_read_and_not_when_it_is_ordered() {
    let (sim, lab) = (IpmiSim::start().await, Lab::new());
    sim.set("delay", "2");
    for adapter in [BmcAdapter::Native, BmcAdapter::Ipmitool] {
        let access = lab.access(&sim.address, adapter);
        let begun = Instant::now();
        lab.power.off(&access).await.unwrap_or_else(|error| panic!("{adapter:?}: {error}"));
        assert!(begun.elapsed() >= Duration::from_secs(2), "{adapter:?}: it was not off before");
        assert!(!sim.has_power(), "{adapter:?}");
        sim.set("power", "1\n");
    }
    sim.unset("delay");
    sim.set("stuck", "");
    let error = lab.power.off(&lab.access(&sim.address, BmcAdapter::Native)).await.expect_err("it is stuck");
    assert!(matches!(error, PowerError::NotReadBack { reads: PowerState::On, .. }), "{error}");
    assert!(sim.has_power());
}

#[tokio::test]
async fn a_wrong_password_or_user_is_told_as_such() {
    let (sim, lab) = (IpmiSim::start().await, Lab::new());
    for adapter in EACH {
        for (user, password) in [("ADMIN", "lab-secret"), ("ADMIN", ""), ("NOBODY", PASSWORD)] {
            let access = lab.access_with(&sim.address, adapter, user, password);
            let error = lab.power.off(&access).await.expect_err("refused");
            assert!(
                matches!(error, PowerError::WrongPassword { .. }),
                "{adapter:?} {user} {password:?}: {error:?}"
            );
            assert!(!format!("{error:?} {error}").contains("lab"), "{error:?}");
        }
    }
    assert!(sim.has_power() && sim.orders() == 0);
}

#[tokio::test]
async fn a_user_who_may_only_operate_is_enough() {
    let (sim, lab) = (IpmiSim::start().await, Lab::new());
    for adapter in [BmcAdapter::Auto, BmcAdapter::Ipmitool] {
        let access = lab.access_with(&sim.address, adapter, "OPER", PASSWORD);
        lab.power.off(&access).await.unwrap_or_else(|error| panic!("{adapter:?}: {error}"));
        lab.power.on(&access).await.unwrap_or_else(|error| panic!("{adapter:?}: {error}"));
    }
}

#[tokio::test]
async fn a_dead_bmc_is_noticed_in_bounded_time() {
    let (sim, lab) = (IpmiSim::start().await, Lab::new());
    let address = sim.address.clone();
    let known = lab.access(&address, BmcAdapter::Auto);
    lab.power.status(&known).await.expect("it lives yet");
    // Nobody reads what is sent there, and nobody refuses it: as with a BMC whose power is gone too.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let silent = silent.local_addr().expect("its address").to_string();
    drop(sim);
    for (adapter, address) in [
        (BmcAdapter::Native, &address),
        (BmcAdapter::Ipmitool, &address),
        (BmcAdapter::Auto, &address),
        (BmcAdapter::Native, &silent),
        (BmcAdapter::Auto, &silent),
        (BmcAdapter::Auto, &"no-such-host.invalid:623".to_owned()),
    ] {
        let begun = Instant::now();
        let error = lab.power.off(&lab.access(address, adapter)).await.expect_err("it is dead");
        assert!(matches!(error, PowerError::Unreachable { .. }), "{adapter:?} {address}: {error:?}");
        assert!(begun.elapsed() < Duration::from_secs(25), "{adapter:?}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_slow_bmc_is_waited_for_and_one_that_is_too_slow_is_not() {
    let (sim, lab) = (IpmiSim::start().await, Lab::new());
    sim.set("slow", "0.5");
    for adapter in EACH {
        let access = lab.access(&sim.address, adapter);
        assert_eq!(lab.power.status(&access).await, Ok(PowerState::On), "{adapter:?}");
    }
    sim.set("slow", "9");
    let begun = Instant::now();
    let error = lab.power.status(&lab.access(&sim.address, BmcAdapter::Native)).await.expect_err("too slow");
    assert!(matches!(error, PowerError::Timeout { .. } | PowerError::Unreachable { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn another_bmc_at_the_address_switches_nothing() {
    let (sim, lab) = (IpmiSim::start().await, Lab::new());
    for adapter in EACH {
        let mut access = lab.access(&sim.address, adapter);
        access.bmc.identity = "00112233-4455-6677-8899-000000000000".to_owned();
        let error = lab.power.off(&access).await.expect_err("another one");
        assert!(matches!(error, PowerError::AnotherIdentity { ref found, .. } if found == GUID), "{error:?}");
    }
    assert!(sim.has_power() && sim.orders() == 0);
}

#[tokio::test]
async fn a_password_that_does_not_open_is_told_before_anybody_is_asked() {
    let lab = Lab::new();
    let mut access = lab.access("127.0.0.1:1", BmcAdapter::Auto);
    access.bmc.password.0 = lab.seal("node/hv2", PASSWORD);
    let error = lab.power.off(&access).await.expect_err("it is another node's");
    assert!(matches!(error, PowerError::Sealed { .. }) && error.is_wrong(), "{error:?}");
    access.bmc.password.0 = lab.seal("node/hv1", PASSWORD);
    std::fs::remove_file(lab.ca_dir().join("root.key")).expect("removed");
    let error = lab.power.off(&access).await.expect_err("there is no CA");
    assert!(error.to_string().contains("copy it from another one"), "{error}");
}

/// Small BMCs have room for a handful of sessions: none may be left open.
#[tokio::test]
async fn no_sessions_pile_up() {
    let (sim, lab) = (IpmiSim::start().await, Lab::new());
    let access = lab.access(&sim.address, BmcAdapter::Native);
    // ipmi_sim has room for 63.
    for round in 0..80 {
        let status = lab.power.status(&access).await;
        assert_eq!(status, Ok(PowerState::On), "round {round}");
    }
}

/// Names the BMC that the child is to ask.
const SPOILED: &str = "PVC_TEST_SPOILED_BMC";

/// Not a test of its own: what the child runs. As `pvcd` does, it ends at any panic that is no answer.
#[tokio::test]
async fn child() {
    let Ok(address) = std::env::var(SPOILED) else { return };
    raft_store::abort_on_panic();
    let lab = Lab::new();
    let error = lab.power.status(&lab.access(&address, BmcAdapter::Native)).await.expect_err("it panicked");
    println!("went on: {error}");
}

/// The last message of the handshake, which no key protects yet, comes in a form that ipmi-rs panics on: the daemon, which ends
/// at any other panic, must not.
#[tokio::test]
async fn what_makes_the_library_panic_is_an_error() {
    let sim = IpmiSim::start().await;
    let between = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = between.local_addr().expect("its address").to_string();
    let behind = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    behind.connect(&sim.address).expect("connected");
    for socket in [&between, &behind] {
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    }
    let spoiler = std::thread::spawn(move || {
        let (mut packet, mut spoiled) = ([0; 512], 0);
        while let Ok((length, from)) = between.recv_from(&mut packet) {
            if packet[..length] == *b"end" {
                break;
            }
            behind.send(&packet[..length]).expect("handed on");
            let Ok(length) = behind.recv(&mut packet) else { break };
            if packet[4] == 6 && packet[5] == 0x15 {
                packet[5] = 0x3f;
                spoiled += 1;
            }
            between.send_to(&packet[..length], from).expect("handed back");
        }
        spoiled
    });
    let me = std::env::current_exe().expect("this program");
    let child = Cmd::new(me).args(["power::child", "--exact", "--nocapture"]).env(SPOILED, &address);
    let ran = child.run(Duration::from_secs(60)).await.expect("the child has not ended by the panic");
    let said = ran.stdout_text();
    assert!(said.contains("went on: ") && said.contains("made the library panic"), "{said}");
    let end = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    end.send_to(b"end", &address).expect("sent");
    assert_eq!(spoiler.join().expect("ended"), 1);
}
