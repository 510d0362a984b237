//! Nodes.

use pvc_proto::v1::{
    FlushPlan, Guard, GuardKind, Isolation, Leaving, Node, NodeRole, NodeStatus, OnShutdown, Reachability,
};

use super::words::{choice, name, some, time, yes_no};
use crate::output::Tone;
use crate::output::page::Page;
use crate::output::table::{Cell, Column, figures, optional, render, text};
use crate::spec::size::show_mib;

const COLUMNS: &[Column] = &[
    text("NAME"),
    text("STATE"),
    text("ROLE"),
    figures("VMS"),
    figures("CPUS"),
    figures("VCPUS"),
    figures("LOAD"),
    figures("MEMORY"),
    figures("USED"),
    figures("PLACED"),
    text("VERSION"),
    optional("NOTE"),
];

fn reachability(node: &Node) -> Reachability {
    node.status.as_ref().map_or(Reachability::Unspecified, NodeStatus::reachability)
}

/// The state in one word.
pub fn state(node: &Node) -> String {
    choice(reachability(node).as_str_name(), "REACHABILITY_")
}

fn tone(node: &Node) -> Tone {
    match reachability(node) {
        Reachability::Reachable => Tone::Good,
        Reachability::NeverSeen => Tone::Busy,
        Reachability::Unreachable if leaving(node).is_some_and(|leaving| leaving.empty) => Tone::Busy,
        Reachability::Unreachable | Reachability::Unspecified => Tone::Bad,
    }
}

/// A coordinator that does not vote is a standby; the one that carries the single-holder services is the primary.
fn role(node: &Node) -> String {
    if node.spec.as_ref().is_some_and(|spec| spec.standby) {
        return "standby".to_owned();
    }
    if node.primary {
        return "primary".to_owned();
    }
    let role = node.spec.as_ref().map_or(NodeRole::Unspecified, |spec| spec.role());
    choice(role.as_str_name(), "NODE_ROLE_")
}

fn schedulable(node: &Node) -> bool {
    node.spec.as_ref().is_some_and(|spec| spec.schedulable)
}

/// The phase of its fence in one word; empty: none.
pub fn fence_phase(node: &Node) -> String {
    let fence = node.status.as_ref().and_then(|status| status.fence.as_ref());
    fence.map(|fence| choice(fence.phase().as_str_name(), "FENCE_PHASE_")).unwrap_or_default()
}

/// The fence whole: since when, why, and by what proof.
fn fence(node: &Node) -> String {
    let Some(fence) = node.status.as_ref().and_then(|status| status.fence.as_ref()) else {
        return String::new();
    };
    let proof = match &fence.proof {
        None => "no proof yet".to_owned(),
        Some(proof) => {
            let kind = choice(proof.kind().as_str_name(), "PROOF_KIND_");
            format!("proof: {kind}, by {} at {}", proof.by, time(proof.time.as_ref()))
        }
    };
    format!("{} since {}: {}; {proof}", fence_phase(node), time(fence.since.as_ref()), fence.reason)
}

/// What becomes of its guests when it is cut off, and what sees to it.
fn isolation(node: &Node) -> String {
    let isolation = node.spec.as_ref().map_or(Isolation::Keep, |spec| spec.isolation());
    let guard = node.status.as_ref().and_then(|status| status.guard.as_ref());
    match (isolation, guard) {
        (Isolation::Stop, Some(guard)) => format!("stop, by its guard: {}", guard_words(guard)),
        (Isolation::Stop, None) => "stop, and NO GUARD IS ARMED".to_owned(),
        (_, Some(guard)) => format!("keep; its guard is being disarmed: {}", guard_words(guard)),
        (_, None) => "keep".to_owned(),
    }
}

fn guard_words(guard: &Guard) -> String {
    let seconds = guard.strike_after_ms as f64 / 1000.0;
    let kind = choice(guard.kind().as_str_name(), "GUARD_KIND_");
    let device = if guard.device.is_empty() { String::new() } else { format!(" {}", guard.device) };
    let limit = match guard.kind() {
        GuardKind::Process => "; no watchdog: a frozen host is not covered",
        GuardKind::Softdog => "; a kernel that has stopped is not covered",
        GuardKind::Device | GuardKind::Unspecified => "",
    };
    format!("{kind}{device}, strikes {seconds} s after the lease's end{limit}")
}

fn leaving(node: &Node) -> Option<&Leaving> {
    node.status.as_ref()?.leaving.as_ref()
}

/// Its host's shutdown in a few words; empty: it is up.
fn shutdown(node: &Node) -> String {
    let Some(leaving) = leaving(node) else { return String::new() };
    match (leaving.empty, reachability(node)) {
        (_, Reachability::Unreachable) => "shut down".to_owned(),
        (true, _) => "shutting down, empty".to_owned(),
        (false, _) => format!("shutting down, its VMs: {}", policy(leaving.policy())),
    }
}

fn policy(policy: OnShutdown) -> String {
    choice(policy.as_str_name(), "ON_SHUTDOWN_")
}

fn maintenance(node: &Node) -> bool {
    node.spec.as_ref().is_some_and(|spec| spec.maintenance)
}

