//! Who may call what: every method of every service, by every kind of caller.

use jiff::Timestamp as Date;
use pvc_coordinator::services::Caller;
use pvc_coordinator::services::authz::{Credentials, Ground, admit};
use pvc_identity::{ApiToken, Identity, PeerIdentity};
use pvc_model::node::NodeRole;
use pvc_model::{Command, Context, Role, Timestamp, World, decide};
use pvc_proto::Method;
use tonic::{Code, Status};

use super::cluster::name;
use super::desk::rule;

const CLUSTER: &str = "c-1";
const NOW: u64 = 1_800_000_000_000;
const RENEW: &str = "/pvc.internal.v1.JoinService/Renew";
const RAFT: &str = "pvc.internal.v1.RaftService";
const HOST: &str = "pvc.internal.v1.HostService";

struct Bench {
    world: World,
    viewer: ApiToken,
    operator: ApiToken,
    admin: ApiToken,
    join: ApiToken,
}

impl Bench {
    /// hv1 is a coordinator, hv2 a hypervisor; a token of each role, and one to join with.
    fn new() -> Bench {
        let mut bench = Bench {
            world: World::default(),
            viewer: ApiToken::generate(),
            operator: ApiToken::generate(),
            admin: ApiToken::generate(),
            join: ApiToken::generate(),
        };
        bench.run(Command::FoundNode { name: name("hv1"), address: "hv1:1".into(), member_id: 1 });
        let tokens =
            [(&bench.viewer, Role::Viewer), (&bench.operator, Role::Operator), (&bench.admin, Role::Admin)];
        for create in tokens.map(|(token, role)| Command::CreateApiToken {
            name: name(role.as_str()),
            role,
            lifetime_seconds: 60,
            description: String::new(),
            secret_hash: token.secret_hash(),
        }) {
            bench.run(create);
        }
        let secret_hash = bench.join.secret_hash();
        bench.run(Command::CreateJoinToken {
            name: name("join"),
            lifetime_seconds: 60,
            node: None,
            secret_hash: secret_hash.clone(),
        });
        bench.run(Command::RedeemJoinToken {
            token: name("join"),
            secret_hash,
            node: name("hv2"),
            role: NodeRole::Hypervisor,
            address: "hv2:1".into(),
            key_hash: "key".into(),
            standby: false,
        });
        bench
    }

    fn run(&mut self, command: Command) {
        let revision = self.world.revision + 1;
        let mut context = Context::new(Timestamp(NOW), "test", [revision, 7]);
        let changes = decide(&self.world, &command, &mut context).expect("accepted");
        self.world.apply(&changes, revision);
    }

    fn admit(&self, path: &str, credentials: &Credentials<'_>) -> Result<Caller, Status> {
        self.admit_at(NOW, path, credentials)
    }

    fn admit_at(&self, now: u64, path: &str, credentials: &Credentials<'_>) -> Result<Caller, Status> {
        admit(Ground { world: &self.world, cluster_id: CLUSTER, now: Timestamp(now) }, path, credentials)
    }
}

fn peer_of(cluster: &str, identity: &str, not_after_ms: u64) -> PeerIdentity {
    PeerIdentity {
        cluster_id: cluster.to_owned(),
        identity: identity.parse::<Identity>().expect("an identity"),
        not_before: Date::UNIX_EPOCH,
        not_after: Date::from_millisecond(not_after_ms as i64).expect("a date"),
        fingerprint: String::new(),
    }
}

fn peer(identity: &str) -> PeerIdentity {
    peer_of(CLUSTER, identity, NOW + 1)
}

fn bearer(token: &ApiToken) -> String {
    format!("Bearer {}", token.expose())
}

/// What a person with this role may call, and everybody who holds a certificate.
fn as_person(role: Role) -> impl Fn(&Method) -> bool {
    move |method| match method.role {
        Role::Viewer => true,
        Role::Operator => role >= Role::Operator,
        Role::Admin => role == Role::Admin,
        Role::Node => method.anonymous,
    }
}

fn as_node(method: &Method) -> bool {
    matches!(method.role, Role::Viewer | Role::Node)
}

fn open_to_holders(method: &Method) -> bool {
    method.anonymous || method.path == RENEW
}

type Rule = Box<dyn Fn(&Method) -> bool>;

struct Kind {
    what: &'static str,
    peer: Option<PeerIdentity>,
    authorization: Option<String>,
    on_behalf_of: Option<&'static str>,
    /// Who it is then, and what it may call.
    identity: &'static str,
    may: Rule,
}

