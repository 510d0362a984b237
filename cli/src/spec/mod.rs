//! What a VM shall be, as people tell it: a file, flags, or a libvirt XML. The result is always the
//! API's own `VmSpec`; whether the cluster can do it is the cluster's to say.

pub mod flags;
pub mod located;
pub mod nic;
pub mod schema;
pub mod size;
pub mod xml;

use prost_reflect::DescriptorPool;
use pvc_proto::v1::VmSpec;

use crate::failure::Failure;

/// Reads a spec file. `origin` is its name, for errors.
pub fn read_yaml(text: &str, origin: &str) -> Result<VmSpec, Failure> {
    let document = located::read(text).map_err(|wrong| {
        let subject = match wrong.place {
            Some(place) => format!("{origin}: line {}, column {}", place.line, place.column),
            None => origin.to_owned(),
        };
        Failure::usage(subject, wrong.detail).rule("spec-must-be-yaml")
    })?;
    let pool = DescriptorPool::decode(pvc_proto::DESCRIPTORS)
        .map_err(|e| Failure::new(crate::failure::Exit::Other, "API descriptors", e.to_string()))?;
    let message = pool.get_message_by_name("pvc.v1.VmSpec").ok_or_else(|| {
        Failure::new(crate::failure::Exit::Other, "API descriptors", "they hold no pvc.v1.VmSpec")
    })?;
    let json = schema::to_json(&document, &message).map_err(|wrong| {
        let subject = format!("{origin}: line {}, column {}", wrong.place.line, wrong.place.column);
        Failure::usage(subject, wrong.detail).rule("spec-must-fit").help(wrong.help)
    })?;
    serde_json::from_value(json).map_err(|e| Failure::usage(origin, e.to_string()).rule("spec-must-fit"))
}

