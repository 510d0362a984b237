//! The OpenAPI document against what the gateway does, and against itself: generators of clients take it at its word.

use std::collections::BTreeSet;

use pvc_gateway::failure::Failure;
use pvc_gateway::router::HAND_WRITTEN;
use serde_json::Value;
use tonic::{Code, Status};

const PATH: &str = "/api/v1/openapi.json";
const STATUS: &str = "#/components/schemas/google.rpc.Status";

fn document() -> Value {
    serde_json::from_str(pvc_proto::rest::OPENAPI).unwrap()
}

/// (path, HTTP method, operation)
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (&**path, &**method, operation))
    })
}

/// Follows a `$ref`, if it is one.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    let pointer = reference.strip_prefix('#').expect("references stay within the document");
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn is_served_at_a_fixed_path_as_3_1() {
    let gateway = crate::fake::gateway().await.address;
    let answer = crate::http::ask_bare(gateway, "GET", PATH, "", "").await;
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    let served: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(served, document());
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1."), "{}", served["openapi"]);
    for field in ["title", "version", "description"] {
        assert!(served["info"][field].is_string(), "info.{field}");
    }
}

#[test]
fn every_operation_is_whole() {
    let document = document();
    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{at} has no operationId"));
        assert!(ids.insert(id), "{id} is there twice");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{at} has no summary");
        for tag in operation["tags"].as_array().unwrap() {
            assert!(tags.contains(tag.as_str().unwrap()), "{at}: {tag} is not described");
        }
        // What stands in the path is a parameter, and the other way round.
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let declared: BTreeSet<_> = parameters
            .iter()
            .map(|parameter| resolved(&document, parameter))
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        let named: BTreeSet<_> = path
            .split('{')
            .skip(1)
            .map(|rest| rest.split_once('}').unwrap().0.split('=').next().unwrap().to_owned())
            .collect();
        assert_eq!(declared, named, "{at}");
    }
    let mut all = Vec::new();
    references(&document, &mut all);
    assert!(all.len() > 100);
    for reference in all {
        resolved(&document, &serde_json::json!({"$ref": reference}));
    }
}

#[test]
fn every_operation_tells_its_errors_and_asks_for_a_token() {
    let document = document();
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    assert_eq!(document["security"], serde_json::json!([{"token": []}]));
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|code| code == "200" || code == "101"), "{at} never succeeds");
        if operation.get("security").is_some() {
            assert_eq!(operation["security"], serde_json::json!([]), "{at}");
            assert!(["/healthz", PATH].contains(&path), "{at} is open");
            continue;
        }
        for code in ["400", "401", "403", "404", "503"] {
            assert!(responses.contains_key(code), "{at} does not tell of {code}");
        }
        for (code, response) in responses.iter().filter(|(code, _)| !["101", "200"].contains(&code.as_str()))
        {
            let schema = &resolved(&document, response)["content"]["application/json"]["schema"];
            assert_eq!(schema["$ref"], STATUS, "{at}: {code}");
        }
    }
}

#[test]
fn every_method_is_there_and_its_streams_are_told() {
    let document = document();
    for method in pvc_proto::methods().iter().filter(|method| method.public) {
        let short = method.service.rsplit('.').next().unwrap();
        let full = format!("{}.{}", method.service, method.name);
        let by_hand = HAND_WRITTEN.iter().any(|(_, served)| *served == Some(full.as_str()));
        assert!(by_hand || method.http.is_some(), "{short}.{} is not served", method.name);
        let (_, _, operation) = operations(&document)
            .find(|(_, _, operation)| operation["operationId"] == method.name)
            .unwrap_or_else(|| panic!("{full} is not in the document"));
        let streams = operation["responses"]["200"]["content"].get("text/event-stream").is_some();
        assert_eq!(streams, method.server_streaming && !by_hand, "{full}");
    }
}

/// `failure.rs` is where codes are decided; the document and the handbook only tell them.
#[test]
fn every_code_is_in_the_document_and_in_the_handbook() {
    let mut decided: BTreeSet<String> = (1..=16)
        .map(|code| Failure::of(&Status::new(Code::from(code), "no")).http().as_str().to_owned())
        .collect();
    decided.insert(Failure::too_large(1).http().as_str().to_owned());
    // By its rule, not by its code.
    decided.insert("412".to_owned());

    let document = document();
    let told: BTreeSet<_> =
        document["components"]["responses"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(told, decided);

    let handbook = include_str!("../../../docs/http-api.md");
    let rows = handbook.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let codes: BTreeSet<_> = rows
        .flat_map(|(codes, _)| codes.split(", ").map(str::to_owned).collect::<Vec<_>>())
        .filter(|code| code.parse::<u16>().is_ok())
        .collect();
    assert_eq!(codes, decided);
}