pub fn table(nodes: &[&Node], colour: bool) -> String {
    render(COLUMNS, nodes.iter().map(|one| row(one)).collect(), colour)
}

fn row(node: &Node) -> Vec<Cell> {
    let status = node.status.clone().unwrap_or_default();
    let load = node.load.as_ref();
    let fenced = fence_phase(node);
    let note = match (status.problem.is_empty(), maintenance(node), schedulable(node)) {
        _ if !fenced.is_empty() => fenced.clone(),
        _ if leaving(node).is_some() => shutdown(node),
        (false, _, _) => status.problem.clone(),
        (true, true, _) => "in maintenance".to_owned(),
        (true, false, false) => "no new VMs".to_owned(),
        (true, false, true) => String::new(),
    };
    vec![
        name(node.meta.as_ref()).into(),
        Cell::toned(state(node), tone(node)),
        role(node).into(),
        node.vms_placed.to_string().into(),
        some(status.cpus.into()).into(),
        node.vcpus_placed.to_string().into(),
        load.map(|load| format!("{:.2}", load.load)).unwrap_or_default().into(),
        memory(status.memory_mib).into(),
        load.map(|load| show_mib(load.memory_used_mib)).unwrap_or_default().into(),
        show_mib(node.memory_placed_mib).into(),
        status.version.into(),
        if status.problem.is_empty() && fenced.is_empty() {
            note.into()
        } else {
            Cell::toned(note, Tone::Bad)
        },
    ]
}

fn memory(mib: u64) -> String {
    if mib == 0 { String::new() } else { show_mib(mib) }
}

/// Everything that is known of it.
pub fn page(node: &Node, colour: bool) -> String {
    let meta = node.meta.clone().unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    let page = Page::new(colour)
        .row("Name", &meta.name)
        .row("UID", &meta.uid)
        .toned("State", state(node), tone(node))
        .row("Since", time(status.since.as_ref()))
        .toned("Problem", &status.problem, Tone::Bad)
        .toned("Fence", fence(node), Tone::Bad)
        .toned("Host", shutdown(node), Tone::Busy)
        .row("Role", role(node))
        .row("Leads Raft now", yes_no(node.leader))
        .row("Raft member", some(status.member_id))
        .row("Takes new VMs", yes_no(schedulable(node) && !maintenance(node)))
        .row("In maintenance", yes_no(maintenance(node)))
        .row("When cut off, guests", isolation(node))
        .row(
            "On shutdown its VMs",
            policy(node.spec.as_ref().map_or(OnShutdown::Move, |spec| spec.on_shutdown())),
        )
        .row("Address", &status.address)
        .row("Version", &status.version)
        .row("Hypervisor", &status.hypervisor)
        .row("Kernel", &status.kernel)
        .row("Session", some(status.session))
        .row("CPUs", some(status.cpus.into()))
        .row("Memory", memory(status.memory_mib))
        .row("System UUID", &status.system_uuid);
    let page = super::bmc::rows(page, node.spec.as_ref().and_then(|spec| spec.bmc.as_ref()));
    let page = match &node.load {
        None => page,
        Some(load) => page
            .row("Load", format!("{:.2}", load.load))
            .row("Memory used", show_mib(load.memory_used_mib))
            .row("VMs running", load.vms_running.to_string())
            .row("Last heartbeat", format!("{:.1} s ago", load.heartbeat_age_seconds)),
    };
    page.row("VMs placed", node.vms_placed.to_string())
        .row("vCPUs placed", node.vcpus_placed.to_string())
        .row("Memory placed", show_mib(node.memory_placed_mib))
        .row("Revision", meta.revision.to_string())
        .row("Enrolled", time(meta.create_time.as_ref()))
        .finish()
}

const FLUSH_COLUMNS: &[Column] = &[text("VM"), text("TO"), text("NOTE")];

/// Who would go where.
pub fn flush(plan: &FlushPlan, colour: bool) -> String {
    let moves = plan.moves.iter().map(|one| vec![one.vm.as_str().into(), one.to.as_str().into(), "".into()]);
    let off = plan.off.iter().map(|one| vec![one.vm.as_str().into(), one.to.as_str().into(), "off".into()]);
    let stuck = plan
        .stuck
        .iter()
        .map(|one| vec![one.vm.as_str().into(), "-".into(), Cell::toned(one.reason.clone(), Tone::Bad)]);
    let rows: Vec<_> = moves.chain(off).chain(stuck).collect();
    if rows.is_empty() {
        return format!("node/{} is empty already\n", plan.node);
    }
    let table = render(FLUSH_COLUMNS, rows, colour);
    let length = super::words::duration(std::time::Duration::from_secs(plan.estimated_seconds.into()));
    let copied = format!(
        "{} VMs with {} of memory move; at 1 Gbit/s that takes about {length}\n",
        plan.moves.len(),
        show_mib(plan.memory_mib)
    );
    match plan.stuck.len() {
        0 => format!("{table}{copied}"),
        count => format!(
            "{table}{copied}{count} VMs fit nowhere else: a flush is refused without --stop-unmovable\n"
        ),
    }
}
