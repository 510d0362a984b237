//! What is said: the messages and services of PVC, generated from `proto/**/*.proto`, and their
//! conversions to and from `pvc-model`'s types. One conversion serves the wire and the disk.
//!
//! No decision is made here. A message that `model` can't hold is refused with the field's name.

pub mod domain_xml;

/// The public API.
pub mod v1 {
    #![allow(clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/pvc.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/pvc.v1.serde.rs"));
    #[cfg(feature = "rest")]
    include!(concat!(env!("OUT_DIR"), "/pvc.v1.rest.rs"));
}

#[cfg(feature = "rest")]
pub mod rest;

/// Between the parts of PVC; may change with every version.
pub mod internal {
    #[allow(clippy::all, clippy::pedantic)]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/pvc.internal.v1.rs"));
    }
}

pub mod convert;
pub mod method;

pub use method::{Method, ServedBy, method, methods};

/// The encoded descriptor set of every file, with source comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
