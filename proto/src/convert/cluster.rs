//! The cluster's own object.

use pvc_model::cluster::{
    Admission, Balance, Cluster, ClusterSpec, ClusterState, MIGRATIONS_PER_NODE_DEFAULT, Restored,
};
use pvc_model::command::ClusterPatch;
use pvc_model::network::fabric::Fabric;
use pvc_model::{Rejection, World};

use super::fabric::fabric;
use super::fence::{brake, disarmed};
use super::meta::{meta, subject};
use super::primary::{floating, floating_patch, primary, wire_floating};
use super::refuse::{At, WireEnum, wire_enum};
use crate::v1;

wire_enum!(v1::Admission, Admission, { Off, Warn, Refuse });
wire_enum!(v1::Balance, Balance, { Manual, Automatic });

fn optional_admission(at: &At<'_>, number: i32) -> Result<Option<Admission>, Rejection> {
    (number != 0).then(|| Admission::from_wire(number, &at.field("admission"))).transpose()
}

fn optional_balance(at: &At<'_>, number: i32) -> Result<Option<Balance>, Rejection> {
    (number != 0).then(|| Balance::from_wire(number, &at.field("balance"))).transpose()
}

/// What `cluster set` changes: only what is set.
pub fn cluster_patch(at: &At<'_>, wire: &v1::UpdateClusterRequest) -> Result<ClusterPatch, Rejection> {
    Ok(ClusterPatch {
        replace_voter_after_seconds: wire.replace_voter_after_seconds,
        admission: optional_admission(at, wire.admission)?,
        migrations_per_node: wire.migrations_per_node,
        balance: optional_balance(at, wire.balance)?,
        floating: floating_patch(at, wire.floating_address.as_deref(), wire.floating_device.as_deref())?,
    })
}

impl From<&ClusterSpec> for v1::ClusterSpec {
    fn from(spec: &ClusterSpec) -> Self {
        let (floating_address, floating_device) = wire_floating(spec.floating.as_ref());
        v1::ClusterSpec {
            replace_voter_after_seconds: spec.replace_voter_after_seconds.unwrap_or(0),
            floating_address,
            floating_device,
            admission: v1::Admission::from(spec.admission).into(),
            migrations_per_node: spec.migrations_per_node,
            balance: v1::Balance::from(spec.balance).into(),
            fabric: (spec.fabric != Fabric::default()).then(|| (&spec.fabric).into()),
        }
    }
}

impl From<&ClusterState> for v1::ClusterState {
    fn from(state: &ClusterState) -> Self {
        v1::ClusterState {
            incarnation: state.incarnation,
            recoveries: state.recoveries,
            level: state.level,
            primary: state.primary.as_ref().map(Into::into),
            awaited_nodes: state.awaited.iter().map(ToString::to_string).collect(),
            restored: state.restored.as_ref().map(|restored| v1::Restored {
                backup: restored.backup.clone(),
                cluster_id: restored.cluster_id.clone(),
                revision: restored.revision,
                complete: restored.complete,
            }),
            brake: state.brake.as_ref().map(Into::into),
            disarmed: state.disarmed.as_ref().map(Into::into),
        }
    }
}

impl From<&Cluster> for v1::Cluster {
    fn from(cluster: &Cluster) -> Self {
        v1::Cluster {
            meta: Some((&cluster.meta).into()),
            spec: Some((&cluster.spec).into()),
            status: Some((&cluster.status).into()),
        }
    }
}

impl TryFrom<&v1::Cluster> for Cluster {
    type Error = Rejection;

    fn try_from(wire: &v1::Cluster) -> Result<Self, Rejection> {
        let subject = subject("cluster", wire.meta.as_ref());
        let root = At::new(&subject);
        let of_spec = root.field("spec");
        let spec = of_spec.present(wire.spec.as_ref())?;
        let admission = optional_admission(&of_spec, spec.admission)?;
        let balance = optional_balance(&of_spec, spec.balance)?;
        let at = root.field("status");
        let status = at.present(wire.status.as_ref())?;
        let awaited = status.awaited_nodes.iter().enumerate();
        let seconds = spec.replace_voter_after_seconds;
        Ok(Cluster {
            meta: meta(&root, wire.meta.as_ref())?,
            spec: ClusterSpec {
                replace_voter_after_seconds: (seconds != 0).then_some(seconds),
                floating: floating(&of_spec, &spec.floating_address, &spec.floating_device)?,
                admission: admission.unwrap_or(Admission::Warn),
                migrations_per_node: match spec.migrations_per_node {
                    0 => MIGRATIONS_PER_NODE_DEFAULT,
                    count => count,
                },
                balance: balance.unwrap_or(Balance::Manual),
                fabric: match &spec.fabric {
                    Some(wire) => fabric(&of_spec.field("fabric"), wire)?,
                    None => Fabric::default(),
                },
            },
            status: ClusterState {
                incarnation: status.incarnation,
                recoveries: status.recoveries,
                level: status.level,
                primary: status.primary.as_ref().map(|p| primary(&at.field("primary"), p)).transpose()?,
                awaited: awaited
                    .map(|(i, node)| at.item("awaited_nodes", i).name(node))
                    .collect::<Result<_, _>>()?,
                restored: status.restored.as_ref().map(|restored| Restored {
                    backup: restored.backup.clone(),
                    cluster_id: restored.cluster_id.clone(),
                    revision: restored.revision,
                    complete: restored.complete,
                }),
                brake: status.brake.as_ref().map(|wire| brake(&at.field("brake"), wire)).transpose()?,
                disarmed: status
                    .disarmed
                    .as_ref()
                    .map(|wire| disarmed(&at.field("disarmed"), wire))
                    .transpose()?,
            },
        })
    }
}

/// The names of the nodes whose guests are still to be counted.
pub fn awaited_nodes(world: &World) -> Vec<String> {
    let awaited = world.cluster.iter().flat_map(|cluster| &cluster.status.awaited);
    awaited.map(ToString::to_string).collect()
}
