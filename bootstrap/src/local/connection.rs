//! The connection by which `pvc` on the machine reaches a local cluster: written by `up`, taken away by `down`.

use std::fs;
use std::path::{Path, PathBuf};

use pvc_client::{Connection, Connections, ConnectionsError};

use super::state::{ClusterDir, ClusterState};
use crate::daemon_config;

/// Why the user's connections could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum LocalConnectionError {
    #[error(
        "{path} has a connection \"{name}\" that is not this local cluster's; `pvc connection remove {name}`, or another --name"
    )]
    NotOurs { path: PathBuf, name: String },
    #[error(transparent)]
    Connections(#[from] ConnectionsError),
    #[error("could not remove {path}")]
    Remove {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

fn is_ours(known: &Connection, dir: &ClusterDir) -> bool {
    known.credentials.as_ref().is_some_and(|credentials| credentials.starts_with(dir.path()))
}

/// Writes the connection named like the cluster into `file`; it becomes the default where there is none.
pub fn write(
    file: &Path,
    dir: &ClusterDir,
    state: &ClusterState,
    cluster_id: &str,
) -> Result<(), LocalConnectionError> {
    let mut all = Connections::read(file)?;
    let name = state.name.to_string();
    if all.connections.get(&name).is_some_and(|known| !is_ours(known, dir)) {
        return Err(LocalConnectionError::NotOurs { path: file.to_owned(), name });
    }
    let voters = state.hosts.iter().take(usize::from(state.voters));
    let connection = Connection {
        coordinators: voters
            .map(|host| format!("{}:{}", state.addresses().host(host.name), daemon_config::PORT))
            .collect(),
        cluster_id: cluster_id.to_owned(),
        credentials: Some(dir.host(state.hosts[0].name).of("/etc/pvc").join("admin")),
        ..Connection::default()
    };
    all.connections.insert(name.clone(), connection);
    all.default.get_or_insert(name);
    Ok(all.save(file)?)
}

/// Takes the cluster's connection out of `file`, and the file away when nothing else is in it.
pub fn remove(file: &Path, dir: &ClusterDir) -> Result<(), LocalConnectionError> {
    let mut all = Connections::read(file)?;
    let name = dir.name().as_str();
    if !all.connections.get(name).is_some_and(|known| is_ours(known, dir)) {
        return Ok(());
    }
    all.connections.remove(name);
    if all.default.as_deref() == Some(name) {
        all.default = None;
    }
    if all.connections.is_empty() && all.default.is_none() {
        return fs::remove_file(file)
            .map_err(|source| LocalConnectionError::Remove { path: file.to_owned(), source });
    }
    Ok(all.save(file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_and_goes_and_leaves_others_alone() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("connections.toml");
        let dir = ClusterDir::new(root.path(), "local".parse().unwrap()).unwrap();
        let state = ClusterState::new("local".parse().unwrap(), 0, 3, 3, "/x".into());
        write(&file, &dir, &state, "id").unwrap();
        let all = Connections::read(&file).unwrap();
        assert_eq!(all.default.as_deref(), Some("local"));
        assert_eq!(all.connections["local"].coordinators.len(), 3);
        assert_eq!(all.connections["local"].coordinators[0], "10.100.0.11:7741");
        remove(&file, &dir).unwrap();
        assert!(!file.exists());

        let mut others = Connections { default: Some("work".to_owned()), ..Connections::default() };
        others.connections.insert("work".to_owned(), Connection::default());
        others.save(&file).unwrap();
        write(&file, &dir, &state, "id").unwrap();
        remove(&file, &dir).unwrap();
        let all = Connections::read(&file).unwrap();
        assert_eq!((all.default.as_deref(), all.connections.len()), (Some("work"), 1));

        others.connections.insert("local".to_owned(), Connection::default());
        others.save(&file).unwrap();
        assert!(matches!(write(&file, &dir, &state, "id"), Err(LocalConnectionError::NotOurs { .. })));
        remove(&file, &dir).unwrap();
        assert_eq!(Connections::read(&file).unwrap().connections.len(), 2);
    }
}
