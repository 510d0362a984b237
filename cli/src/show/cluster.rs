//! The cluster, its faults, its audit trail.

use pvc_proto::v1::{
    Admission, AuditEntry, Balance, BalancePlan, BalanceStep, ClusterStatus, Fault, FaultState, PrimaryPhase,
    RaftMember, RunningVersion, StoreStatus, WhoAmIResponse,
};

use super::words::{choice, name, time, yes_no};
use crate::output::Tone;
use crate::output::page::Page;
use crate::output::table::{Cell, Column, figures, render, text};

const FAULT_COLUMNS: &[Column] =
    &[text("NAME"), text("STATE"), text("SUBJECT"), text("SINCE"), text("MESSAGE"), text("HELP")];
const AUDIT_COLUMNS: &[Column] = &[figures("REVISION"), text("TIME"), text("WHO"), text("WHAT")];

/// Everything that is known of the cluster.
pub fn page(status: &ClusterStatus, colour: bool) -> String {
    let members: Vec<String> = status
        .members
        .iter()
        .map(|member| {
            let role = match (member.leader, member.voter) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) if member.standby => "standby",
                (false, false) => "learner",
            };
            let mut line = format!(
                "{} {role}, member {}, {}, log {}",
                member.node, member.id, member.address, member.matched
            );
            if !member.leader {
                line.push_str(&format!(
                    ", {} behind, silent for {:.1} s",
                    member.behind, member.silent_seconds
                ));
            }
            line
        })
        .collect();
    let store = status.store.clone().unwrap_or_default();
    let bad = |count: u32| if count == 0 { Tone::Plain } else { Tone::Bad };
    Page::new(colour)
        .row("Cluster", &status.name)
        .row("Id", &status.cluster_id)
        .row("Version", &status.version)
        .row("Feature level", level(status))
        .section("Running", &versions(status))
        .toned(
            "Health",
            if status.healthy { "healthy" } else { "needs a person" },
            if status.healthy { Tone::Good } else { Tone::Bad },
        )
        .section("Problems", &status.problems)
        .toned(
            "Nodes",
            format!("{} of {} reachable", status.nodes_reachable, status.nodes),
            bad(status.nodes - status.nodes_reachable.min(status.nodes)),
        )
        .row("VMs", format!("{}, {} running", status.vms, status.vms_running))
        .toned("VMs failed", status.vms_failed.to_string(), bad(status.vms_failed))
        .row("Volumes", status.volumes.to_string())
        .toned("Faults", status.faults.to_string(), bad(status.faults))
        .row("Leader", &status.leader)
        .toned("Recovery", recovery(status), if status.disarmed.is_some() { Tone::Bad } else { Tone::Plain })
        .toned("Storm brake", brake(status), Tone::Bad)
        .row("Primary", primary(status))
        .row("Floating address", floating(status))
        .row("Silent voters", silent_voters(status))
        .row("Placement", placement(status))
        .section("Guests not counted", &status.awaited_nodes)
        .section("Members", &members)
        .section(
            "Store",
            &[
                format!("term {}, revision {}", store.term, status.revision),
                format!("log {}, committed {}, applied {}", store.last_log, store.committed, store.applied),
                format!("snapshot {}, purged {}, commits {}", store.snapshot, store.purged, store.commits),
                format!("log fsync p99 {:.1} ms", store.fsync_p99_ms),
                held(&store),
            ],
        )
        .section("Disks", &disks(status))
        .section("Store alarms", &store.alarms)
        .finish()
}

/// For whom the log is kept.
fn held(store: &StoreStatus) -> String {
    match store.held_for.as_str() {
        "" => "log kept for nobody".to_owned(),
        node => format!("log of {} entries kept for {node}", store.held_entries),
    }
}

/// The store's disk on each coordinator, as far as it was told.
fn disks(status: &ClusterStatus) -> Vec<String> {
    let line = |member: &RaftMember| {
        let Some(health) = &member.health else { return format!("{}: nothing told yet", member.node) };
        let fsync = match health.fsyncs {
            0 => "no fsync in 30 s".to_owned(),
            count => format!(
                "fsync p99 {:.1} ms of {count} in 30 s (limit {:.0} ms)",
                health.fsync_p99_ms, health.fsync_limit_ms
            ),
        };
        let checkpoint = match health.checkpoint_age_seconds {
            Some(age) => format!("checkpoint {} {age:.0} s ago", health.checkpoint),
            None => format!("checkpoint {} before its start", health.checkpoint),
        };
        let mib = |bytes: u64| bytes >> 20;
        format!(
            "{}: {fsync}, log {} MiB, state {} MiB, {} of {} MiB free, {checkpoint}",
            member.node,
            mib(health.log_bytes),
            mib(health.state_bytes),
            mib(health.free_bytes),
            mib(health.disk_bytes)
        )
    };
    status.members.iter().map(line).collect()
}

/// The cluster's feature level, and who holds it back.
fn level(status: &ClusterStatus) -> String {
    if status.level >= status.level_best {
        return status.level.to_string();
    }
    format!("{} of {}, held back by {}", status.level, status.level_best, status.level_held_by.join(", "))
}

/// Which version runs where.
fn versions(status: &ClusterStatus) -> Vec<String> {
    let line = |running: &RunningVersion| match running.version.as_str() {
        "" => format!("not told yet: {}", running.nodes.join(", ")),
        version => format!("{version} (level {}): {}", running.level, running.nodes.join(", ")),
    };
    status.versions.iter().map(line).collect()
}

