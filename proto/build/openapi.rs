//! Finishes the OpenAPI document that the route generator makes: what the comments of the .proto
//! files say, who may call what, how errors look, and the routes that are written by hand.

use std::error::Error;

use prost_reflect::{
    DescriptorPool, DynamicMessage, MethodDescriptor, ServiceDescriptor, Value as Reflected,
};
use serde_json::{Map, Value, json};

use crate::comments;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// HTTP code and what it means, for every method.
const ERRORS: &[(&str, &str)] = &[
    ("400", "The request can never be right: a value out of range, an unknown field, bad JSON."),
    ("401", "No token, or one that is unknown, expired or revoked."),
    ("403", "The token's role may not call this method."),
    ("404", "There is no such object."),
    ("409", "Not in this state, or the name is taken, or somebody else was faster."),
    ("412", "`expectedRevision` is not the object's revision."),
    ("413", "The request's body is too large."),
    ("429", "A limit or a capacity is reached; `Retry-After` says when to come again."),
    ("500", "A defect: the coordinator's log says more."),
    ("501", "The coordinators are of a version that has no such method."),
    ("503", "No coordinator leads or answers now; `Retry-After` says when to come again."),
    ("504", "A coordinator had to ask a node, which did not answer in time."),
];

pub fn finish(mut document: Value, pool: &DescriptorPool, services: &[ServiceDescriptor]) -> Result<Value> {
    document["info"]["description"] = json!(
        "The HTTP/JSON form of the package pvc.v1, made from the same .proto files as the gRPC form. \
         64-bit integers are JSON strings. Unknown fields are refused. Methods that stream answer as \
         server-sent events or as JSON lines, by the Accept header."
    );
    document["info"]["license"] = json!({"name": "GPL-3.0-only", "identifier": "GPL-3.0-only"});
    document["security"] = json!([{"token": []}]);
    document["tags"] = services.iter().map(tag).collect();
    for service in services {
        for method in service.methods() {
            if let Some(operation) = operation_of(&mut document, method.name()) {
                describe_operation(operation, service, &method, pool)?;
            }
        }
    }
    describe_schemas(&mut document, pool);
    add_components(&mut document);
    add_hand_written(&mut document);
    Ok(document)
}

fn tag(service: &ServiceDescriptor) -> Value {
    let description = comments::of(service.parent_file_descriptor_proto(), service.path())
        .or_else(|| comments::of(service.parent_file_descriptor_proto(), &[2]));
    json!({"name": tag_name(service), "description": description.unwrap_or_default()})
}

fn tag_name(service: &ServiceDescriptor) -> String {
    service.name().trim_end_matches("Service").to_owned()
}

fn operation_of<'a>(document: &'a mut Value, id: &str) -> Option<&'a mut Value> {
    let paths = document["paths"].as_object_mut()?;
    paths
        .values_mut()
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut)
        .find(|operation| operation["operationId"] == id)
}

fn describe_operation(
    operation: &mut Value,
    service: &ServiceDescriptor,
    method: &MethodDescriptor,
    pool: &DescriptorPool,
) -> Result<()> {
    let comment = comments::of(service.parent_file_descriptor_proto(), method.path())
        .ok_or_else(|| format!("{} has no comment", method.full_name()))?;
    operation["summary"] = json!(comments::first_sentence(&comment));
    operation["description"] = json!(comment);
    operation["tags"] = json!([tag_name(service)]);
    operation["x-pvc-role"] = json!(role_of(method, pool)?);

    let responses = operation["responses"].as_object_mut().ok_or("an operation without responses")?;
    responses.remove("default");
    for (code, _) in ERRORS {
        responses.insert((*code).into(), json!({"$ref": format!("#/components/responses/{code}")}));
    }
    if method.is_server_streaming() {
        let message = format!("#/components/schemas/{}", method.output().full_name());
        responses["200"] = json!({
            "description": "One message after the other, as they come.",
            "content": {
                "text/event-stream": {"schema": {"$ref": message}},
                "application/x-ndjson": {"schema": {"$ref": message}},
                "application/json": {"schema": {"type": "array", "items": {"$ref": message}}},
            }
        });
    }
    let input = method.input();
    let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    for parameter in &mut parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        let field = input.get_field_by_name(name).or_else(|| input.get_field_by_json_name(name));
        if let Some(field) = field
            && let Some(comment) = comments::of(input.parent_file_descriptor_proto(), field.path())
        {
            parameter["description"] = json!(comment);
        }
    }
    if input.get_field_by_name("request_id").is_some() {
        parameters.push(json!({"$ref": "#/components/parameters/IdempotencyKey"}));
    }
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    Ok(())
}

