//! Between messages and `pvc-model`'s types. To a message: `From<&model::Vm> for v1::Vm` and the like give
//! the stored form, without what is output only; `vm_view` and the like add that from a [`World`].
//! From a message: strict; what the model can't hold, or what is out of range, is a [`Rejection`] of
//! kind `Invalid` that names object, path and rule.
//!
//! [`World`]: pvc_model::World
//! [`Rejection`]: pvc_model::Rejection

mod acl;
mod cluster;
mod event;
mod fabric;
mod fault;
mod fence;
mod guard;
mod health;
mod lease;
mod leaving;
mod meta;
mod network;
mod nic;
mod node;
mod primary;
mod refuse;
mod report;
mod role;
mod rule;
mod stored;
mod task;
mod token;
mod vm;
mod vm_spec;
mod volume;
mod why;

pub use acl::{acl, acl_rule};
pub use cluster::{awaited_nodes, cluster_patch};
pub use event::{decode_event, encode_event};
pub use fabric::{fabric, fabric_view, optional_addresses, peer};
pub use fence::asked_on_return;
pub use guard::{asked_isolation, guard};
pub use health::store_health;
pub use lease::{lease_report, lease_view};
pub use leaving::asked_on_shutdown;
pub use network::{network_spec, network_view, reservation, vni};
pub use node::{bmc_adapter, node_facts, node_role, node_view, reachability};
pub use primary::{floating_patch, primary_report, primary_role, wire_primary_role};
pub use refuse::{At, wire_time};
pub use report::{counted_guest, vm_report, volume_report};
pub use role::role;
pub use rule::{rule_spec, rule_view};
pub use stored::{DecodeError, decode_object, encode_object};
pub use task::{task_state, task_view};
pub use token::token_view;
pub use vm::{observed, vm_phase_filter, vm_view};
pub use vm_spec::{migration_method, optional_migration_method, spec_patch, vm_spec};
pub use volume::{volume_spec, volume_status, volume_view};
pub use why::explanation;
