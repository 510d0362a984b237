//! Roles.

use pvc_model::{Rejection, Role};

use super::refuse::{At, WireEnum, wire_enum};
use crate::v1;

wire_enum!(v1::Role, Role, { Viewer, Operator, Admin, Node });

/// Refused when it is unset.
pub fn role(at: &At<'_>, number: i32) -> Result<Role, Rejection> {
    Role::from_wire(number, at)
}
