//! What the services are, read from the descriptors: each method's role, who serves it, its HTTP rule and
//! its comment. Authorisation, forwarding, client retries, documentation and the parity test all read this
//! one list; nothing about a method is written down twice.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ServiceDescriptor, Value};
use pvc_model::Role;

use crate::convert::{At, role};
use crate::{DESCRIPTORS, v1};

/// Which coordinator answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServedBy {
    /// Any coordinator, from its own replica.
    Any,
    /// The leader; others forward the call once.
    Leader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpRule {
    /// "GET", "POST", …
    pub verb: &'static str,
    /// "/api/v1/vms/{name}".
    pub path: &'static str,
}

/// One method of one service.
#[derive(Clone, Debug)]
pub struct Method {
    /// "pvc.v1.VmService".
    pub service: &'static str,
    /// "ListVms".
    pub name: &'static str,
    /// "/pvc.v1.VmService/ListVms", as in the URI of a call.
    pub path: &'static str,
    /// The least role that may call it.
    pub role: Role,
    pub served_by: ServedBy,
    /// A caller without a certificate or a token may call it.
    pub anonymous: bool,
    pub client_streaming: bool,
    pub server_streaming: bool,
    /// Part of the public API (package `pvc.v1`).
    pub public: bool,
    pub http: Option<HttpRule>,
    /// Full names of the messages: "pvc.v1.ListVmsRequest".
    pub input: &'static str,
    pub output: &'static str,
    /// The comment above it in the .proto file, lines joined by blanks.
    pub comment: &'static str,
}

static METHODS: LazyLock<Vec<Method>> = LazyLock::new(|| match read() {
    Ok(methods) => methods,
    // The descriptors are part of the program and a test reads them: only a broken build comes here.
    Err(error) => panic!("the descriptors built into this program: {error}"),
});

static BY_PATH: LazyLock<HashMap<&'static str, &'static Method>> =
    LazyLock::new(|| METHODS.iter().map(|m| (m.path, m)).collect());

/// Every method of every service, in the order of the .proto files.
pub fn methods() -> &'static [Method] {
    &METHODS
}

/// The method that a call's URI path names. None: not ours (such as health and reflection).
pub fn method(path: &str) -> Option<&'static Method> {
    BY_PATH.get(path).copied()
}

/// A method whose options do not say all.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    #[error("the descriptor set can't be read")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    #[error("{path} has no option (pvc.v1.authz)")]
    NoAuthz { path: String },
    #[error("{path} has no role in its option (pvc.v1.authz)")]
    NoRole { path: String },
    #[error("{path} does not say who serves it, in its option (pvc.v1.authz)")]
    NoServedBy { path: String },
}

fn read() -> Result<Vec<Method>, MethodError> {
    let pool = DescriptorPool::decode(DESCRIPTORS)?;
    let mut methods = Vec::new();
    for service in pool.services() {
        for method in service.methods() {
            methods.push(read_method(&pool, &service, &method)?);
        }
    }
    Ok(methods)
}

fn read_method(
    pool: &DescriptorPool,
    service: &ServiceDescriptor,
    method: &MethodDescriptor,
) -> Result<Method, MethodError> {
    let path = format!("/{}/{}", service.full_name(), method.name());
    let options = method.options();
    let authz = extension(pool, &options, "pvc.v1.authz")
        .ok_or_else(|| MethodError::NoAuthz { path: path.clone() })?;
    let number = |name: &str| authz.get_field_by_name(name).and_then(|v| v.as_enum_number()).unwrap_or(0);
    let role =
        role(&At::new(&path), number("role")).map_err(|_| MethodError::NoRole { path: path.clone() })?;
    let served_by = match v1::ServedBy::try_from(number("served_by")) {
        Ok(v1::ServedBy::Any) => ServedBy::Any,
        Ok(v1::ServedBy::Leader) => ServedBy::Leader,
        Ok(v1::ServedBy::Unspecified) | Err(_) => return Err(MethodError::NoServedBy { path }),
    };
    Ok(Method {
        service: leak(service.full_name().to_string()),
        name: leak(method.name().to_string()),
        path: leak(path),
        role,
        served_by,
        anonymous: authz.get_field_by_name("anonymous").and_then(|v| v.as_bool()).unwrap_or(false),
        client_streaming: method.is_client_streaming(),
        server_streaming: method.is_server_streaming(),
        public: service.package_name() == "pvc.v1",
        http: extension(pool, &options, "google.api.http").as_ref().and_then(http_rule),
        input: leak(method.input().full_name().to_string()),
        output: leak(method.output().full_name().to_string()),
        comment: leak(comment(method)),
    })
}

