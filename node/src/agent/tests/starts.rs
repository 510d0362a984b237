//! A host that gets many guests at once, as after the death of another one.

use std::time::Duration;

use pvc_model::command::Command::*;
use pvc_model::phase::VmPhase;
use pvc_model::vm::VmSpec;
use tokio::time::Instant;

use super::{Lab, name, spec};
use crate::hypervisor::fake::Happening;

const GUESTS: u32 = 100;
/// As the tests' agents are set.
const AT_ONCE: usize = 8;
/// How long the fake takes to start one.
const TAKES: Duration = Duration::from_millis(300);

fn priority(number: u32) -> u32 {
    number * 37 % GUESTS
}

/// All are to run on one host, from one moment on.
fn come_all_at_once(lab: &Lab) {
    for number in 0..GUESTS {
        let spec = VmSpec { memory_mib: 16, priority: priority(number), ..spec() };
        lab.ok(CreateVm { name: name(&format!("vm{number}")), spec });
    }
    for number in 0..GUESTS {
        lab.ok(StartVm { name: name(&format!("vm{number}")), node: Some(name("hv1")) });
    }
}

/// When which number was booted.
fn boots(lab: &Lab) -> Vec<(Instant, u32)> {
    let world = lab.leader.world();
    let number = |uid| -> Option<u32> {
        let vm = world.vm_by_uid(uid).expect("it is known");
        vm.meta.name.as_str().strip_prefix("vm")?.parse().ok()
    };
    let happened = lab.hosts.journal(0).into_iter();
    happened
        .filter_map(|(at, happening)| match happening {
            Happening::Booted { uid, .. } => Some((at, number(uid)?)),
            _ => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_guests_start_a_few_at_a_time_the_important_ones_first() {
    let lab = Lab::of(&["hv1"]).await;
    come_all_at_once(&lab);
    lab.pass(0.2).await;
    assert_eq!(lab.reason("vm0"), "waits while other guests of its node are started");
    assert_eq!(lab.phase("vm0"), VmPhase::Pending, "its priority is the lowest");
    lab.pass(20.0).await;
    let boots = boots(&lab);
    assert_eq!(boots.len(), GUESTS as usize, "each is started once");
    for (at, number) in &boots {
        let under_way = boots.iter().filter(|(other, _)| *other <= *at && *at < *other + TAKES).count();
        assert!(under_way <= AT_ONCE, "{under_way} starts were under way when vm{number} began");
    }
    let order: Vec<u32> = boots.iter().map(|(_, number)| priority(*number)).collect();
    assert!(order.is_sorted_by(|a, b| a >= b), "by priority: {order:?}");
    let took = boots[boots.len() - 1].0 - boots[0].0;
    assert!(took < TAKES * 15, "one's end lets the next begin: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn starts_that_hang_hold_the_others_up_for_a_minute_only() {
    let lab = Lab::of(&["hv1"]).await;
    lab.hosts.faults(&name("hv1"), |faults| faults.hang_starts = AT_ONCE as u32);
    come_all_at_once(&lab);
    lab.pass(50.0).await;
    assert_eq!(boots(&lab).len(), 0);
    lab.pass(40.0).await;
    assert_eq!(boots(&lab).len(), GUESTS as usize - AT_ONCE);
}
