//! Every method of the API that has an HTTP rule: JSON in, a call to the coordinators, JSON or a stream out. Which path
//! is which method, and how its fields are read, is generated from the .proto files.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use rest_over_grpc::transcoding::{Transcode as _, TranscodeResponse};
use tonic::metadata::MetadataMap;

use crate::failure::Failure;
use crate::router::{Gateway, IDEMPOTENCY_KEY};
use crate::stream::{self, Framing};
use crate::token;
use crate::upstream::Upstream;

const REQUEST_ID_CHARS_MAX: usize = 64;

type Answer = BoxFuture<'static, Option<TranscodeResponse>>;

/// The generated routes over one upstream.
#[derive(Clone)]
pub struct Routes(Arc<dyn Fn(Call) -> Answer + Send + Sync>);

struct Call {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Routes {
    pub fn new(upstream: Upstream) -> Self {
        let transcoder = pvc_proto::rest::transcoder(upstream, guard, request_id);
        Self(Arc::new(move |call: Call| {
            let transcoder = transcoder.clone();
            Box::pin(async move {
                transcoder.try_transcode(call.method.as_str(), &call.target, call.headers, &call.body).await
            })
        }))
    }
}

/// No call leaves without a token that looks like one, whatever route it came by.
fn guard(metadata: &MetadataMap) -> Result<(), tonic::Status> {
    token::of_headers(metadata.as_ref())
        .map(drop)
        .map_err(|failure| tonic::Status::unauthenticated(failure.message().to_owned()))
}

fn request_id(metadata: &MetadataMap) -> String {
    let given = metadata.get(IDEMPOTENCY_KEY.as_str()).and_then(|value| value.to_str().ok());
    given.unwrap_or_default().to_owned()
}

/// Answers one request.
pub async fn handle(State(gateway): State<Gateway>, request: Request) -> Response {
    match answer(&gateway, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn answer(gateway: &Gateway, request: Request) -> Result<Response, Failure> {
    let token = token::of_headers(request.headers())?;
    let key = idempotency_key(request.headers())?;
    let _permit = gateway
        .requests
        .try_acquire()
        .map_err(|_| Failure::unavailable("requests-under-way", "this gateway has too much to do"))?;

    let (parts, body) = request.into_parts();
    let body = read_body(gateway, body).await?;
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, bearer(&token)?);
    headers.insert(IDEMPOTENCY_KEY, key.clone());
    for accept in parts.headers.get_all(ACCEPT) {
        headers.append(ACCEPT, accept.clone());
    }
    let target = stream::resume_target(&parts.uri, &parts.headers);
    let call = Call { method: parts.method.clone(), target, headers, body };
    let answered = tokio::time::timeout(gateway.limits.answer_timeout, (gateway.routes.0)(call)).await;
    let response = match answered {
        Err(_) => return Err(no_answer(&parts.method)),
        Ok(None) => return Err(Failure::no_route(&parts.method, parts.uri.path())),
        Ok(Some(TranscodeResponse::Unary(response))) => unary(response),
        Ok(Some(TranscodeResponse::Streaming(response))) => {
            let permit = Arc::clone(&gateway.streams).try_acquire_owned();
            let permit = permit
                .map_err(|_| Failure::unavailable("streams-open", "this gateway has too many streams"))?;
            let (content_type, _, frames) = response.into_parts();
            let framing = Framing::of(&content_type);
            let frames = stream::decorate(
                frames,
                framing,
                gateway.limits.keep_alive,
                gateway.shutdown.clone(),
                permit,
            );
            let mut response = Response::new(Body::from_stream(frames));
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            // Reverse proxies must not collect events.
            response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
            response
        }
    };
    Ok(with_key(response, &parts.method, key))
}

/// A change goes by its request id; the caller learns it, to ask again with the same.
fn with_key(mut response: Response, method: &Method, key: HeaderValue) -> Response {
    if method != Method::GET {
        response.headers_mut().insert(IDEMPOTENCY_KEY, key);
    }
    response
}

fn unary(response: rest_over_grpc::transcoding::HttpResponse) -> Response {
    let response: http::Response<Vec<u8>> = response.into();
    if response.status() == StatusCode::OK {
        ([(CONTENT_TYPE, "application/json")], response.into_body()).into_response()
    } else {
        Failure::of_transcoded(response.body()).into_response()
    }
}

fn no_answer(method: &Method) -> Failure {
    let message = if method == Method::GET {
        "no coordinator answered in time"
    } else {
        "no coordinator answered in time, and whether the change was made is unknown; \
         the same Idempotency-Key may be sent again"
    };
    Failure::unavailable("answer-in-time", message)
}

async fn read_body(gateway: &Gateway, body: Body) -> Result<Bytes, Failure> {
    let limit = gateway.limits.body_bytes;
    let collected =
        tokio::time::timeout(gateway.limits.body_timeout, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Failure::too_large(limit)),
        Ok(Err(_)) => Err(Failure::invalid("body-complete", "the request's body ended early")),
        Err(_) => Err(Failure::invalid("body-in-time", "the request's body took too long to arrive")),
    }
}

/// The caller's key, or a fresh one.
fn idempotency_key(headers: &HeaderMap) -> Result<HeaderValue, Failure> {
    let Some(given) = headers.get(IDEMPOTENCY_KEY) else {
        let fresh = uuid::Uuid::now_v7().to_string();
        return Ok(HeaderValue::try_from(fresh).expect("a UUID is visible ASCII"));
    };
    let length = given.to_str().map_or(0, str::len);
    if (1..=REQUEST_ID_CHARS_MAX).contains(&length) {
        Ok(given.clone())
    } else {
        let message = format!("an Idempotency-Key is 1 to {REQUEST_ID_CHARS_MAX} visible ASCII characters");
        Err(Failure::invalid("request-id-form", message))
    }
}

/// The metadata that carries a token to the coordinators.
pub fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| Failure::unauthenticated("the token is not visible ASCII"))?;
    value.set_sensitive(true);
    Ok(value)
}