impl Kind {
    fn new(
        what: &'static str,
        peer: Option<PeerIdentity>,
        identity: &'static str,
        may: impl Fn(&Method) -> bool + 'static,
    ) -> Kind {
        Kind { what, peer, authorization: None, on_behalf_of: None, identity, may: Box::new(may) }
    }

    fn showing(self, header: String) -> Kind {
        Kind { authorization: Some(header), ..self }
    }

    fn for_another(self, other: &'static str) -> Kind {
        Kind { on_behalf_of: Some(other), ..self }
    }

    fn credentials(&self) -> Credentials<'_> {
        Credentials {
            peer: self.peer.as_ref(),
            authorization: self.authorization.as_deref(),
            on_behalf_of: self.on_behalf_of,
        }
    }
}

fn kinds(bench: &Bench) -> Vec<Kind> {
    let service = || Some(peer("service/api"));
    let (hv1, hv2) = (|| Some(peer("node/hv1")), || Some(peer("node/hv2")));
    let nothing = |_: &Method| false;
    let for_hosts = |method: &Method| as_node(method) && method.service != RAFT && method.service != HOST;
    // Forwarded Renew calls are known by the identity alone.
    let token = |token: &ApiToken, what, identity, role| {
        Kind::new(what, service(), identity, as_person(role)).showing(bearer(token))
    };
    vec![
        Kind::new("a stranger", None, "anonymous", |method| method.anonymous),
        Kind::new("a program with a token alone", None, "token/operator", |method| {
            as_person(Role::Operator)(method) && method.path != RENEW
        })
        .showing(bearer(&bench.operator)),
        Kind::new("a program with a join token alone", None, "", |method| method.anonymous)
            .showing(bearer(&bench.join)),
        Kind::new("a person", Some(peer("admin/root")), "admin/root", as_person(Role::Admin)),
        Kind::new("a service without a token", service(), "service/api", open_to_holders),
        token(&bench.viewer, "a viewer's token", "token/viewer", Role::Viewer),
        token(&bench.operator, "an operator's token", "token/operator", Role::Operator),
        token(&bench.admin, "an admin's token", "token/admin", Role::Admin),
        Kind::new("a join token", service(), "", |m| m.path == RENEW).showing(bearer(&bench.join)),
        Kind::new("an unknown token", service(), "", |m| m.path == RENEW)
            .showing(bearer(&ApiToken::generate())),
        Kind::new("nonsense", service(), "", |m| m.path == RENEW).showing("Basic abc".into()),
        Kind::new("a coordinator", hv1(), "node/hv1", as_node),
        Kind::new("a hypervisor", hv2(), "node/hv2", for_hosts),
        // What Raft makes of a node that a replica does not know (yet) is `raft_transport`'s to say.
        Kind::new("a removed node", Some(peer("node/hv9")), "node/hv9", |m| m.service == RAFT),
        Kind::new("another cluster's admin", Some(peer_of("c-2", "admin/root", NOW + 1)), "", nothing),
        Kind::new("another cluster's node", Some(peer_of("c-2", "node/hv1", NOW + 1)), "", nothing),
        Kind::new("an ended certificate", Some(peer_of(CLUSTER, "admin/root", NOW)), "", nothing),
        Kind::new("a node's ended certificate", Some(peer_of(CLUSTER, "node/hv1", NOW - 1)), "", nothing),
        Kind::new("for a person", hv1(), "admin/bob", as_person(Role::Admin)).for_another("admin/bob"),
        Kind::new("for a token", hv1(), "token/operator", as_person(Role::Operator))
            .for_another("token/operator"),
        Kind::new("for a hypervisor", hv1(), "node/hv2", as_node).for_another("node/hv2"),
        Kind::new("for a service", hv1(), "service/api", open_to_holders).for_another("service/api"),
        Kind::new("for a stranger", hv1(), "anonymous", open_to_holders).for_another("anonymous"),
        Kind::new("for a removed node", hv1(), "", nothing).for_another("node/hv9"),
        Kind::new("for a revoked token", hv1(), "", nothing).for_another("token/gone"),
        Kind::new("for a join token", hv1(), "", nothing).for_another("token/join"),
        Kind::new("for a made-up kind", hv1(), "", nothing).for_another("root"),
        Kind::new("a hypervisor for another", hv2(), "", nothing).for_another("admin/root"),
        Kind::new("a removed node for another", Some(peer("node/hv9")), "", nothing)
            .for_another("admin/root"),
        Kind::new("a person for another", Some(peer("admin/root")), "", nothing).for_another("admin/bob"),
        Kind::new("a token for another", service(), "", nothing)
            .showing(bearer(&bench.admin))
            .for_another("admin/root"),
    ]
}

