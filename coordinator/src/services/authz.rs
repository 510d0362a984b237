//! Who calls and whether they may: decided here for every call, before anything else looks at it.
//!
//! The certificate says who; the world says what that is worth: nodes must exist as objects (a removed
//! node's certificate is worth nothing), a service shows an API token and has the token's role, as does a program
//! without a certificate; a person's certificate is an admin's. What a method asks for stands in its descriptor.

use pvc_identity::{ApiToken, Identity, PeerIdentity};
use pvc_model::node::NodeRole;
use pvc_model::token::TokenKind;
use pvc_model::{Name, Node, Role, Timestamp, World};
use pvc_proto::Method;
use tonic::Status;
use tonic_types::StatusExt;

use super::caller::Caller;
use crate::raft_transport::EXPELLED;
use crate::status;

/// What a forwarding coordinator says of its caller. Believed of coordinators only.
pub const ON_BEHALF_OF: &str = "pvc-on-behalf-of";
/// Set on a forwarded call, to the forwarding node: it is not forwarded again.
pub const FORWARDED_BY: &str = "pvc-forwarded-by";

const RAFT_SERVICE: &str = "pvc.internal.v1.RaftService";
const HOST_SERVICE: &str = "pvc.internal.v1.HostService";
const RENEW: &str = "/pvc.internal.v1.JoinService/Renew";

/// What a call shows of its caller.
#[derive(Clone, Debug, Default)]
pub struct Credentials<'a> {
    pub peer: Option<&'a PeerIdentity>,
    /// The `authorization` header.
    pub authorization: Option<&'a str>,
    /// The `pvc-on-behalf-of` header.
    pub on_behalf_of: Option<&'a str>,
}

/// What the decision rests on besides the call.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    pub world: &'a World,
    pub cluster_id: &'a str,
    pub now: Timestamp,
}

/// The caller of `path`, if it may call it.
pub fn admit(ground: Ground<'_>, path: &str, credentials: &Credentials<'_>) -> Result<Caller, Status> {
    let method = pvc_proto::method(path);
    let Some(needed) = method.map(|m| m.role).or_else(|| open_paths(path)) else {
        return Err(status::of(
            tonic::Code::Unimplemented,
            "method-known",
            path,
            "there is no such method",
            "client and cluster may be of different versions",
            None,
        ));
    };
    let caller = match credentials.peer {
        Some(peer) => identify(ground, method, path, peer, credentials)?,
        None if method.is_some_and(|m| m.anonymous) => return Ok(Caller::anonymous()),
        None => bearer(ground, path, credentials)?,
    };
    if path == RENEW || method.is_some_and(|m| m.anonymous) {
        return Ok(caller);
    }
    match caller.role {
        Some(role) if role.may(needed) => Ok(caller),
        Some(role) => {
            let short = path.rsplit('/').next().unwrap_or(path);
            let detail = format!("{short} needs the role {}; it has {}", needed.as_str(), role.as_str());
            let help = match needed {
                Role::Node => "only a node's own daemon may call it",
                Role::Viewer | Role::Operator | Role::Admin => {
                    "ask an admin: pvc token create NAME --role ROLE"
                }
            };
            Err(status::denied("role-needed", &caller.identity, &detail, help))
        }
        None => Err(status::unauthenticated(
            "token-needed",
            &caller.identity,
            "a service may do nothing without an API token",
            "send `authorization: Bearer pvct1…`; make one with: pvc token create NAME --role ROLE",
        )),
    }
}

/// Whether a refusal of [`admit`] is the world's word: a newer world may say otherwise.
pub fn depends_on_world(refusal: &Status) -> bool {
    let rule = refusal.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    matches!(
        rule.as_str(),
        "node-enrolled" | "coordinator-needed" | "on-behalf-of" | "token-valid" | EXPELLED
    )
}

/// A caller without a certificate: a program that knows the cluster by its CA and shows an API token.
fn bearer(ground: Ground<'_>, path: &str, credentials: &Credentials<'_>) -> Result<Caller, Status> {
    match (credentials.authorization, credentials.on_behalf_of) {
        // A certificate is renewed by its holder.
        (Some(header), None) if path != RENEW => token(ground, header),
        (_, Some(_)) => Err(not_for_others("anonymous")),
        (Some(_) | None, None) => Err(status::unauthenticated(
            "certificate-needed",
            path,
            "the caller showed neither a certificate nor an API token",
            "use a connection made by `pvc-bootstrap`, or one with a client certificate or a token",
        )),
    }
}

/// Paths that are not ours: health, reflection and metrics are for viewers.
fn open_paths(path: &str) -> Option<Role> {
    let known = path.starts_with("/grpc.health.v1.Health/")
        || path.starts_with("/grpc.reflection.v1.ServerReflection/")
        || path.starts_with("/grpc.reflection.v1alpha.ServerReflection/")
        || path == "/metrics";
    known.then_some(Role::Viewer)
}

