//! The one place where a refusal becomes an HTTP answer: which code, which headers, which JSON.
//!
//! The body is `google.rpc.Status` in JSON. `details` holds what the coordinators attached: a `google.rpc.ErrorInfo`
//! whose `reason` is the rule, and whose metadata names the subject and a command that helps.

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::{ErrorDetail, ErrorDetails, StatusExt as _};

/// The rule (in `pvc-model`) behind a failed `expected_revision`; the one refusal that HTTP calls 412.
const RULE_EXPECTED_REVISION: &str = "expected-revision";
/// Seconds after which a caller may come again where the coordinators did not say.
const RETRY_AFTER_SECONDS: u64 = 1;
/// The domain of every `ErrorInfo` of ours.
pub(crate) const DOMAIN: &str = "pvc";

/// Why a request was refused.
#[derive(Debug, Clone)]
pub struct Failure {
    code: Code,
    http: StatusCode,
    message: String,
    details: Vec<Value>,
    retry_after_seconds: Option<u64>,
}

impl Failure {
    /// A refusal of the gateway's own.
    pub fn new(code: Code, rule: &str, message: impl Into<String>, help: &str) -> Self {
        let metadata = if help.is_empty() { vec![] } else { vec![("help".to_owned(), help.to_owned())] };
        let details = ErrorDetails::with_error_info(
            rule,
            DOMAIN,
            metadata.into_iter().collect::<std::collections::HashMap<_, _>>(),
        );
        Self::of(&tonic::Status::with_error_details(code, message, details))
    }

    pub fn unauthenticated(message: impl Into<String>) -> Self {
        let help = "make one with `pvc token create NAME --role ROLE` and send it as `Authorization: Bearer <token>`";
        Self::new(Code::Unauthenticated, "token-required", message, help)
    }

    pub fn invalid(rule: &str, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, rule, message, "see /api/v1/openapi.json")
    }

    /// Nobody could answer now.
    pub fn unavailable(rule: &str, message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, rule, message, "try again")
    }

    pub fn too_large(limit_bytes: usize) -> Self {
        let message = format!("the request's body is larger than {limit_bytes} bytes");
        let mut failure = Self::new(Code::InvalidArgument, "body-size", message, "");
        failure.http = StatusCode::PAYLOAD_TOO_LARGE;
        failure
    }

    pub fn no_route(method: &http::Method, path: &str) -> Self {
        let message = format!("there is nothing at {method} {path}");
        Self::new(Code::NotFound, "must-be-a-route", message, "see /api/v1/openapi.json")
    }

    /// What a coordinator answered.
    pub fn of(status: &tonic::Status) -> Self {
        let details = status.get_error_details_vec();
        let rule = details.iter().find_map(|detail| match detail {
            ErrorDetail::ErrorInfo(info) => Some(info.reason.as_str()),
            _ => None,
        });
        let wait = details.iter().find_map(|detail| match detail {
            ErrorDetail::RetryInfo(info) => info.retry_delay,
            _ => None,
        });
        let http = http_status(status.code(), rule);
        let waits = matches!(http, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        Self {
            code: status.code(),
            http,
            message: status.message().to_owned(),
            retry_after_seconds: waits
                .then(|| wait.map_or(RETRY_AFTER_SECONDS, |delay| delay.as_secs().max(RETRY_AFTER_SECONDS))),
            details: details.into_iter().filter_map(detail_json).collect(),
        }
    }

    /// What the transcoder made of a refusal: its JSON carries the code, the message and the encoded details.
    pub fn of_transcoded(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let code = body["code"].as_i64().map_or(Code::Unknown, |code| Code::from(code as i32));
        let message = body["message"].as_str().unwrap_or_default();
        Self::of_parts(code, message, body["details"].as_array().map_or(&[], Vec::as_slice))
    }

    /// Like [`Failure::of_transcoded`], of the transcoder's own form of a status.
    pub fn of_rest(status: &rest_over_grpc::handling::Status) -> Self {
        Self::of_parts(Code::from(status.code().as_i32()), status.message(), status.details())
    }

    fn of_parts(code: Code, message: &str, details: &[Value]) -> Self {
        let encoded = details
            .iter()
            .find(|detail| detail["kind"] == "grpc-status-details-bin")
            .and_then(|detail| detail["value"].as_str())
            .and_then(|value| STANDARD.decode(value).ok());
        match encoded {
            Some(encoded) => Self::of(&tonic::Status::with_details(code, message, encoded.into())),
            // Refused before any coordinator saw it.
            None if code == Code::InvalidArgument => Self::invalid("request-form", message),
            None => Self::of(&tonic::Status::new(code, message)),
        }
    }

    pub fn http(&self) -> StatusCode {
        self.http
    }

    /// The body: `google.rpc.Status` in JSON.
    pub fn json(&self) -> Value {
        json!({"code": self.code as i32, "message": self.message, "details": self.details})
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.http == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pvc\""));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        (self.http, headers, self.json().to_string()).into_response()
    }
}

