//! Random commands, crashes, cuts and restarts, by seed: a guest never has two writers, and once the
//! trouble is over every VM ends as people wanted it.

use std::time::Duration;

use pvc_model::command::Command::{self, *};
use pvc_model::phase::VmPhase;
use pvc_model::vm::{MigrationMethod, Power};

use super::{Lab, name};
use crate::hypervisor::EndReason;

const SEEDS: u64 = 150;
const STEPS: u32 = 60;
const NODES: [&str; 3] = ["hv1", "hv2", "hv3"];
const VMS: [&str; 4] = ["a", "b", "c", "d"];

/// xorshift64* (Vigna 2016): small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[self.roll(of.len() as u64) as usize]
    }
}

fn command(dice: &mut Dice, lab: &Lab) -> Command {
    let (vm, node) = (name(dice.pick(&VMS)), name(dice.pick(&NODES)));
    let method = Some(if dice.roll(3) == 0 { MigrationMethod::Shutdown } else { MigrationMethod::Live });
    match dice.roll(10) {
        0..=2 => StartVm { name: vm, node: None },
        3 => StartVm { name: vm, node: Some(node) },
        4 => ShutdownVm { name: vm, grace_seconds: 10 },
        5 => StopVm { name: vm },
        6 => RestartVm { name: vm, grace_seconds: 5 },
        7 => MigrateVm { name: vm, node: Some(node), method },
        8 => MoveVm { name: vm, node, method },
        _ => CancelTask { name: lab.leader.world().tasks.keys().next_back().cloned().unwrap_or(vm) },
    }
}

fn trouble(dice: &mut Dice, lab: &mut Lab) {
    let index = dice.roll(3) as usize;
    let node = NODES[index];
    match dice.roll(9) {
        0 => lab.leader.cut(node),
        1 | 2 => lab.leader.heal(node),
        3 => lab.kill_agent(index),
        4 => {
            lab.kill_agent(index);
            lab.boot_agent(index);
        }
        5 => lab.hosts.end_guest(lab.vm(VMS[dice.roll(4) as usize]).uid(), EndReason::Crashed),
        6 => lab.hosts.faults(&name(node), |f| f.lose_starts = 1),
        7 => lab.hosts.faults(&name(node), |f| f.fail_migrations = 1),
        _ => lab.hosts.faults(&name(node), |f| f.lose_migrations = 1),
    }
}

async fn run(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut lab = Lab::of(&NODES).await;
    for vm in VMS {
        lab.create(vm);
    }
    for _ in 0..STEPS {
        let next = command(&mut dice, &lab);
        // A refusal is as good an answer as any.
        drop(lab.ask(next));
        if dice.roll(3) == 0 {
            trouble(&mut dice, &mut lab);
        }
        lab.pass(dice.roll(40) as f64 / 10.0).await;
    }
    for (index, node) in NODES.iter().enumerate() {
        lab.leader.heal(node);
        lab.hosts.faults(&name(node), |f| *f = Default::default());
        lab.kill_agent(index);
        lab.boot_agent(index);
    }
    lab.pass(240.0).await;
    for vm in VMS {
        let seen = (lab.vm(vm).desired, lab.phase(vm), lab.writer(vm));
        match &seen {
            (Power::On, VmPhase::Running, writer) if !writer.is_empty() => {}
            (Power::On, VmPhase::Failed, writer) if writer.is_empty() => {}
            (Power::Off | Power::Disabled, VmPhase::Stopped, writer) if writer.is_empty() => {}
            _ => panic!("seed {seed}: {vm} is {seen:?}: {:#?}", lab.vm(vm)),
        }
        assert!(lab.vm(vm).task.is_none(), "seed {seed}: {vm} still has a task: {:#?}", lab.task());
    }
}

#[test]
fn one_writer_and_a_good_end() {
    for seed in 0..SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let within = Duration::from_secs(24 * 3600);
        runtime.expect("a runtime").block_on(async {
            tokio::time::timeout(within, run(seed)).await.unwrap_or_else(|_| panic!("seed {seed} hangs"));
        });
    }
}
