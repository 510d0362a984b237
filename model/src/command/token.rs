//! API tokens and join tokens: made, spent once, revoked.

use super::draft::Draft;
use super::node::new_node;
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::name::Name;
use crate::node::NodeRole;
use crate::rejection::{Rejection, RejectionKind};
use crate::role::Role;
use crate::token::{Spent, Token, TokenKind};
use crate::world::World;

const API_LIFETIME_DEFAULT_SECONDS: u64 = 90 * 24 * 3600;
const API_LIFETIME_MAX_SECONDS: u64 = 3650 * 24 * 3600;
const JOIN_LIFETIME_DEFAULT_SECONDS: u64 = 3600;
const JOIN_LIFETIME_MAX_SECONDS: u64 = 7 * 24 * 3600;
const LIFETIME_MIN_SECONDS: u64 = 60;

pub(super) fn create_api(
    world: &World,
    name: &Name,
    role: Role,
    lifetime_seconds: u64,
    description: &str,
    secret_hash: &str,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let subject = format!("token/{name}");
    if role == Role::Node {
        return Err(Rejection::invalid("token-role", subject, "no token has the role of a node")
            .help("choose viewer, operator or admin"));
    }
    let lifetime =
        lifetime(&subject, lifetime_seconds, API_LIFETIME_DEFAULT_SECONDS, API_LIFETIME_MAX_SECONDS)?;
    create(world, name, TokenKind::Api { role }, lifetime, description, secret_hash, context)
}

pub(super) fn create_join(
    world: &World,
    name: &Name,
    lifetime_seconds: u64,
    node: Option<&Name>,
    secret_hash: &str,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let subject = format!("token/{name}");
    let lifetime =
        lifetime(&subject, lifetime_seconds, JOIN_LIFETIME_DEFAULT_SECONDS, JOIN_LIFETIME_MAX_SECONDS)?;
    if let Some(node) = node.filter(|n| world.nodes.contains_key(*n)) {
        return Err(node_name_taken(node));
    }
    let kind = TokenKind::Join { node: node.cloned(), spent: None };
    create(world, name, kind, lifetime, "", secret_hash, context)
}

fn lifetime(subject: &str, asked: u64, default: u64, max: u64) -> Result<u64, Rejection> {
    match asked {
        0 => Ok(default),
        LIFETIME_MIN_SECONDS.. if asked <= max => Ok(asked),
        _ => {
            let detail = format!("a lifetime is {LIFETIME_MIN_SECONDS} to {max} seconds, not {asked}");
            Err(Rejection::invalid("token-lifetime", subject, detail))
        }
    }
}

fn create(
    world: &World,
    name: &Name,
    kind: TokenKind,
    lifetime_seconds: u64,
    description: &str,
    secret_hash: &str,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let subject = format!("token/{name}");
    if world.tokens.contains_key(name) {
        return Err(Rejection::new(
            RejectionKind::AlreadyExists,
            "name-taken",
            subject,
            "a token of that name exists",
        )
        .help("see `pvc token list`"));
    }
    if description.chars().count() > 256 {
        return Err(Rejection::invalid(
            "description-length",
            subject,
            "a description has at most 256 characters",
        ));
    }
    let mut draft = Draft::new(world, format!("create {subject}"), context);
    let token = Token {
        meta: draft.new_meta(name.clone()),
        kind,
        expires: draft.context.now.plus_seconds(lifetime_seconds),
        created_by: draft.context.actor.clone(),
        description: description.to_string(),
        secret_hash: secret_hash.to_string(),
    };
    draft.put(Object::Token(token));
    Ok(draft.finish_replying(Collection::Tokens, name))
}

pub(super) fn revoke(world: &World, name: &Name) -> Result<Changes, Rejection> {
    if !world.tokens.contains_key(name) {
        return Err(Rejection::not_found(format!("token/{name}")));
    }
    let mut changes = Changes::new(format!("revoke token/{name}"));
    changes.delete(crate::ObjectKey { collection: Collection::Tokens, name: name.clone() });
    Ok(changes)
}

/// A host that comes with a join token.
pub(super) struct Joiner<'a> {
    pub node: &'a Name,
    pub role: NodeRole,
    pub address: &'a str,
    pub key_hash: &'a str,
    /// A coordinator that does not vote.
    pub standby: bool,
}

/// Spends a join token: one token, one node, one key. The same three may ask again, so that a join
/// that was interrupted after this step can be run again.
pub(super) fn redeem(
    world: &World,
    token_name: &Name,
    secret_hash: &str,
    joiner: &Joiner<'_>,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let Joiner { node, role, address, key_hash, standby } = *joiner;
    let refuse = |rule, detail: String| {
        Rejection::new(RejectionKind::Denied, rule, format!("token/{token_name}"), detail)
            .help("make a new one on a coordinator: pvc token join")
    };
    // One answer for "no such token" and "wrong secret": nobody learns which names exist. Both hashes
    // are of 128 random bits, so the time that this comparison takes tells nothing of use.
    let token = world.tokens.get(token_name).filter(|t| t.secret_hash == secret_hash);
    let Some(token) = token else {
        return Err(refuse("token-known", "the token is not known".to_string()));
    };
    let TokenKind::Join { node: only, spent } = &token.kind else {
        return Err(refuse("token-kind", "it is not a join token".to_string()));
    };
    let wanted = Spent { node: node.clone(), key_hash: key_hash.to_string() };
    match spent {
        Some(spent) if *spent == wanted && world.nodes.contains_key(node) => {
            let draft = Draft::new(world, "", context);
            return Ok(draft.finish_replying(Collection::Nodes, node));
        }
        Some(spent) => {
            return Err(refuse("token-unused", format!("it was used by node {} already", spent.node)));
        }
        None => {}
    }
    if context.now >= token.expires {
        return Err(refuse("token-not-expired", "it has expired".to_string()));
    }
    if let Some(only) = only.as_ref().filter(|only| *only != node) {
        return Err(refuse("token-for-node", format!("it is for node {only} only")));
    }
    if world.nodes.contains_key(node) {
        return Err(node_name_taken(node));
    }
    if let Some(other) = world.nodes.values().find(|n| n.status.address == address) {
        let detail = format!("node {} has the address {address}", other.meta.name);
        return Err(Rejection::precondition("node-address-unique", format!("node/{node}"), detail));
    }
    let mut draft = Draft::new(world, format!("join node/{node}"), context);
    // For life and never used twice: 52 random bits, so that every JSON reader keeps them whole.
    let member_id = match role {
        NodeRole::Coordinator => (draft.context.draw() >> 12).max(1),
        NodeRole::Hypervisor => 0,
    };
    let mut enrolled = new_node(&mut draft, node, role, address, member_id);
    enrolled.spec.standby = standby && role == NodeRole::Coordinator;
    draft.put(Object::Node(enrolled));
    let mut token = Token::clone(token);
    token.kind = TokenKind::Join { node: only.clone(), spent: Some(wanted) };
    token.meta.updated = draft.context.now;
    draft.put(Object::Token(token));
    Ok(draft.finish_replying(Collection::Nodes, node))
}

fn node_name_taken(node: &Name) -> Rejection {
    let subject = format!("node/{node}");
    Rejection::new(RejectionKind::AlreadyExists, "name-taken", subject, "a node of that name exists")
        .help("choose another name; a dead node's name is free again after pvc node remove")
}
