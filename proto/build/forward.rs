//! Writes, for each public service, a struct that implements the service by calling the same
//! service elsewhere, and one function that puts all of them behind the HTTP routes.

use std::fmt::Write;

use prost_reflect::{MethodDescriptor, ServiceDescriptor};

/// `order` is the order in which the generated `Transcoder` wants its services.
pub fn render(services: &[ServiceDescriptor], order: &[String]) -> String {
    let mut text = String::new();
    for service in services {
        render_service(&mut text, service);
    }
    render_transcoder(&mut text, order);
    text
}

fn render_service(text: &mut String, service: &ServiceDescriptor) {
    let name = service.name();
    let module = snake(name);
    let mut put = |line: String| writeln!(text, "{line}").expect("writing to a String");
    put(format!("/// `{name}` by calling a `{name}` elsewhere, over any channel."));
    put("#[derive(Clone, Debug)]".into());
    put(format!("pub struct Forward{name}<T> {{ channel: T, fill: Option<FillRequestId> }}"));
    put(format!("impl<T> Forward{name}<T> {{"));
    put("    /// Calls go over `channel` as they come.".into());
    put("    pub fn new(channel: T) -> Self { Self { channel, fill: None } }".into());
    put("    /// Writes without a `request_id` get one from `fill`.".into());
    put("    #[must_use]".into());
    put(
        "    pub fn fill_request_ids(mut self, fill: FillRequestId) -> Self { self.fill = Some(fill); self }"
            .into(),
    );
    put("}".into());
    put("#[tonic::async_trait]".into());
    put(format!("impl<T> v1::{module}_server::{name} for Forward{name}<T>"));
    put("where".into());
    put("    T: GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,".into());
    put("    T::Future: Send,".into());
    put("    T::ResponseBody: Body<Data = Bytes> + Send + 'static,".into());
    put("    <T::ResponseBody as Body>::Error: Into<StdError> + Send,".into());
    put("{".into());
    for method in service.methods() {
        put(render_method(&method, &module, name));
    }
    put("}".into());
}

fn render_method(method: &MethodDescriptor, module: &str, service: &str) -> String {
    let rust = snake(method.name());
    let input = format!("v1::{}", method.input().name());
    let output = format!("v1::{}", method.output().name());
    let client = format!(
        "v1::{module}_client::{service}Client::new(self.channel.clone()).max_decoding_message_size(FORWARDED_BYTES_MAX)"
    );
    let (request, carried) = if method.is_client_streaming() {
        (format!("tonic::Streaming<{input}>"), "carry_stream(request)")
    } else if method.input().get_field_by_name("request_id").is_some() {
        (input, "carry(fill_request_id(request, self.fill, |message| &mut message.request_id))")
    } else {
        (input, "carry(request)")
    };
    let (stream, answer) = if method.is_server_streaming() {
        let name = method.name();
        (format!("    type {name}Stream = tonic::Streaming<{output}>;\n"), format!("Self::{name}Stream"))
    } else {
        (String::new(), output)
    };
    format!(
        "{stream}    async fn {rust}(&self, request: tonic::Request<{request}>) -> Result<tonic::Response<{answer}>, tonic::Status> {{\n        {client}.{rust}({carried}).await\n    }}"
    )
}

fn render_transcoder(text: &mut String, order: &[String]) {
    let mut arguments = String::new();
    for name in order {
        write!(
            arguments,
            "\n        v1::__rest_over_grpc_bridge_{name}::{name}RestBridge::with_guard(Forward{name}::new(channel.clone()).fill_request_ids(fill), guard),"
        )
        .expect("writing to a String");
    }
    write!(
        text,
        "/// The HTTP routes of every public service, answered by calls over `channel`. `guard` sees each
/// call's metadata first; `fill` gives an id to a write that has none.
pub fn transcoder<T, G>(channel: T, guard: G, fill: FillRequestId) -> impl ::rest_over_grpc::transcoding::Transcode + Clone
where
    T: GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,
    T::Future: Send,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
    G: Fn(&tonic::metadata::MetadataMap) -> Result<(), tonic::Status> + Copy + Send + Sync + 'static,
{{
    routes::Transcoder::new({arguments}
    )
}}
"
    )
    .expect("writing to a String");
}

/// `ListVms` → `list_vms`. The names of our methods hold no digits and no acronyms.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}
