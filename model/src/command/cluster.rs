//! The cluster's settings, and who of the coordinators is to vote.

use super::draft::{Draft, check_revision};
use crate::Revision;
use crate::change::{Changes, Collection, Object};
use crate::cluster::{
    self, Admission, Balance, Cluster, ClusterSpec, ClusterState, MIGRATIONS_PER_NODE_RANGE,
    REPLACE_VOTER_AFTER_RANGE,
};
use crate::context::Context;
use crate::fault::Fault;
use crate::feature::{Levels, raise_to};
use crate::name::Name;
use crate::node::{Node, NodeRole};
use crate::primary::{Cidr, Device, Floating};
use crate::rejection::Rejection;
use crate::world::World;

const SUBJECT: &str = "cluster";

/// What is to change of the floating address. Unset: unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FloatingPatch {
    /// `Some(None)`: there is to be none.
    pub address: Option<Option<Cidr>>,
    pub device: Option<Device>,
}

impl FloatingPatch {
    fn apply(&self, world: &World, old: Option<Floating>) -> Result<Option<Floating>, Rejection> {
        let address = match self.address {
            Some(None) => return Ok(None),
            Some(Some(address)) => Some(address),
            None => old.as_ref().map(|old| old.address),
        };
        let device = self.device.clone().or_else(|| old.map(|old| old.device));
        let incomplete = |what: &str| {
            let help = "pvc cluster set --floating-address 10.0.0.9/24 --floating-device br-cluster";
            let detail = format!("a floating address needs {what} too");
            Err(Rejection::invalid("floating-address-complete", SUBJECT, detail).help(help))
        };
        match (address, device) {
            (None, None) => Ok(None),
            (Some(_), None) => incomplete("the device that carries it"),
            (None, Some(_)) => incomplete("the address"),
            (Some(address), Some(device)) => {
                let own = |node: &&std::sync::Arc<Node>| {
                    let socket = node.status.address.parse::<std::net::SocketAddr>();
                    socket.is_ok_and(|socket| socket.ip() == address.address)
                };
                match world.nodes.values().find(own) {
                    Some(node) => {
                        let detail = format!("{} is the address of node {}", address.address, node.meta.name);
                        Err(Rejection::invalid("floating-address-free", SUBJECT, detail)
                            .help("take an address that no host has"))
                    }
                    None => Ok(Some(Floating { address, device })),
                }
            }
        }
    }
}

/// What people change of the cluster's settings: only what is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterPatch {
    /// 0: never.
    pub replace_voter_after_seconds: Option<u32>,
    pub admission: Option<Admission>,
    pub migrations_per_node: Option<u32>,
    pub balance: Option<Balance>,
    pub floating: FloatingPatch,
}

pub(super) fn update(
    world: &World,
    patch: &ClusterPatch,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let actual = world.cluster.as_ref().map_or(0, |cluster| cluster.meta.revision);
    check_revision(SUBJECT, expected, actual)?;
    let mut draft = Draft::new(world, "modify the cluster's settings", context);
    let mut cluster = the_cluster(&mut draft);
    let spec = &mut cluster.spec;
    match patch.replace_voter_after_seconds {
        None => {}
        Some(0) => spec.replace_voter_after_seconds = None,
        Some(seconds) if REPLACE_VOTER_AFTER_RANGE.contains(&seconds) => {
            spec.replace_voter_after_seconds = Some(seconds);
        }
        Some(seconds) => {
            let (least, most) = REPLACE_VOTER_AFTER_RANGE.into_inner();
            let detail =
                format!("replace_voter_after_seconds: {least} to {most}, or 0 for never, not {seconds}");
            return Err(Rejection::invalid("out-of-range", SUBJECT, detail));
        }
    }
    if let Some(count) = patch.migrations_per_node {
        if !MIGRATIONS_PER_NODE_RANGE.contains(&count) {
            let (least, most) = MIGRATIONS_PER_NODE_RANGE.into_inner();
            let detail = format!("migrations_per_node: {least} to {most}, not {count}");
            return Err(Rejection::invalid("out-of-range", SUBJECT, detail));
        }
        spec.migrations_per_node = count;
    }
    spec.admission = patch.admission.unwrap_or(spec.admission);
    spec.balance = patch.balance.unwrap_or(spec.balance);
    spec.floating = patch.floating.apply(world, spec.floating.take())?;
    put_cluster(&mut draft, cluster);
    Ok(draft.finish_replying(Collection::Cluster, &name()))
}

