//! The arrows of ARCHITECTURE.md, checked: which room may import which, which library is named in one
//! room only, and that no file outgrows its reader.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Room, its package, and the packages of ours that it may import. Tests may import what they like.
const ROOMS: &[(&str, &str, &[&str])] = &[
    ("model", "pvc-model", &[]),
    ("raft-store", "raft-store", &[]),
    ("identity", "pvc-identity", &[]),
    ("process", "pvc-process", &[]),
    ("host", "pvc-host", &["pvc-identity"]),
    ("proto", "pvc-proto", &["pvc-model"]),
    ("client", "pvc-client", &["pvc-model", "pvc-proto", "pvc-identity"]),
    (
        "coordinator",
        "pvc-coordinator",
        &["pvc-model", "pvc-proto", "pvc-identity", "pvc-client", "raft-store"],
    ),
    ("network", "pvc-network", &["pvc-model", "pvc-process"]),
    (
        "node",
        "pvc-node",
        &[
            "pvc-model",
            "pvc-proto",
            "pvc-identity",
            "pvc-client",
            "pvc-process",
            "pvc-host",
            "pvc-network",
            "pvc-coordinator",
            "raft-store",
        ],
    ),
    ("gateway", "pvc-gateway", &["pvc-model", "pvc-proto", "pvc-identity", "pvc-client"]),
    ("cli", "pvc-cli", &["pvc-model", "pvc-proto", "pvc-identity", "pvc-client", "raft-store"]),
    (
        "bootstrap",
        "pvc-bootstrap",
        &["pvc-model", "pvc-proto", "pvc-identity", "pvc-client", "pvc-process", "pvc-host", "raft-store"],
    ),
    (
        "chaos-tests",
        "pvc-chaos-tests",
        &[
            "pvc-model",
            "pvc-proto",
            "pvc-identity",
            "pvc-client",
            "pvc-process",
            "pvc-coordinator",
            "pvc-network",
            "pvc-node",
            "pvc-bare",
            "raft-store",
        ],
    ),
    ("bare", "pvc-bare", &["pvc-process", "raft-store"]),
    (
        "benches",
        "pvc-benches",
        &[
            "pvc-model",
            "pvc-proto",
            "pvc-identity",
            "pvc-client",
            "pvc-process",
            "pvc-host",
            "pvc-bare",
            "raft-store",
        ],
    ),
    ("xtask", "xtask", &["pvc-cli", "pvc-gateway", "pvc-bootstrap", "pvc-node"]),
];

/// A crate, as source names it, and the only place that may name it.
const NAMED_ONLY_IN: &[(&str, &str)] = &[
    ("openraft", "raft-store/"),
    ("sled", "raft-store/"),
    ("raft_engine", "raft-store/"),
    ("virt", "node/src/hypervisor/libvirt/"),
    ("ipmi_rs", "node/src/power/"),
    ("rtnetlink", "network/"),
];

/// Longest source file, in lines.
const LINES_MAX: usize = 700;

pub fn check(root: &Path) -> Result<()> {
    let mut broken = imports(root)?;
    for file in source_files(root)? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        // This file itself names them, as strings.
        if !shown.starts_with("xtask/") {
            broken.extend(names(&shown, &text));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            broken.push(format!(
                "{shown} has {lines} lines, more than {LINES_MAX}: give its parts files of their own"
            ));
        }
    }
    if broken.is_empty() {
        println!("layers: {} rooms, all arrows kept", ROOMS.len());
        return Ok(());
    }
    bail!("the house's walls are broken:\n  {}", broken.join("\n  "))
}

fn imports(root: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let ours: Vec<&str> = ROOMS.iter().map(|(_, package, _)| *package).collect();
    for (room, _, allowed) in ROOMS {
        let path = root.join(room).join("Cargo.toml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let manifest: toml::Table = text.parse().with_context(|| path.display().to_string())?;
        let dependencies = manifest.get("dependencies").and_then(|d| d.as_table());
        for name in dependencies.into_iter().flatten().map(|(name, _)| name.as_str()) {
            if ours.contains(&name) && !allowed.contains(&name) {
                broken.push(format!("{room} imports {name}; it may import {allowed:?}"));
            }
        }
    }
    Ok(broken)
}

/// Libraries that a file names though their room is another.
fn names(shown: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (library, home) in NAMED_ONLY_IN {
        if shown.starts_with(home) {
            continue;
        }
        let uses = |line: &&str| {
            let code = line.split("//").next().unwrap_or("");
            code.contains(&format!("use {library}::"))
                || code.contains(&format!("use {library};"))
                || code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').any(|word| {
                    word.starts_with(&format!("{library}::")) || word.starts_with(&format!("::{library}::"))
                })
        };
        if let Some(line) = text.lines().find(uses) {
            broken.push(format!("{shown} names {library}, which only {home} may: {}", line.trim()));
        }
    }
    broken
}

fn source_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = ROOMS.iter().map(|(room, ..)| root.join(room)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_stands() {
        check(&crate::root()).expect("all arrows are kept");
    }

    #[test]
    fn a_broken_wall_is_found() {
        let found = |file: &str, text: &str| names(file, text).len();
        assert_eq!(found("cli/src/a.rs", "use openraft::Raft;"), 1);
        assert_eq!(found("node/src/agent/a.rs", "let c = virt::connect::Connect::open(uri);"), 1);
        assert_eq!(found("node/src/hypervisor/libvirt/a.rs", "use virt::domain::Domain;"), 0);
        assert_eq!(found("cli/src/a.rs", "// sled::Db is not for us\nlet virt_type = 1; recoiled::x();"), 0);
    }

    #[test]
    fn a_wrong_import_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        for (room, package, _) in ROOMS {
            let path = folder.path().join(room);
            fs::create_dir(&path).expect("made");
            let wrong = if *room == "model" { "raft-store = { workspace = true }" } else { "" };
            let text = format!("[package]\nname = \"{package}\"\n[dependencies]\n{wrong}\n");
            fs::write(path.join("Cargo.toml"), text).expect("written");
        }
        let error = check(folder.path()).expect_err("model imports raft-store").to_string();
        assert!(error.contains("model imports raft-store; it may import []"), "{error}");
    }
}
