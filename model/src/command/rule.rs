//! Making, changing and removing affinity rules.

use super::draft::{Draft, check_revision};
use crate::Revision;
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::name::Name;
use crate::plan;
use crate::rejection::{Rejection, RejectionKind};
use crate::rule::{MEMBERS_MAX, RULES_MAX, Rule, RuleKind, RuleSpec};
use crate::world::World;

pub(super) fn create(
    world: &World,
    name: &Name,
    spec: &RuleSpec,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let subject = format!("affinity/{name}");
    if world.rules.contains_key(name) {
        return Err(Rejection::new(
            RejectionKind::AlreadyExists,
            "name-taken",
            subject,
            "a rule of that name exists",
        )
        .help("choose another name, or see `pvc affinity list`"));
    }
    if world.rules.len() >= RULES_MAX {
        let detail = format!("a cluster has at most {RULES_MAX} rules");
        return Err(Rejection::new(RejectionKind::Exhausted, "rules-at-most", subject, detail)
            .help("see `pvc affinity list`; a rule about a tag stands for many"));
    }
    check(world, &subject, spec)?;
    let mut draft = Draft::new(world, format!("make {subject}"), context);
    let meta = draft.new_meta(name.clone());
    put(draft, Rule { meta, spec: spec.clone() })
}

pub(super) fn update(
    world: &World,
    name: &Name,
    spec: &RuleSpec,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.rule(name)?;
    let subject = format!("affinity/{name}");
    check_revision(&subject, expected, old.meta.revision)?;
    check(world, &subject, spec)?;
    let draft = Draft::new(world, format!("modify {subject}"), context);
    if old.spec == *spec {
        return Ok(draft.finish_replying(Collection::Rules, name));
    }
    let mut rule = Rule::clone(old);
    rule.spec = spec.clone();
    rule.meta.updated = draft.context.now;
    put(draft, rule)
}

pub(super) fn delete(world: &World, name: &Name, expected: Revision) -> Result<Changes, Rejection> {
    let rule = world.rule(name)?;
    let subject = format!("affinity/{name}");
    check_revision(&subject, expected, rule.meta.revision)?;
    let mut changes = Changes::new(format!("remove {subject}"));
    changes.delete(crate::ObjectKey { collection: Collection::Rules, name: name.clone() });
    Ok(changes)
}

/// A VM has another name.
pub(super) fn rename_vm(draft: &mut Draft<'_>, old: &Name, new: &Name) {
    each_naming(draft, old, |rule| {
        rule.spec.vms.insert(new.clone());
    });
}

/// A VM is gone. A rule that named it alone goes with it.
pub(super) fn forget_vm(draft: &mut Draft<'_>, vm: &Name) {
    each_naming(draft, vm, |_| {});
}

fn each_naming(draft: &mut Draft<'_>, vm: &Name, change: impl Fn(&mut Rule)) {
    let naming: Vec<Rule> = draft
        .world
        .rules
        .values()
        .filter(|rule| rule.spec.vms.contains(vm))
        .map(|r| Rule::clone(r))
        .collect();
    for mut rule in naming {
        rule.spec.vms.remove(vm);
        change(&mut rule);
        if rule.spec.vms.is_empty() {
            draft.delete(Collection::Rules, &rule.meta.name);
        } else {
            rule.meta.updated = draft.context.now;
            draft.put(Object::Rule(rule));
        }
    }
}

/// Refuses a world in which must rules contradict each other. `subject`: whose change it is.
pub(super) fn refuse_contradiction(world: &World, subject: &str) -> Result<(), Rejection> {
    match plan::contradiction(world) {
        None => Ok(()),
        Some(detail) => Err(Rejection::precondition("rules-agree", subject, detail)
            .help("remove one of them, or make it a should rule: pvc affinity modify NAME --should")),
    }
}

/// A node is still named by rules.
pub(super) fn refuse_named_node(world: &World, node: &Name) -> Result<(), Rejection> {
    let Some(rule) = world.rules.values().find(|rule| rule.spec.nodes.contains(node)) else { return Ok(()) };
    let detail = format!("{rule} names it");
    Err(Rejection::precondition("node-in-no-rule", format!("node/{node}"), detail)
        .help(format!("pvc affinity modify {0}, or pvc affinity remove {0}", rule.meta.name)))
}

fn put(mut draft: Draft<'_>, rule: Rule) -> Result<Changes, Rejection> {
    let name = rule.meta.name.clone();
    draft.put(Object::Rule(rule));
    refuse_contradiction(&draft.world, &format!("affinity/{name}"))?;
    Ok(draft.finish_replying(Collection::Rules, &name))
}

fn check(world: &World, subject: &str, spec: &RuleSpec) -> Result<(), Rejection> {
    let invalid = |rule, detail: &str| Err(Rejection::invalid(rule, subject, detail));
    if spec.vms.len() > MEMBERS_MAX || spec.nodes.len() > MEMBERS_MAX {
        let detail =
            format!("it names at most {MEMBERS_MAX} VMs and as many nodes; a tag stands for many VMs");
        return invalid("members-at-most", &detail);
    }
    if spec.vms.is_empty() == spec.tag.is_none() {
        return invalid("rule-names-vms", "it names VMs, or the tag that they have: one of both");
    }
    match spec.kind {
        RuleKind::Together | RuleKind::Apart => {
            if !spec.nodes.is_empty() {
                return invalid("rule-names-nodes", "a rule among VMs names no nodes");
            }
            if spec.tag.is_none() && spec.vms.len() < 2 {
                return invalid("rule-names-vms", "a rule among VMs names two of them or more");
            }
        }
        RuleKind::OnNodes | RuleKind::NotOnNodes if spec.nodes.is_empty() => {
            return invalid("rule-names-nodes", "it names one node or more");
        }
        RuleKind::OnNodes | RuleKind::NotOnNodes => {}
    }
    if let Some(vm) = spec.vms.iter().find(|vm| !world.vms.contains_key(*vm)) {
        let detail = format!("vm/{vm} does not exist");
        return Err(Rejection::precondition("vm-must-exist", subject, detail).help("see `pvc vm list`"));
    }
    if let Some(node) = spec.nodes.iter().find(|node| !world.nodes.contains_key(*node)) {
        let detail = format!("node/{node} does not exist");
        return Err(Rejection::precondition("node-must-exist", subject, detail).help("see `pvc node list`"));
    }
    Ok(())
}