pub(super) fn raise_level(world: &World, leader: Levels, context: &mut Context) -> Changes {
    let Some(level) = raise_to(world, leader) else { return Changes::default() };
    let mut draft = Draft::new(world, format!("raise the cluster's feature level to {level}"), context);
    let mut cluster = the_cluster(&mut draft);
    cluster.status.level = level;
    put_cluster(&mut draft, cluster);
    draft.finish()
}

/// Whether a coordinator is to vote, or to stand by.
pub(super) fn set_standby(
    world: &World,
    node: &Name,
    standby: bool,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = coordinator(world, node)?;
    let what = if standby { "standby" } else { "voter" };
    let mut draft = Draft::new(world, format!("make node/{node} a {what}"), context);
    mark(&mut draft, old, standby);
    Ok(draft.finish_replying(Collection::Nodes, node))
}

/// A dead voter's place is given to a standby. Raft's own members follow this decision.
pub(super) fn replace_voter(
    world: &World,
    dead: &Name,
    by: &Name,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let (old_dead, old_by) = (coordinator(world, dead)?, coordinator(world, by)?);
    if old_dead.spec.standby || !old_by.spec.standby {
        let detail = format!("node {dead} must vote, and node {by} stand by");
        return Err(Rejection::precondition("standby-replaces-voter", format!("node/{by}"), detail));
    }
    let summary = format!("replace the silent voter node/{dead} by the standby node/{by}");
    let mut draft = Draft::new(world, summary, context);
    mark(&mut draft, old_dead, true);
    mark(&mut draft, old_by, false);
    let fault = replaced_fault(dead);
    let message = format!("voter {dead} was silent for too long: the standby {by} votes in its place");
    let help = format!(
        "bring {dead} back: with its data it is a standby then; without them remove it from the cluster and \
         join it anew"
    );
    raise(&mut draft, &fault, &format!("node/{dead}"), message, help);
    Ok(draft.finish_replying(Collection::Nodes, by))
}

/// The fault that tells of a replaced voter. A long name keeps its beginning: the subject tells it whole.
pub fn replaced_fault(dead: &Name) -> Name {
    let whole = format!("voter-replaced.{dead}");
    let cut = whole[..whole.len().min(63)].trim_end_matches(['-', '.']);
    cut.parse().expect("a label, a dot and the beginning of a name are a name")
}

fn coordinator<'a>(world: &'a World, name: &Name) -> Result<&'a Node, Rejection> {
    let node = world.node(name)?;
    if node.spec.role == NodeRole::Coordinator {
        return Ok(node);
    }
    Err(Rejection::precondition("coordinator-needed", format!("node/{name}"), "it is no coordinator")
        .help(format!("pvc node remove {name}, then `pvc-bootstrap join --role coordinator --standby`")))
}

fn mark(draft: &mut Draft<'_>, old: &Node, standby: bool) {
    if old.spec.standby != standby {
        let mut node = old.clone();
        node.spec.standby = standby;
        node.meta.updated = draft.context.now;
        draft.put(Object::Node(node));
    }
}

pub(super) fn name() -> Name {
    cluster::NAME.parse().expect("a label is a name")
}

/// The cluster's object, as it is or as it would be from the beginning.
pub(super) fn the_cluster(draft: &mut Draft<'_>) -> Cluster {
    match &draft.world.cluster {
        Some(cluster) => Cluster::clone(cluster),
        None => Cluster {
            meta: draft.new_meta(name()),
            spec: ClusterSpec::default(),
            status: ClusterState::default(),
        },
    }
}

/// Puts it where it has changed.
pub(super) fn put_cluster(draft: &mut Draft<'_>, mut cluster: Cluster) {
    let changed = match &draft.world.cluster {
        Some(old) => **old != cluster,
        None => cluster.spec != ClusterSpec::default() || cluster.status != ClusterState::default(),
    };
    if changed {
        cluster.meta.updated = draft.context.now;
        draft.put(Object::Cluster(cluster));
    }
}

/// Raises a fault within another decision.
pub(super) fn raise(draft: &mut Draft<'_>, name: &Name, subject: &str, message: String, help: String) {
    let now = draft.context.now;
    let old = draft.world.faults.get(name).cloned();
    let fault = match old {
        Some(old) if old.message == message => return,
        Some(old) => Fault { message, help, last: now, ..Fault::clone(&old) },
        None => Fault {
            meta: draft.new_meta(name.clone()),
            subject: subject.to_owned(),
            message,
            help,
            first: now,
            last: now,
            acknowledged_by: None,
        },
    };
    draft.put(Object::Fault(fault));
}
