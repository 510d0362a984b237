//! One request, one answer.

use std::time::Duration;

use pvc_gateway::Limits;

use crate::fake::{self, Cluster};
use crate::http::{ask, ask_bare};

#[tokio::test]
async fn every_route_of_the_document_answers() {
    let gateway = fake::gateway().await.address;
    let document: serde_json::Value = serde_json::from_str(pvc_proto::rest::OPENAPI).unwrap();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            if path.ends_with("/console") {
                continue;
            }
            let target = path.replace(['{', '}'], "");
            let body = if method == "post" || method == "patch" { "{}" } else { "" };
            let answer =
                ask(gateway, &method.to_uppercase(), &target, "Accept: text/event-stream\r\n", body).await;
            // A watch of the fake ends in a refusal after it has begun.
            assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
            asked += 1;
        }
    }
    assert!(asked > 40, "only {asked} operations in the document");
}

#[tokio::test]
async fn refusals_have_their_codes_and_name_rule_subject_and_help() {
    let cluster = Cluster::new();
    let limits = Limits { answer_timeout: Duration::from_secs(2), ..Limits::default() };
    let gateway = cluster.gateway(&[cluster.coordinator().await], limits).await.address;
    for (name, status, rule) in [
        ("missing", 404, "must-exist"),
        ("stale", 412, "expected-revision"),
        ("raced", 409, "changed-meanwhile"),
        ("running", 409, "vm-must-be-off"),
        ("forbidden", 403, "role"),
        ("revoked", 401, "token-known"),
        ("full", 429, "no-node-fits"),
        ("leaderless", 503, "not-leader"),
    ] {
        let answer = ask(gateway, "GET", &format!("/api/v1/vms/{name}"), "", "").await;
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        for part in [rule, &format!("vm/{name}"), "see `pvc vm list`"] {
            assert!(answer.body.contains(part), "{name}: {part} is not in {}", answer.body);
        }
        assert_eq!(answer.head.contains("retry-after: 1"), status == 429 || status == 503, "{}", answer.head);
    }
}

#[tokio::test]
async fn without_a_token_only_the_open_routes_answer() {
    let gateway = fake::gateway().await.address;
    assert_eq!(ask_bare(gateway, "GET", "/healthz", "", "").await.status, 200);
    assert_eq!(ask_bare(gateway, "GET", "/api/v1/openapi.json", "", "").await.status, 200);
    for target in ["/api/v1/vms", "/api/v1/nodes:watch", "/api/v1/vms/a/console", "/nothing"] {
        let answer = ask_bare(gateway, "GET", target, "", "").await;
        assert_eq!(answer.status, 401, "{target}: {}", answer.body);
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    }
    let odd = ask_bare(gateway, "GET", "/api/v1/vms", "Authorization: Bearer hunter2\r\n", "").await;
    assert_eq!(odd.status, 401);
    assert_eq!(ask(gateway, "GET", "/nothing", "", "").await.status, 404);
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let gateway = fake::gateway().await.address;
    let unknown = ask(gateway, "POST", "/api/v1/vms", "", r#"{"name":"a","spec":{"cpus":2}}"#).await;
    assert_eq!(unknown.status, 400);
    assert!(unknown.body.contains("`cpus`"), "{}", unknown.body);
    assert_eq!(ask(gateway, "POST", "/api/v1/vms", "", "{").await.status, 400);
    assert_eq!(ask(gateway, "GET", "/api/v1/vms?colour=red", "", "").await.status, 400);
    let large = ask(gateway, "POST", "/api/v1/vms", "", &" ".repeat((1 << 20) + 1)).await;
    assert_eq!(large.status, 413, "{}", large.body);
}

#[tokio::test]
async fn a_write_goes_by_the_callers_key_or_by_a_fresh_one() {
    let gateway = fake::gateway().await.address;
    let own = ask(gateway, "POST", "/api/v1/vms/a:start", "Idempotency-Key: k-1\r\n", "").await;
    assert!(own.head.contains("idempotency-key: k-1"), "{}", own.head);
    let fresh = ask(gateway, "POST", "/api/v1/vms/a:start", "", "").await;
    assert!(fresh.head.contains("idempotency-key: 0"), "{}", fresh.head);
    let long = format!("Idempotency-Key: {}\r\n", "k".repeat(65));
    assert_eq!(ask(gateway, "POST", "/api/v1/vms/a:start", &long, "").await.status, 400);
}