fn identify(
    ground: Ground<'_>,
    method: Option<&Method>,
    path: &str,
    peer: &PeerIdentity,
    credentials: &Credentials<'_>,
) -> Result<Caller, Status> {
    let shown = peer.identity.to_string();
    if peer.cluster_id != ground.cluster_id {
        let detail =
            format!("its certificate is of cluster {}, this is {}", peer.cluster_id, ground.cluster_id);
        return Err(status::denied("same-cluster", &shown, &detail, "use this cluster's certificate"));
    }
    if u64::try_from(peer.not_after.as_millisecond()).unwrap_or(0) <= ground.now.0 {
        let help = "a node renews by itself while it runs; after that it joins anew";
        return Err(status::unauthenticated("certificate-valid", &shown, "its certificate has ended", help));
    }
    let service = method.map(|m| m.service);
    let caller = match &peer.identity {
        Identity::Node(name) => return node(ground, service, name, credentials.on_behalf_of),
        Identity::Admin(_) => Caller { identity: shown, role: Some(Role::Admin) },
        Identity::Service(_) => match credentials.authorization {
            Some(_) if path == RENEW => Caller { identity: shown, role: None },
            Some(header) => token(ground, header)?,
            None => Caller { identity: shown, role: None },
        },
    };
    match credentials.on_behalf_of {
        None => Ok(caller),
        Some(_) => Err(not_for_others(&caller.identity)),
    }
}

fn not_for_others(identity: &str) -> Status {
    let detail = "only coordinators call on behalf of others";
    status::denied("on-behalf-of", identity, detail, "")
}

fn node(
    ground: Ground<'_>,
    service: Option<&str>,
    name: &str,
    on_behalf_of: Option<&str>,
) -> Result<Caller, Status> {
    let caller = Caller { identity: format!("node/{name}"), role: Some(Role::Node) };
    let object = find_node(ground.world, name);
    if service == Some(RAFT_SERVICE) && object.is_none() && on_behalf_of.is_none() {
        // A replica that lags, or has nothing yet, learns of new members only by these very calls.
        // `raft_transport` refuses those that are known to have been removed.
        return Ok(caller);
    }
    let Some(object) = object else {
        let help = "a node that was removed joins anew: pvc token join";
        return Err(status::denied("node-enrolled", &caller.identity, "the cluster has no such node", help));
    };
    let votes = object.spec.role == NodeRole::Coordinator;
    if matches!(service, Some(RAFT_SERVICE | HOST_SERVICE)) && !votes {
        let detail = "only coordinators may call it, and this node is none";
        // Who speaks of Raft was a coordinator once, and learns here that it is none any more.
        let rule = if service == Some(RAFT_SERVICE) { EXPELLED } else { "coordinator-needed" };
        return Err(status::denied(rule, &caller.identity, detail, ""));
    }
    match on_behalf_of {
        None => Ok(caller),
        Some(_) if !votes => Err(not_for_others(&caller.identity)),
        Some(other) => on_behalf(ground, other),
    }
}

fn find_node<'a>(world: &'a World, name: &str) -> Option<&'a Node> {
    world.nodes.get(&name.parse::<Name>().ok()?).map(|node| &**node)
}

/// The caller that a coordinator has identified: its role is found here anew.
fn on_behalf(ground: Ground<'_>, identity: &str) -> Result<Caller, Status> {
    let role = match identity.split_once('/') {
        Some(("admin", _)) => Some(Role::Admin),
        Some(("node", name)) if find_node(ground.world, name).is_some() => Some(Role::Node),
        Some(("token", name)) => Some(token_role(ground, name, identity)?),
        Some(("service", _)) => None,
        None if identity == "anonymous" => None,
        Some(_) | None => {
            return Err(status::denied("on-behalf-of", identity, "it is nobody that the cluster knows", ""));
        }
    };
    Ok(Caller { identity: identity.to_owned(), role })
}

fn token_role(ground: Ground<'_>, name: &str, identity: &str) -> Result<Role, Status> {
    let found = name.parse::<Name>().ok().and_then(|name| ground.world.tokens.get(&name));
    match found.map(|token| (&token.kind, token.expires)) {
        Some((TokenKind::Api { role }, expires)) if ground.now < expires => Ok(*role),
        _ => Err(refuse_token(identity, "it has been revoked or has expired")),
    }
}

fn refuse_token(subject: &str, detail: &str) -> Status {
    status::unauthenticated(
        "token-valid",
        subject,
        detail,
        "make one with: pvc token create NAME --role ROLE",
    )
}

fn token(ground: Ground<'_>, header: &str) -> Result<Caller, Status> {
    let Some(text) = header.strip_prefix("Bearer ") else {
        return Err(refuse_token("authorization", "it must be `Bearer pvct1…`"));
    };
    let shown: ApiToken = text.parse().map_err(|_| refuse_token("authorization", "this is no API token"))?;
    let known = ground.world.tokens.values().find(|t| shown.matches_hash(&t.secret_hash));
    let Some(known) = known else {
        return Err(refuse_token("authorization", "this API token is not known, or was revoked"));
    };
    let identity = format!("token/{}", known.meta.name);
    match known.kind {
        TokenKind::Api { .. } if ground.now >= known.expires => {
            Err(refuse_token(&identity, "this API token has expired"))
        }
        TokenKind::Api { role } => Ok(Caller { identity, role: Some(role) }),
        TokenKind::Join { .. } => Err(refuse_token(&identity, "this is a join token")),
    }
}
