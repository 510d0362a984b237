//! Affinity rules.

use pvc_model::rule::{Rule, RuleKind, RuleSpec, Strength, broken_by};
use pvc_model::{Rejection, World};

use super::meta::{meta, subject};
use super::refuse::{At, WireEnum, wire_enum, wire_name};
use crate::v1;

wire_enum!(v1::RuleKind, RuleKind, { Together, Apart, OnNodes, NotOnNodes });
wire_enum!(v1::RuleStrength, Strength, { Must, Should });

impl From<&RuleSpec> for v1::RuleSpec {
    fn from(spec: &RuleSpec) -> Self {
        v1::RuleSpec {
            kind: v1::RuleKind::from(spec.kind).into(),
            strength: v1::RuleStrength::from(spec.strength).into(),
            vms: spec.vms.iter().map(ToString::to_string).collect(),
            tag: wire_name(spec.tag.as_ref()),
            nodes: spec.nodes.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&Rule> for v1::Rule {
    fn from(rule: &Rule) -> Self {
        v1::Rule {
            meta: Some((&rule.meta).into()),
            spec: Some((&rule.spec).into()),
            broken_by: Vec::new(),
            applies_to: Vec::new(),
        }
    }
}

/// `at` is the spec itself.
pub fn rule_spec(at: &At<'_>, wire: &v1::RuleSpec) -> Result<RuleSpec, Rejection> {
    Ok(RuleSpec {
        kind: RuleKind::from_wire(wire.kind, &at.field("kind"))?,
        strength: Strength::from_wire_or(wire.strength, Strength::Must, &at.field("strength"))?,
        vms: at.names("vms", &wire.vms)?,
        tag: at.field("tag").optional_name(&wire.tag)?,
        nodes: at.names("nodes", &wire.nodes)?,
    })
}

impl TryFrom<&v1::Rule> for Rule {
    type Error = Rejection;

    fn try_from(wire: &v1::Rule) -> Result<Self, Rejection> {
        let subject = subject("affinity", wire.meta.as_ref());
        let at = At::new(&subject);
        let spec = at.field("spec").present(wire.spec.as_ref())?;
        Ok(Rule { meta: meta(&at, wire.meta.as_ref())?, spec: rule_spec(&at.field("spec"), spec)? })
    }
}

/// A rule as it is shown: with the VMs that it is about, and how they break it.
pub fn rule_view(world: &World, rule: &Rule) -> v1::Rule {
    let about = world.vms.values().filter(|vm| rule.spec.applies_to(vm));
    v1::Rule {
        applies_to: about.map(|vm| vm.meta.name.to_string()).collect(),
        broken_by: broken_by(world, rule),
        ..v1::Rule::from(rule)
    }
}