fn extension(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    let extension = pool.get_extension_by_name(name)?;
    if !options.has_extension(&extension) {
        return None;
    }
    options.get_extension(&extension).as_message().cloned()
}

fn http_rule(rule: &DynamicMessage) -> Option<HttpRule> {
    let verbs = [("get", "GET"), ("put", "PUT"), ("post", "POST"), ("delete", "DELETE"), ("patch", "PATCH")];
    let set = |field: &str| {
        let present = rule.has_field_by_name(field);
        present.then(|| rule.get_field_by_name(field).as_deref().and_then(Value::as_str).map(str::to_string))
    };
    verbs.iter().find_map(|(field, verb)| {
        let path = set(field).flatten()?;
        Some(HttpRule { verb, path: leak(path) })
    })
}

fn comment(method: &MethodDescriptor) -> String {
    let file = method.parent_file();
    let source = file.file_descriptor_proto().source_code_info.as_ref();
    let location = source.and_then(|info| info.location.iter().find(|l| l.path == method.path()));
    let text = location.and_then(|l| l.leading_comments.as_deref()).unwrap_or("");
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Read once and kept as long as the program runs.
fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_says_all() {
        let methods = read().unwrap();
        for method in &methods {
            let internal = method.path.starts_with("/pvc.internal.v1.");
            assert_ne!(method.public, internal, "{}", method.path);
            assert!(!method.comment.is_empty() || internal, "{} has no comment", method.path);
            assert_eq!(
                method.http.is_some(),
                method.public && !method.client_streaming,
                "{}: public methods have an HTTP rule, but for those that stream both ways",
                method.path
            );
        }
        let services: std::collections::BTreeSet<_> = methods.iter().map(|m| m.service).collect();
        let all = [
            "pvc.internal.v1.AgentService",
            "pvc.internal.v1.HostService",
            "pvc.internal.v1.JoinService",
            "pvc.internal.v1.RaftService",
            "pvc.v1.ClusterService",
            "pvc.v1.EventService",
            "pvc.v1.NetworkService",
            "pvc.v1.NodeService",
            "pvc.v1.RuleService",
            "pvc.v1.TaskService",
            "pvc.v1.TokenService",
            "pvc.v1.VmService",
            "pvc.v1.VolumeService",
        ];
        assert_eq!(services.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn one_method_in_full() {
        let found = method("/pvc.v1.VmService/UpdateVm").unwrap();
        assert_eq!((found.service, found.name), ("pvc.v1.VmService", "UpdateVm"));
        assert_eq!(found.http, Some(HttpRule { verb: "PATCH", path: "/api/v1/vms/{name}" }));
        assert_eq!((found.role, found.served_by), (Role::Operator, ServedBy::Leader));
        assert_eq!((found.input, found.output), ("pvc.v1.UpdateVmRequest", "pvc.v1.Vm"));
        assert!(
            found
                .comment
                .starts_with("Changes a VM's spec. What a running guest can't take at once is applied when")
        );
        assert!(!found.anonymous && !found.client_streaming && !found.server_streaming);
        assert!(method("/grpc.health.v1.Health/Check").is_none());
    }

    #[test]
    fn only_one_method_is_open_to_strangers() {
        let open: Vec<_> = methods().iter().filter(|m| m.anonymous).map(|m| m.path).collect();
        assert_eq!(open, ["/pvc.internal.v1.JoinService/Redeem"]);
    }
}
