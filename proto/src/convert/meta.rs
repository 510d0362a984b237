//! What every object carries.

use pvc_model::{Meta, Rejection};

use super::refuse::{At, wire_time};
use crate::v1;

impl From<&Meta> for v1::Meta {
    fn from(meta: &Meta) -> Self {
        v1::Meta {
            name: meta.name.to_string(),
            uid: meta.uid.to_string(),
            revision: meta.revision,
            create_time: Some(wire_time(meta.created)),
            update_time: Some(wire_time(meta.updated)),
        }
    }
}

pub(crate) fn meta(at: &At<'_>, wire: Option<&v1::Meta>) -> Result<Meta, Rejection> {
    let at = at.field("meta");
    let wire = at.present(wire)?;
    Ok(Meta {
        name: at.field("name").name(&wire.name)?,
        uid: at.field("uid").uid(&wire.uid)?,
        revision: wire.revision,
        created: at.field("create_time").time(wire.create_time.as_ref())?,
        updated: at.field("update_time").time(wire.update_time.as_ref())?,
    })
}

/// "vm/web1", as far as the message says its name.
pub(crate) fn subject(kind: &str, wire: Option<&v1::Meta>) -> String {
    format!("{kind}/{}", wire.map_or("", |meta| &meta.name))
}
