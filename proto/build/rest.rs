//! Makes the HTTP routes, the forwarding services and the OpenAPI document of the public package.

use std::error::Error;
use std::path::Path;

use prost_reflect::{DescriptorPool, ServiceDescriptor};
use rest_over_grpc::build::{DescriptorOptions, Generator, OpenApiInfo, ServiceDefinition};

use crate::{forward, openapi};

const PACKAGE: &str = "pvc.v1";

pub fn generate(descriptors: &[u8], out: &Path) -> Result<(), Box<dyn Error>> {
    let options = DescriptorOptions::new().package(PACKAGE).extern_path(".google.protobuf", "::pbjson_types");
    let version = std::env::var("CARGO_PKG_VERSION")?;
    let mut generator = Generator::builder()
        .emit_tonic_bridge(true)
        .emit_openapi_spec(Some(OpenApiInfo::new("Parallel Virtual Cluster", version)))
        .build();
    let definitions = ServiceDefinition::from_fds(descriptors, &options)?;
    let order: Vec<String> = definitions.iter().map(|d| d.trait_name().to_owned()).collect();
    generator.add_all(definitions);
    generator.write(out)?;

    let pool = DescriptorPool::decode(descriptors)?;
    let services: Vec<ServiceDescriptor> =
        pool.services().filter(|service| service.package_name() == PACKAGE).collect();
    std::fs::write(out.join("pvc.v1.forward.rs"), forward::render(&services, &order))?;

    let bare = std::fs::read_to_string(out.join(format!("{PACKAGE}.openapi.json")))?;
    let document = openapi::finish(serde_json::from_str(&bare)?, &pool, &services)?;
    std::fs::write(out.join("openapi.json"), serde_json::to_string_pretty(&document)?)?;
    Ok(())
}
