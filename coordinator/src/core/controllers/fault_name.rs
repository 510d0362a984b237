//! Names of faults: what is wrong, then with what: "node-unreachable.hv2"; and faults of the whole cluster.

use pvc_model::name::NAME_LENGTH_MAX;
use pvc_model::{Command, Name, World};

/// `kind` is a label of at most 40 characters. Where both do not fit into a name, the subject's end is
/// replaced by a part of its hash, so that two subjects never share a fault.
pub(super) fn fault_name(kind: &str, subject: &Name) -> Name {
    let whole = format!("{kind}.{subject}");
    let fitting = if whole.len() <= NAME_LENGTH_MAX {
        whole
    } else {
        let hash = blake3::hash(subject.as_str().as_bytes()).to_hex();
        let room = NAME_LENGTH_MAX - kind.len() - 1 - 1 - 8;
        let start = subject.as_str()[..room].trim_end_matches(['-', '.']);
        format!("{kind}.{start}-{}", &hash[..8])
    };
    fitting.parse().expect("a label, a dot and a name that fit are a name")
}

/// A fault of the whole cluster, where it is not as it should be.
pub(super) fn cluster_fault(world: &World, name: &str, told: Option<(String, &str)>) -> Option<Command> {
    let name: Name = name.parse().expect("a label is a name");
    let stands = world.faults.get(&name);
    match told {
        Some((message, help)) if stands.is_none_or(|fault| fault.message != message) => {
            Some(Command::RaiseFault { name, subject: "cluster".to_owned(), message, help: help.to_owned() })
        }
        None if stands.is_some() => Some(Command::ClearFault { name }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_subjects_keep_apart() {
        let name = |text: String| text.parse::<Name>().expect("a name");
        assert_eq!(fault_name("node-unreachable", &name("hv2".into())).as_str(), "node-unreachable.hv2");
        let a = fault_name("node-unreachable", &name(format!("{}-1", "a".repeat(60))));
        let b = fault_name("node-unreachable", &name(format!("{}-2", "a".repeat(60))));
        assert_ne!(a, b);
        assert!(a.as_str().len() <= NAME_LENGTH_MAX);
        fault_name("node-unreachable", &name(format!("{}.{}", "a".repeat(36), "b".repeat(20))));
    }
}
