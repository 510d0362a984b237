//! The public API as HTTP/JSON: routes by the `google.api.http` rules, and services that answer by
//! calling the same service elsewhere. Everything here is generated from the .proto files.
//!
//! No route is written by hand here, and nothing is authorized here: whoever is called decides.

use tonic::client::GrpcService;
use tonic::codegen::{Body, Bytes, StdError};
use tonic::metadata::MetadataMap;

use crate::v1;

/// The OpenAPI 3.1 document of the public API, JSON.
pub const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// The largest message that a forwarding service takes from the service it calls, bytes.
pub const FORWARDED_BYTES_MAX: usize = 64 << 20;

/// Makes the `request_id` of a write that came without one, from the call's metadata.
pub type FillRequestId = fn(&MetadataMap) -> String;

#[allow(clippy::all, clippy::pedantic)]
mod routes {
    mod pvc {
        pub use crate::v1;
    }
    include!(concat!(env!("OUT_DIR"), "/transcoder.rest.rs"));
}

/// The message and the metadata go on; what belongs to the caller's connection does not.
fn carry<M>(request: tonic::Request<M>) -> tonic::Request<M> {
    let (metadata, _, message) = request.into_parts();
    tonic::Request::from_parts(metadata, tonic::Extensions::default(), message)
}

/// A caller's stream that breaks simply ends: the called side sees the end of the input.
fn carry_stream<M>(
    request: tonic::Request<tonic::Streaming<M>>,
) -> tonic::Request<impl tokio_stream::Stream<Item = M>> {
    let (metadata, _, messages) = request.into_parts();
    let messages = tokio_stream::StreamExt::map_while(messages, Result::ok);
    tonic::Request::from_parts(metadata, tonic::Extensions::default(), messages)
}

fn fill_request_id<M>(
    mut request: tonic::Request<M>,
    fill: Option<FillRequestId>,
    field: impl Fn(&mut M) -> &mut String,
) -> tonic::Request<M> {
    if let Some(fill) = fill
        && field(request.get_mut()).is_empty()
    {
        let id = fill(request.metadata());
        *field(request.get_mut()) = id;
    }
    request
}

include!(concat!(env!("OUT_DIR"), "/pvc.v1.forward.rs"));
