//! The names that certificates carry: `pvc://<cluster-id>/node/<name>`, `/admin/<user>`, `/service/<name>`.
//! Parsed once at the edge; nothing else in PVC takes such a URI apart.

use std::fmt;
use std::str::FromStr;

const SCHEME: &str = "pvc://";
/// Longest name and longest cluster id, in bytes (RFC 1123's label length).
const NAME_BYTES_MAX: usize = 63;

/// Who somebody is within its cluster. Prints and parses as `node/hv1`, `admin/alice`, `service/api`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A host running `pvcd`.
    Node(String),
    /// A person.
    Admin(String),
    /// A program that is no node, such as the HTTP gateway.
    Service(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error(
        "\"{0}\" is not an identity: expected pvc://<cluster-id>/node/<name>, \
         pvc://<cluster-id>/admin/<user> or pvc://<cluster-id>/service/<name>"
    )]
    NotAnIdentity(String),
    #[error(
        "\"{0}\" is not a name for an identity: 1 to 63 of the characters a-z A-Z 0-9 . _ @ -, starting with a letter or digit"
    )]
    BadName(String),
    #[error(
        "\"{0}\" is not a cluster id: 1 to 63 of the characters a-z 0-9 -, starting with a letter or digit"
    )]
    BadClusterId(String),
}

impl Identity {
    /// A node's identity. Names are lower case: DNS is not case sensitive and two nodes must not differ by case alone.
    pub fn node(name: &str) -> Result<Self, IdentityError> {
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(IdentityError::BadName(name.to_owned()));
        }
        Ok(Self::Node(checked_name(name)?))
    }

    pub fn admin(user: &str) -> Result<Self, IdentityError> {
        Ok(Self::Admin(checked_name(user)?))
    }

    pub fn service(name: &str) -> Result<Self, IdentityError> {
        Ok(Self::Service(checked_name(name)?))
    }

    /// The name without its kind: `hv1` of `node/hv1`.
    pub fn name(&self) -> &str {
        match self {
            Self::Node(name) | Self::Admin(name) | Self::Service(name) => name,
        }
    }

    /// `node`, `admin` or `service`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Node(_) => "node",
            Self::Admin(_) => "admin",
            Self::Service(_) => "service",
        }
    }

    pub fn is_node(&self) -> bool {
        matches!(self, Self::Node(_))
    }

    /// The form that stands in certificates.
    pub fn uri(&self, cluster_id: &str) -> String {
        format!("{SCHEME}{cluster_id}/{self}")
    }

    /// Takes a certificate's URI apart into the cluster's id and the identity.
    pub fn parse_uri(uri: &str) -> Result<(String, Self), IdentityError> {
        let (cluster_id, path) = uri
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| IdentityError::NotAnIdentity(uri.to_owned()))?;
        check_cluster_id(cluster_id)?;
        Ok((cluster_id.to_owned(), path.parse()?))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.name())
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(s: &str) -> Result<Self, IdentityError> {
        match s.split_once('/') {
            Some(("node", name)) => Self::node(name),
            Some(("admin", name)) => Self::admin(name),
            Some(("service", name)) => Self::service(name),
            _ => Err(IdentityError::NotAnIdentity(s.to_owned())),
        }
    }
}

/// Refuses what would make a URI ambiguous or a certificate's subject unreadable.
pub(crate) fn check_cluster_id(id: &str) -> Result<(), IdentityError> {
    let ok = (1..=NAME_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !id.starts_with('-');
    ok.then_some(()).ok_or_else(|| IdentityError::BadClusterId(id.to_owned()))
}

fn checked_name(name: &str) -> Result<String, IdentityError> {
    let ok = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b))
        && name.as_bytes()[0].is_ascii_alphanumeric();
    if ok { Ok(name.to_owned()) } else { Err(IdentityError::BadName(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses() {
        for (identity, uri) in [
            (Identity::node("hv1").unwrap(), "pvc://c-1/node/hv1"),
            (Identity::admin("alice@example.org").unwrap(), "pvc://c-1/admin/alice@example.org"),
            (Identity::service("api").unwrap(), "pvc://c-1/service/api"),
        ] {
            assert_eq!(identity.uri("c-1"), uri);
            assert_eq!(Identity::parse_uri(uri).unwrap(), ("c-1".to_owned(), identity.clone()));
            assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
        }
    }

    #[test]
    fn refuses_what_is_no_identity() {
        for uri in [
            "",
            "pvc://",
            "pvc://c1",
            "pvc://c1/",
            "pvc:///node/hv1",
            "pvc://C1/node/hv1",
            "pvc://c1/node/",
            "pvc://c1/node/HV1",
            "pvc://c1/node/hv1/x",
            "pvc://c1/node/..%2fadmin",
            "pvc://c1/node/-hv1",
            "pvc://c1/nodes/hv1",
            "https://c1/node/hv1",
            "pvc://c1/admin/a b",
        ] {
            assert!(Identity::parse_uri(uri).is_err(), "{uri} was accepted");
        }
        assert!(Identity::node(&"a".repeat(63)).is_ok());
        assert!(Identity::node(&"a".repeat(64)).is_err());
    }
}