#[test]
fn every_method_by_every_kind_of_caller() {
    let bench = Bench::new();
    let mut wrong = Vec::new();
    for kind in kinds(&bench) {
        for method in pvc_proto::methods() {
            let answer = bench.admit(method.path, &kind.credentials());
            let expected = (kind.may)(method);
            match answer {
                Ok(caller) if expected => {
                    let renews = method.path == RENEW && kind.authorization.is_some();
                    let identity = match kind.peer {
                        None if method.anonymous => "anonymous",
                        _ if renews => "service/api",
                        _ => kind.identity,
                    };
                    assert_eq!(caller.identity, identity, "{} at {}", kind.what, method.path);
                }
                Ok(caller) => wrong.push(format!("{} may {} as {}", kind.what, method.path, caller.identity)),
                Err(status) if expected => {
                    wrong.push(format!("{} may not {}: {status}", kind.what, method.path))
                }
                Err(status) => {
                    let known = matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied);
                    assert!(known && !rule(&status).is_empty(), "{} at {}: {status}", kind.what, method.path);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refusals_name_their_rule() {
    let bench = Bench::new();
    let list = "/pvc.v1.VmService/ListVms";
    let create = "/pvc.v1.VmService/CreateVm";
    let refused = |path: &str, kind: &str| {
        let kind = kinds(&bench).into_iter().find(|k| k.what == kind).expect("a kind");
        let status = bench.admit(path, &kind.credentials()).expect_err("refused");
        (status.code(), rule(&status))
    };
    for (path, kind, code, rule) in [
        (list, "a stranger", Code::Unauthenticated, "certificate-needed"),
        (list, "a service without a token", Code::Unauthenticated, "token-needed"),
        (list, "an unknown token", Code::Unauthenticated, "token-valid"),
        (list, "a join token", Code::Unauthenticated, "token-valid"),
        (create, "a viewer's token", Code::PermissionDenied, "role-needed"),
        (create, "a coordinator", Code::PermissionDenied, "role-needed"),
        (list, "a removed node", Code::PermissionDenied, "node-enrolled"),
        (list, "another cluster's admin", Code::PermissionDenied, "same-cluster"),
        (list, "an ended certificate", Code::Unauthenticated, "certificate-valid"),
        (list, "a person for another", Code::PermissionDenied, "on-behalf-of"),
        (list, "a hypervisor for another", Code::PermissionDenied, "on-behalf-of"),
        (list, "for a revoked token", Code::Unauthenticated, "token-valid"),
        ("/pvc.internal.v1.RaftService/Call", "a hypervisor", Code::PermissionDenied, "member-expelled"),
        ("/pvc.v1.VmService/Explode", "a person", Code::Unimplemented, "method-known"),
    ] {
        assert_eq!(refused(path, kind), (code, rule.to_owned()), "{kind} at {path}");
    }
}

#[test]
fn a_token_is_good_until_it_ends_or_is_revoked() {
    let mut bench = Bench::new();
    let list = "/pvc.v1.VmService/ListVms";
    let (own, header) = (peer_of(CLUSTER, "service/api", NOW + 100_000), bearer(&bench.viewer));
    let coordinator = peer_of(CLUSTER, "node/hv1", NOW + 100_000);
    let shown = Credentials { peer: Some(&own), authorization: Some(&header), on_behalf_of: None };
    let forwarded =
        Credentials { peer: Some(&coordinator), authorization: None, on_behalf_of: Some("token/viewer") };
    for credentials in [&shown, &forwarded] {
        assert_eq!(
            bench.admit_at(NOW + 59_999, list, credentials).map(|c| c.role).ok(),
            Some(Some(Role::Viewer))
        );
        let ended = bench.admit_at(NOW + 60_000, list, credentials).expect_err("ended");
        assert_eq!(rule(&ended), "token-valid");
    }
    bench.run(Command::RevokeToken { name: name("viewer") });
    for credentials in [&shown, &forwarded] {
        assert_eq!(rule(&bench.admit(list, credentials).expect_err("revoked")), "token-valid");
    }
}

#[test]
fn health_reflection_and_figures_are_for_viewers() {
    let bench = Bench::new();
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/metrics",
    ] {
        for kind in kinds(&bench) {
            let expected = match kind.what {
                "a stranger" | "for a stranger" | "a service without a token" | "for a service" => false,
                "a removed node" => false,
                _ => !kind.identity.is_empty(),
            };
            assert_eq!(bench.admit(path, &kind.credentials()).is_ok(), expected, "{} at {path}", kind.what);
        }
    }
}