fn http_status(code: Code, rule: Option<&str>) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Aborted | Code::FailedPrecondition if rule == Some(RULE_EXPECTED_REVISION) => {
            StatusCode::PRECONDITION_FAILED
        }
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// One detail as proto3 JSON with its `@type`. What is meant for developers of PVC (stack traces) stays inside.
fn detail_json(detail: ErrorDetail) -> Option<Value> {
    let typed = |name: &str, mut value: Value| {
        value["@type"] = json!(format!("type.googleapis.com/google.rpc.{name}"));
        Some(value)
    };
    match detail {
        ErrorDetail::ErrorInfo(info) => typed(
            "ErrorInfo",
            json!({"reason": info.reason, "domain": info.domain,
                   "metadata": info.metadata.into_iter().collect::<std::collections::BTreeMap<_, _>>()}),
        ),
        ErrorDetail::RetryInfo(info) => {
            let delay = info.retry_delay.unwrap_or_default().as_secs_f64();
            typed("RetryInfo", json!({"retryDelay": format!("{delay}s")}))
        }
        ErrorDetail::Help(help) => {
            let links =
                help.links.into_iter().map(|link| json!({"description": link.description, "url": link.url}));
            typed("Help", json!({"links": links.collect::<Vec<_>>()}))
        }
        ErrorDetail::BadRequest(bad) => {
            let violations = bad
                .field_violations
                .into_iter()
                .map(|v| json!({"field": v.field, "description": v.description}));
            typed("BadRequest", json!({"fieldViolations": violations.collect::<Vec<_>>()}))
        }
        ErrorDetail::PreconditionFailure(failure) => {
            let violations = failure
                .violations
                .into_iter()
                .map(|v| json!({"type": v.r#type, "subject": v.subject, "description": v.description}));
            typed("PreconditionFailure", json!({"violations": violations.collect::<Vec<_>>()}))
        }
        ErrorDetail::QuotaFailure(failure) => {
            let violations = failure
                .violations
                .into_iter()
                .map(|v| json!({"subject": v.subject, "description": v.description}));
            typed("QuotaFailure", json!({"violations": violations.collect::<Vec<_>>()}))
        }
        ErrorDetail::ResourceInfo(info) => typed(
            "ResourceInfo",
            json!({"resourceType": info.resource_type, "resourceName": info.resource_name,
                   "owner": info.owner, "description": info.description}),
        ),
        ErrorDetail::RequestInfo(info) => {
            typed("RequestInfo", json!({"requestId": info.request_id, "servingData": info.serving_data}))
        }
        ErrorDetail::LocalizedMessage(text) => {
            typed("LocalizedMessage", json!({"locale": text.locale, "message": text.message}))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;

    fn refused(code: Code, rule: &str) -> Failure {
        let metadata = HashMap::from([("subject".to_owned(), "vm/web1".to_owned())]);
        Failure::of(&tonic::Status::with_error_details(
            code,
            "no",
            ErrorDetails::with_error_info(rule, "pvc", metadata),
        ))
    }

    #[test]
    fn codes() {
        for (code, rule, http) in [
            (Code::InvalidArgument, "name-form", 400),
            (Code::Unauthenticated, "token-known", 401),
            (Code::PermissionDenied, "role", 403),
            (Code::NotFound, "must-exist", 404),
            (Code::AlreadyExists, "name-taken", 409),
            (Code::Aborted, "changed-meanwhile", 409),
            (Code::FailedPrecondition, "vm-must-be-off", 409),
            (Code::FailedPrecondition, "expected-revision", 412),
            (Code::Aborted, "expected-revision", 412),
            (Code::ResourceExhausted, "no-node-fits", 429),
            (Code::Unimplemented, "", 501),
            (Code::Unavailable, "no-leader", 503),
            (Code::DeadlineExceeded, "", 504),
            (Code::Internal, "", 500),
        ] {
            assert_eq!(refused(code, rule).http().as_u16(), http, "{code:?} {rule}");
        }
    }

    #[test]
    fn details_are_shown() {
        let json = refused(Code::NotFound, "must-exist").json();
        assert_eq!(json["code"], 5);
        assert_eq!(json["details"][0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
        assert_eq!(json["details"][0]["reason"], "must-exist");
        assert_eq!(json["details"][0]["metadata"]["subject"], "vm/web1");
    }

    #[test]
    fn says_when_to_come_again() {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(Duration::from_secs(7)));
        let response =
            Failure::of(&tonic::Status::with_error_details(Code::Unavailable, "no leader", details))
                .into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "7");
        let response = Failure::unauthenticated("there is no token").into_response();
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
        assert!(!response.headers().contains_key(RETRY_AFTER));
    }
}
