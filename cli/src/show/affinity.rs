//! Affinity rules.

use pvc_proto::v1::{Rule, RuleSpec};

use super::words::{choice, name, time};
use crate::output::Tone;
use crate::output::page::Page;
use crate::output::table::{Cell, Column, optional, render, text};

const COLUMNS: &[Column] = &[
    text("NAME"),
    text("KIND"),
    text("STRENGTH"),
    text("VMS"),
    optional("NODES"),
    text("STATE"),
    optional("NOTE"),
];

fn kind(spec: &RuleSpec) -> String {
    choice(spec.kind().as_str_name(), "RULE_KIND_")
}

fn strength(spec: &RuleSpec) -> String {
    choice(spec.strength().as_str_name(), "RULE_STRENGTH_")
}

fn state(rule: &Rule) -> (&'static str, Tone) {
    if rule.broken_by.is_empty() { ("kept", Tone::Good) } else { ("broken", Tone::Bad) }
}

/// By name, or by the tag that they have.
fn whom(spec: &RuleSpec) -> String {
    if spec.tag.is_empty() { spec.vms.join(",") } else { format!("tag {}", spec.tag) }
}

pub fn table(rules: &[&Rule], colour: bool) -> String {
    render(COLUMNS, rules.iter().map(|one| row(one)).collect(), colour)
}

fn row(rule: &Rule) -> Vec<Cell> {
    let spec = rule.spec.clone().unwrap_or_default();
    let (state, tone) = state(rule);
    vec![
        name(rule.meta.as_ref()).into(),
        kind(&spec).into(),
        strength(&spec).into(),
        whom(&spec).into(),
        spec.nodes.join(",").into(),
        Cell::toned(state, tone),
        rule.broken_by.join(", ").into(),
    ]
}

/// Everything that is known of it.
pub fn page(rule: &Rule, colour: bool) -> String {
    let meta = rule.meta.clone().unwrap_or_default();
    let spec = rule.spec.clone().unwrap_or_default();
    let (state, tone) = state(rule);
    Page::new(colour)
        .row("Name", &meta.name)
        .row("UID", &meta.uid)
        .row("Kind", kind(&spec))
        .row("Strength", strength(&spec))
        .row("VMs", whom(&spec))
        .row("Nodes", spec.nodes.join(", "))
        .toned("State", state, tone)
        .section("Broken by", &rule.broken_by)
        .section("Applies to", &rule.applies_to)
        .row("Revision", meta.revision.to_string())
        .row("Created", time(meta.create_time.as_ref()))
        .finish()
}