fn role_of(method: &MethodDescriptor, pool: &DescriptorPool) -> Result<String> {
    let authz = pool.get_extension_by_name("pvc.v1.authz").ok_or("no authz option")?;
    let options: DynamicMessage = method.options();
    let value = options.get_extension(&authz);
    let number = value
        .as_message()
        .and_then(|message| message.get_field_by_name("role").as_deref().and_then(Reflected::as_enum_number))
        .unwrap_or_default();
    let roles = pool.get_enum_by_name("pvc.v1.Role").ok_or("no Role")?;
    let role = roles.get_value(number).ok_or("a role that is not in Role")?;
    if number == 0 {
        return Err(format!("{} has no role", method.full_name()).into());
    }
    Ok(role.name().trim_start_matches("ROLE_").to_lowercase())
}

fn describe_schemas(document: &mut Value, pool: &DescriptorPool) {
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    for (name, schema) in schemas {
        if let Some(message) = pool.get_message_by_name(name) {
            let file = message.parent_file_descriptor_proto();
            if let Some(comment) = comments::of(file, message.path()) {
                schema["description"] = json!(comment);
            }
            // What the transcoder does: a field that the message does not have is refused.
            schema["additionalProperties"] = json!(false);
            for field in message.fields() {
                if let Some(comment) = comments::of(file, field.path())
                    && let Some(property) = schema["properties"].get_mut(field.json_name())
                {
                    property["description"] = json!(comment);
                }
            }
        } else if let Some(values) = pool.get_enum_by_name(name) {
            let file = values.parent_file_descriptor_proto();
            let mut text = comments::of(file, values.path()).unwrap_or_default();
            for value in values.values() {
                if let Some(comment) = comments::of(file, value.path()) {
                    text.push_str(&format!("\n\n* `{}`: {comment}", value.name()));
                }
            }
            schema["description"] = json!(text.trim());
        }
    }
}

fn add_components(document: &mut Value) {
    let components = &mut document["components"];
    components["securitySchemes"] = json!({"token": {
        "type": "http", "scheme": "bearer", "bearerFormat": "pvct1",
        "description": "An API token, made by `pvc token create`."
    }});
    components["parameters"] = json!({"IdempotencyKey": {
        "name": "Idempotency-Key", "in": "header", "required": false,
        "schema": {"type": "string", "maxLength": 64},
        "description": "Used as `requestId` where the request has none: the same key within ten minutes \
                        is the same write, done once. Without either a fresh one is made."
    }});
    components["schemas"]["google.rpc.Status"] = json!({
        "type": "object",
        "description": "Why a call was refused. `details` holds a google.rpc.ErrorInfo whose `reason` is the \
                        rule's name and whose `metadata` names the subject and a command that helps.",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "integer", "format": "int32", "description": "The gRPC code."},
            "message": {"type": "string"},
            "details": {"type": "array", "items": {
                "type": "object", "required": ["@type"],
                "properties": {
                    "@type": {"type": "string"},
                    "reason": {"type": "string", "description": "The rule's name, stable: \"name-taken\"."},
                    "domain": {"type": "string"},
                    "metadata": {"type": "object", "additionalProperties": {"type": "string"}}
                }
            }}
        }
    });
    components["responses"] = ERRORS
        .iter()
        .map(|(code, description)| {
            let content =
                json!({"application/json": {"schema": {"$ref": "#/components/schemas/google.rpc.Status"}}});
            ((*code).to_owned(), json!({"description": description, "content": content}))
        })
        .collect::<Map<_, _>>()
        .into();
}

/// The routes that have no `google.api.http` rule; the gateway serves each of them by hand.
fn add_hand_written(document: &mut Value) {
    let error = |code: &str| json!({"$ref": format!("#/components/responses/{code}")});
    let paths = &mut document["paths"];
    paths["/api/v1/vms/{name}/console"] = json!({"get": {
        "operationId": "Console",
        "summary": "The serial console of a VM, a WebSocket",
        "description": "Binary messages both ways: what the guest prints, what is typed. The token comes in the \
                        Authorization header or, from a browser, as the WebSocket subprotocol `bearer.<token>`. \
                        The server closes with 1000 when the console ends, else with 1011 and the reason.",
        "tags": ["Vm"],
        "x-pvc-role": "operator",
        "parameters": [{"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}],
        "responses": {
            "101": {"description": "The console is open."},
            "400": error("400"), "401": error("401"), "403": error("403"), "404": error("404"),
            "409": error("409"), "503": error("503"), "504": error("504")
        }
    }});
    paths["/api/v1/openapi.json"] = json!({"get": {
        "operationId": "GetOpenApi", "summary": "This document", "tags": ["Gateway"], "security": [],
        "responses": {"200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}}
    }});
    paths["/healthz"] = json!({"get": {
        "operationId": "GetHealth", "summary": "Whether this process answers", "tags": ["Gateway"], "security": [],
        "responses": {"200": {"description": "It does.", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    }});
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.push(json!({"name": "Gateway", "description": "The gateway itself."}));
    }
}
