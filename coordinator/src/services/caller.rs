//! Who calls, once it is established: put into a request's extensions by `authz`, read by the services.

use pvc_model::{Name, Rejection, RejectionKind, Role};
use tonic::{Request, Status};

use crate::status;

/// An identified caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// "admin/root", "node/hv1", "token/ci", "service/api", "anonymous".
    pub identity: String,
    /// None: nothing but what is open to everybody, or to every holder of a certificate.
    pub role: Option<Role>,
}

impl Caller {
    pub fn anonymous() -> Self {
        Caller { identity: "anonymous".to_owned(), role: None }
    }

    /// The node that calls, where it is one.
    pub fn node(&self) -> Option<&str> {
        self.identity.strip_prefix("node/")
    }

    /// A request's caller. Every request has one: without, it has not passed `authz`.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Caller>();
        caller.cloned().ok_or_else(|| status::internal("a request without an identified caller"))
    }

    /// Refuses a node that speaks for another.
    pub fn must_be_node(&self, name: &Name) -> Result<(), Status> {
        if self.node() == Some(name.as_str()) {
            return Ok(());
        }
        let detail = format!("the caller is {}", self.identity);
        let rejection =
            Rejection::new(RejectionKind::Denied, "node-speaks-for-itself", format!("node/{name}"), detail);
        Err(status::rejected(&rejection))
    }
}