/// What every spec must have before the cluster is asked. `origin` says where it came from.
pub fn require(spec: &VmSpec, origin: &str) -> Result<(), Failure> {
    if spec.vcpus == 0 {
        let help = "give vcpus in the file, or --vcpus COUNT";
        return Err(Failure::usage(origin, "vcpus is missing").rule("spec-must-fit").help(help));
    }
    if spec.memory_mib == 0 {
        let help = "give memory in the file as in memory: 2G, or --memory 2G";
        return Err(Failure::usage(origin, "memory is missing").rule("spec-must-fit").help(help));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, error: &str) {
        let failure = read_yaml(text, "web1.yaml").expect_err("it is refused");
        let mut said = format!("{}: {} [{}]", failure.subject, failure.detail, failure.rule);
        if !failure.help.is_empty() {
            said.push_str(&format!("; {}", failure.help));
        }
        assert_eq!(said, error);
    }

    #[test]
    fn a_whole_spec() {
        let text = "\
vcpus: 2
memory: 2G
disks:
  - volume: web1-root
    size: 10G
    bus: scsi
  - {volume: data, readOnly: true}
nics:
  - bridge: vmbr0
    mac: 52:54:00:00:00:01
  - network: 1001
    rate_in: {average_kbit: 1000}
tags: [web, prod]
meta:
  owner: ann
migration_method: live
restart:
  max_restarts: 0
recover: false
priority: 900
";
        let spec = read_yaml(text, "web1.yaml").expect("it is right");
        assert_eq!((spec.vcpus, spec.memory_mib), (2, 2048));
        assert_eq!(spec.disks[0].create_bytes, 10 << 30);
        assert_eq!(spec.disks[0].bus, pvc_proto::v1::DiskBus::Scsi as i32);
        assert!(spec.disks[1].read_only);
        assert_eq!(spec.nics[0].mac, "52:54:00:00:00:01");
        assert_eq!(spec.nics[1].network, "1001", "without quotes");
        assert_eq!(spec.tags, ["web", "prod"]);
        assert_eq!(spec.meta["owner"], "ann");
        assert_eq!(spec.migration_method, pvc_proto::v1::MigrationMethod::Live as i32);
        assert_eq!(spec.restart.and_then(|r| r.max_restarts), Some(0));
        assert_eq!((spec.recover, spec.priority), (Some(false), Some(900)));
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let spec =
            read_yaml("vcpus: 1\nmemory: 64\ndisks: [{volume: a, size: 1G}]\n", "a").expect("it is right");
        let printed = crate::output::yaml(&spec).expect("it can be printed");
        assert_eq!(read_yaml(&printed, "b").expect("it is right again"), spec);
    }

    #[test]
    fn an_unknown_field() {
        refused(
            "vcpus: 2\nmemry: 2G\n",
            "web1.yaml: line 2, column 1: unknown field \"memry\"; did you mean \"memory\"? [spec-must-fit]; \
             fields: vcpus, memory, disks, nics, tags, meta, boot, migration_method, \
             migration_max_downtime_ms, node_limit, home, restart, raw_xml, cpu_model, machine, \
             shutdown_grace_seconds, recover, priority",
        );
    }

    #[test]
    fn an_unknown_field_deep_inside() {
        refused(
            "vcpus: 2\nnics:\n  - brige: vmbr0\n",
            "web1.yaml: line 3, column 5: unknown field \"brige\"; did you mean \"bridge\"? [spec-must-fit]; \
             fields: bridge, mac, model, network, link_down, rate_in, rate_out, trusted, addresses",
        );
        refused(
            "nics: [{wat: 1}]\n",
            "web1.yaml: line 1, column 9: unknown field \"wat\" [spec-must-fit]; fields: bridge, mac, model, \
             network, link_down, rate_in, rate_out, trusted, addresses",
        );
    }

    #[test]
    fn a_bad_size() {
        refused(
            "vcpus: 2\nmemory: 2GB\n",
            "web1.yaml: line 2, column 9: memory_mib: bad size \"2GB\": a number with K, M, G or T, as in 10G \
             (10 GiB) [spec-must-fit]",
        );
    }

    #[test]
    fn wrong_types() {
        refused(
            "vcpus: two\n",
            "web1.yaml: line 1, column 8: vcpus is a whole number, not \"two\" [spec-must-fit]",
        );
        refused(
            "vcpus: 5000000000\n",
            "web1.yaml: line 1, column 8: vcpus is at most 4294967295, not 5000000000 [spec-must-fit]",
        );
        refused(
            "vcpus: -1\n",
            "web1.yaml: line 1, column 8: vcpus is a whole number, not -1 [spec-must-fit]",
        );
        refused(
            "tags: [7]\n",
            "web1.yaml: line 1, column 8: tags[0] is a text, not 7 [spec-must-fit]; write it in quotes: \"7\"",
        );
        refused(
            "disks:\n  - volume: a\n    bus: ide\n",
            "web1.yaml: line 3, column 10: disks[0].bus is one of virtio, scsi, sata, not \"ide\" [spec-must-fit]",
        );
        refused(
            "tags: web\n",
            "web1.yaml: line 1, column 7: tags is a list, not \"web\" [spec-must-fit]; tags:\n  - …",
        );
    }

    #[test]
    fn twice_the_same() {
        refused(
            "memory: 1G\nmemory_mib: 512\n",
            "web1.yaml: line 2, column 1: memory_mib is given twice [spec-must-fit]",
        );
    }

    #[test]
    fn not_yaml() {
        let failure = read_yaml("vcpus: [1\nmemory: }", "web1.yaml").expect_err("it is refused");
        assert_eq!(failure.rule, "spec-must-be-yaml");
        assert!(failure.subject.starts_with("web1.yaml: line "), "{failure:?}");
    }

    #[test]
    fn missing_memory() {
        let spec = read_yaml("vcpus: 1\n", "web1.yaml").expect("it can be read");
        let failure = require(&spec, "web1.yaml").expect_err("it is refused");
        assert_eq!(
            (failure.subject.as_str(), failure.detail.as_str(), failure.help.as_str()),
            ("web1.yaml", "memory is missing", "give memory in the file as in memory: 2G, or --memory 2G")
        );
    }
}
