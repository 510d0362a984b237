//! One truth: every generated form of the API comes from the files below `proto/`: messages and
//! gRPC (tonic), JSON (pbjson), the descriptor set from which roles and parity are read, and, with
//! the feature `rest`, the HTTP routes, the OpenAPI document and the forwarding services.

use std::path::PathBuf;

#[cfg(feature = "rest")]
mod comments;
#[cfg(feature = "rest")]
mod forward;
#[cfg(feature = "rest")]
mod openapi;
#[cfg(feature = "rest")]
mod rest;

const PUBLIC: &[&str] =
    &["authz", "cluster", "common", "event", "network", "node", "rule", "task", "token", "vm", "volume"];
const INTERNAL: &[&str] = &["agent", "join", "raft"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    for name in PUBLIC {
        compiler.open_file(format!("pvc/v1/{name}.proto"))?;
    }
    for name in INTERNAL {
        compiler.open_file(format!("pvc/internal/v1/{name}.proto"))?;
    }
    let encoded = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("descriptors.bin"), &encoded)?;

    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .btree_map(".")
        // What Raft carries is handed on, not copied.
        .bytes(".pvc.internal.v1.RaftCall")
        .bytes(".pvc.internal.v1.RaftReply")
        .bytes(".pvc.internal.v1.SnapshotChunk")
        .compile_fds(compiler.file_descriptor_set())?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .extern_path(".google.protobuf", "::pbjson_types")
        .btree_map(["."])
        .emit_fields()
        .build(&[".pvc.v1"])?;
    #[cfg(feature = "rest")]
    rest::generate(&encoded, &out)?;
    Ok(())
}
