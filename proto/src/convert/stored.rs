//! The stored form of an object: its message, encoded. Its revision is the store's to know and is not in it.
//!
//! Once released, a message's fields keep their numbers and their meaning: `testdata/stored-v1/` holds one
//! object of each kind as it was first written, and a test reads them for ever.

use prost::Message;
use pvc_model::change::Collection;
use pvc_model::network::Network;
use pvc_model::network::lease::Lease;
use pvc_model::{Cluster, Fault, Node, Object, Rejection, Revision, Rule, Task, Token, Vm, Volume};

use crate::v1;

/// Stored bytes that are no object. That is damage, or a newer version's writing; never a user's doing.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("an object in {} is not a protobuf message of its kind", collection.as_str())]
    Protobuf {
        collection: Collection,
        #[source]
        source: prost::DecodeError,
    },
    #[error("an object in {} is not what this version can hold", collection.as_str())]
    Refused {
        collection: Collection,
        #[source]
        source: Rejection,
    },
}

/// The bytes that the store keeps under the object's key.
pub fn encode_object(object: &Object) -> Vec<u8> {
    match object {
        Object::Node(o) => encode(v1::Node::from(o), |wire| &mut wire.meta),
        Object::Vm(o) => encode(v1::Vm::from(o), |wire| &mut wire.meta),
        Object::Volume(o) => encode(v1::Volume::from(o), |wire| &mut wire.meta),
        Object::Task(o) => encode(v1::Task::from(o), |wire| &mut wire.meta),
        Object::Token(o) => encode(v1::Token::from(o), |wire| &mut wire.meta),
        Object::Fault(o) => encode(v1::Fault::from(o), |wire| &mut wire.meta),
        Object::Cluster(o) => encode(v1::Cluster::from(o), |wire| &mut wire.meta),
        Object::Rule(o) => encode(v1::Rule::from(o), |wire| &mut wire.meta),
        Object::Network(o) => encode(v1::Network::from(o), |wire| &mut wire.meta),
        Object::Lease(o) => encode(v1::Lease::from(o), |wire| &mut wire.meta),
    }
}

fn encode<W: Message>(mut wire: W, meta: impl Fn(&mut W) -> &mut Option<v1::Meta>) -> Vec<u8> {
    if let Some(meta) = meta(&mut wire) {
        meta.revision = 0;
    }
    wire.encode_to_vec()
}

/// The object that `collection` keeps as `bytes`, last changed at `revision`.
pub fn decode_object(
    collection: Collection,
    bytes: &[u8],
    revision: Revision,
) -> Result<Object, DecodeError> {
    let protobuf = |source| DecodeError::Protobuf { collection, source };
    let refused = |source| DecodeError::Refused { collection, source };
    let mut object = match collection {
        Collection::Nodes => {
            let wire = v1::Node::decode(bytes).map_err(protobuf)?;
            Object::Node(Node::try_from(&wire).map_err(refused)?)
        }
        Collection::Vms => {
            let wire = v1::Vm::decode(bytes).map_err(protobuf)?;
            Object::Vm(Vm::try_from(&wire).map_err(refused)?)
        }
        Collection::Volumes => {
            let wire = v1::Volume::decode(bytes).map_err(protobuf)?;
            Object::Volume(Volume::try_from(&wire).map_err(refused)?)
        }
        Collection::Tasks => {
            let wire = v1::Task::decode(bytes).map_err(protobuf)?;
            Object::Task(Task::try_from(&wire).map_err(refused)?)
        }
        Collection::Tokens => {
            let wire = v1::Token::decode(bytes).map_err(protobuf)?;
            Object::Token(Token::try_from(&wire).map_err(refused)?)
        }
        Collection::Faults => {
            let wire = v1::Fault::decode(bytes).map_err(protobuf)?;
            Object::Fault(Fault::try_from(&wire).map_err(refused)?)
        }
        Collection::Cluster => {
            let wire = v1::Cluster::decode(bytes).map_err(protobuf)?;
            Object::Cluster(Cluster::try_from(&wire).map_err(refused)?)
        }
        Collection::Rules => {
            let wire = v1::Rule::decode(bytes).map_err(protobuf)?;
            Object::Rule(Rule::try_from(&wire).map_err(refused)?)
        }
        Collection::Networks => {
            let wire = v1::Network::decode(bytes).map_err(protobuf)?;
            Object::Network(Network::try_from(&wire).map_err(refused)?)
        }
        Collection::Leases => {
            let wire = v1::Lease::decode(bytes).map_err(protobuf)?;
            Object::Lease(Lease::try_from(&wire).map_err(refused)?)
        }
    };
    let meta = match &mut object {
        Object::Node(o) => &mut o.meta,
        Object::Vm(o) => &mut o.meta,
        Object::Volume(o) => &mut o.meta,
        Object::Task(o) => &mut o.meta,
        Object::Token(o) => &mut o.meta,
        Object::Fault(o) => &mut o.meta,
        Object::Cluster(o) => &mut o.meta,
        Object::Rule(o) => &mut o.meta,
        Object::Network(o) => &mut o.meta,
        Object::Lease(o) => &mut o.meta,
    };
    meta.revision = revision;
    Ok(object)
}