/// Whether silent nodes are fenced and their VMs recovered.
fn recovery(status: &ClusterStatus) -> String {
    match &status.disarmed {
        None => "armed".to_owned(),
        Some(disarmed) => {
            let why =
                if disarmed.reason.is_empty() { String::new() } else { format!(": {}", disarmed.reason) };
            format!("disarmed by {} at {}{why}", disarmed.by, time(disarmed.since.as_ref()))
        }
    }
}

/// Empty: it does not hold.
fn brake(status: &ClusterStatus) -> String {
    match &status.brake {
        None => String::new(),
        Some(brake) => format!(
            "holds since {} for {} (pvc cluster release-brake)",
            time(brake.since.as_ref()),
            brake.nodes.join(", ")
        ),
    }
}

/// Who carries the single-holder services, at which epoch and since when.
fn primary(status: &ClusterStatus) -> String {
    let Some(primary) = &status.primary else { return "none".to_owned() };
    let since = time(primary.since.as_ref());
    let held = format!("{}, epoch {}, since {since} ({})", primary.node, primary.epoch, primary.reason);
    match primary.phase() {
        PrimaryPhase::HandingOver => format!("{held}, hands over to {}", primary.other),
        PrimaryPhase::TakingOver => format!("{held}, takes over from {}", primary.other),
        PrimaryPhase::Holding | PrimaryPhase::Unspecified => held,
    }
}

fn floating(status: &ClusterStatus) -> String {
    match status.settings.as_ref().filter(|settings| !settings.floating_address.is_empty()) {
        Some(settings) => format!("{} on {}", settings.floating_address, settings.floating_device),
        None => "none".to_owned(),
    }
}

/// All settings in a line.
pub fn settings(status: &ClusterStatus) -> String {
    format!("{}; {}; floating address: {}", silent_voters(status), placement(status), floating(status))
}

/// What is done about capacity, migrations and balance.
fn placement(status: &ClusterStatus) -> String {
    let settings = status.settings.clone().unwrap_or_default();
    let admission = match settings.admission() {
        Admission::Off => "room for a node's death is not asked for",
        Admission::Warn | Admission::Unspecified => "missing room for a node's death is a fault",
        Admission::Refuse => "no VM starts without room for a node's death",
    };
    let balance = match settings.balance() {
        Balance::Automatic => "balanced by itself",
        Balance::Manual | Balance::Unspecified => "balanced by people",
    };
    let migrations = if settings.migrations_per_node == 0 { 2 } else { settings.migrations_per_node };
    format!("{admission}; {migrations} migrations at once for each node; {balance}")
}

const BALANCE_COLUMNS: &[Column] = &[text("VM"), text("FROM"), text("TO"), text("GAIN")];

/// The steps that are worth it.
pub fn balance(plan: &BalancePlan, colour: bool) -> String {
    if plan.steps.is_empty() {
        return "no step is worth it\n".to_owned();
    }
    let row = |step: &BalanceStep| {
        let texts = [&step.vm, &step.from, &step.to, &step.gain];
        texts.into_iter().map(|text| text.as_str().into()).collect()
    };
    let table = render(BALANCE_COLUMNS, plan.steps.iter().map(row).collect(), colour);
    format!("{table}carry them out by: pvc cluster balance --apply\n")
}

/// What happens to a voter that dies.
fn silent_voters(status: &ClusterStatus) -> String {
    match status.settings.as_ref().map_or(0, |settings| settings.replace_voter_after_seconds) {
        0 => "a silent voter is replaced by people only".to_owned(),
        seconds => format!("a voter is replaced by a standby when it was silent for {seconds} s"),
    }
}

/// The voters, for `cluster leader`.
pub fn leader(status: &ClusterStatus) -> String {
    if status.leader.is_empty() { "none\n".to_owned() } else { format!("{}\n", status.leader) }
}

pub fn faults(faults: &[Fault], colour: bool) -> String {
    let row = |fault: &Fault| {
        let tone = match fault.state() {
            FaultState::New | FaultState::Unspecified => Tone::Bad,
            FaultState::Acknowledged => Tone::Dim,
        };
        let mut state = choice(fault.state().as_str_name(), "FAULT_STATE_");
        if !fault.acknowledged_by.is_empty() {
            state.push_str(&format!(" by {}", fault.acknowledged_by));
        }
        vec![
            name(fault.meta.as_ref()).into(),
            Cell::toned(state, tone),
            fault.subject.as_str().into(),
            time(fault.first_time.as_ref()).into(),
            fault.message.as_str().into(),
            fault.help.as_str().into(),
        ]
    };
    render(FAULT_COLUMNS, faults.iter().map(row).collect(), colour)
}

pub fn audit(entries: &[AuditEntry], colour: bool) -> String {
    let row = |entry: &AuditEntry| {
        vec![
            entry.revision.to_string().into(),
            time(entry.time.as_ref()).into(),
            entry.actor.as_str().into(),
            entry.summary.as_str().into(),
        ]
    };
    render(AUDIT_COLUMNS, entries.iter().map(row).collect(), colour)
}

pub fn who(who: &WhoAmIResponse, colour: bool) -> String {
    let role = choice(who.role().as_str_name(), "ROLE_");
    Page::new(colour)
        .row("Identity", &who.identity)
        .row("Role", &role)
        .row("May change", yes_no(matches!(role.as_str(), "operator" | "admin")))
        .row("Answered by", &who.answered_by)
        .finish()
}
