//! Tokens: shown once, stored as hashes, revoked at once.

use pvc_identity::{ApiToken, JoinToken};
use pvc_model::token::TokenKind;
use pvc_proto::v1;
use pvc_proto::v1::token_service_server::TokenService;
use tonic::Code;

use super::cluster::name;
use super::desk::{Desk, admin, help, pin, refused, rule};

fn api(token: &str, request_id: &str) -> v1::CreateApiTokenRequest {
    v1::CreateApiTokenRequest {
        name: token.to_owned(),
        role: v1::Role::Operator.into(),
        description: "for tests".into(),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

fn revoke(token: &str) -> v1::RevokeTokenRequest {
    v1::RevokeTokenRequest { name: token.to_owned(), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_shown_once_and_only_its_hash_is_kept() {
    let desk = Desk::open().await;
    let tokens = desk.tokens().await;
    let made = tokens.create_api_token(admin(api("ci", ""))).await.expect("made").into_inner();
    let shown = made.token.expect("a token");
    assert_eq!((shown.kind(), shown.role()), (v1::TokenKind::Api, v1::Role::Operator));
    assert_eq!((shown.created_by.as_str(), shown.secret_hash.as_str()), ("admin/root", ""));
    let secret: ApiToken = made.secret.parse().expect("an API token");
    let stored = tokens.0.core.world().tokens[&name("ci")].clone();
    assert!(secret.matches_hash(&stored.secret_hash));

    let join = v1::CreateJoinTokenRequest { node: "hv9".into(), lifetime_seconds: 600, ..Default::default() };
    let made = tokens.create_join_token(admin(join)).await.expect("made").into_inner();
    let secret: JoinToken = made.secret.parse().expect("a join token");
    let shown = made.token.expect("a token");
    assert_eq!((shown.kind(), shown.node.as_str()), (v1::TokenKind::Join, "hv9"));
    assert_eq!((shown.meta.map(|m| m.name), secret.pin), (Some(secret.id.clone()), pin()));
    let stored = tokens.0.core.world().tokens[&name(&secret.id)].clone();
    assert!(secret.matches_hash(&stored.secret_hash));
    assert!(
        matches!(&stored.kind, TokenKind::Join { node: Some(node), spent: None } if *node == name("hv9"))
    );

    let list = async |kind: v1::TokenKind| {
        let request = v1::ListTokensRequest { kind: kind.into(), ..Default::default() };
        let listed = tokens.list_tokens(admin(request)).await.expect("a list").into_inner().tokens;
        assert!(listed.iter().all(|t| t.secret_hash.is_empty() && t.used_key_hash.is_empty()));
        listed.into_iter().filter_map(|token| Some(token.meta?.name)).collect::<Vec<_>>()
    };
    assert_eq!(list(v1::TokenKind::Api).await, ["ci"]);
    assert_eq!(list(v1::TokenKind::Join).await, [secret.id.as_str()]);
    assert_eq!(list(v1::TokenKind::Unspecified).await.len(), 2);
    tokens.revoke_token(admin(revoke("ci"))).await.expect("revoked");
    assert_eq!(list(v1::TokenKind::Unspecified).await, [secret.id.as_str()]);
    assert_eq!(
        refused(tokens.revoke_token(admin(revoke("ci"))).await),
        (Code::NotFound, "must-exist".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_never_shows_a_secret_that_was_not_stored() {
    let desk = Desk::open().await;
    let tokens = desk.tokens().await;
    tokens.create_api_token(admin(api("ci", "once"))).await.expect("made");
    let again = tokens.create_api_token(admin(api("ci", "once"))).await.expect_err("refused");
    assert_eq!((again.code(), rule(&again).as_str()), (Code::FailedPrecondition, "secret-shown-once"));
    assert!(help(&again).contains("pvc token revoke ci"), "{}", help(&again));

    let join = || v1::CreateJoinTokenRequest { request_id: "join-once".into(), ..Default::default() };
    let first = tokens.create_join_token(admin(join())).await.expect("made").into_inner();
    assert_eq!(refused(tokens.create_join_token(admin(join())).await).1, "secret-shown-once");
    assert_eq!(tokens.0.core.world().tokens.len(), 2, "nothing was made beside them");
    let made = first.token.and_then(|token| token.meta).expect("a token").name;
    tokens.revoke_token(admin(revoke(&made))).await.expect("revoked");
    assert_eq!(refused(tokens.create_join_token(admin(join())).await).1, "secret-shown-once", "gone by now");
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_not_made() {
    let desk = Desk::open().await;
    let tokens = desk.tokens().await;
    tokens.create_api_token(admin(api("ci", ""))).await.expect("made");
    let cases = [
        (api("ci", ""), Code::AlreadyExists, "name-taken"),
        (v1::CreateApiTokenRequest { role: 0, ..api("a", "") }, Code::InvalidArgument, "must-be-set"),
        (
            v1::CreateApiTokenRequest { role: v1::Role::Node.into(), ..api("a", "") },
            Code::InvalidArgument,
            "token-role",
        ),
        (
            v1::CreateApiTokenRequest { lifetime_seconds: 1, ..api("a", "") },
            Code::InvalidArgument,
            "token-lifetime",
        ),
    ];
    for (request, code, rule) in cases {
        let shown = format!("{request:?}");
        assert_eq!(refused(tokens.create_api_token(admin(request)).await), (code, rule.into()), "{shown}");
    }
    let join = v1::CreateJoinTokenRequest { node: "hv1".into(), ..Default::default() };
    let taken = refused(tokens.create_join_token(admin(join)).await);
    assert_eq!(taken, (Code::AlreadyExists, "name-taken".into()), "a node of that name is here");
    assert_eq!(tokens.0.core.world().tokens.len(), 1);
}
