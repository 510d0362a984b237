//! The connections by which `pvc` on the machine reaches a local cluster: written by `up`, taken away by `down`, for
//! everyone in [`super::people`].
//!
//! Which files have one is remembered beside the cluster's state, so that `down` finds them whoever calls it.

use std::fs;
use std::path::{Path, PathBuf};

use pvc_client::{Connection, Connections, ConnectionsError};
use pvc_identity::{Credentials, CredentialsError};
use serde::{Deserialize, Serialize};

use super::cluster;
use super::people::{self, Person};
use super::plan::AddressPlan;
use super::state::{ClusterDir, ClusterState};
use crate::daemon_config;
use crate::durable_file::{self, FileError};
use crate::found::Places;

/// Why connections could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum LocalConnectionError {
    #[error(
        "{path} has a connection \"{name}\" that is not this local cluster's; `pvc connection remove {name}`, or another --name"
    )]
    NotOurs { path: PathBuf, name: String },
    #[error("the administrator's credentials could not be read")]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Connections(#[from] ConnectionsError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Which files have a connection to this cluster; written before they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    cluster_id: String,
    #[serde(default)]
    people: Vec<Person>,
}

impl Record {
    fn path(dir: &ClusterDir) -> PathBuf {
        dir.path().join("connections.toml")
    }

    /// A record that cannot be read is an empty one: `down` must not stop at it.
    fn read(dir: &ClusterDir) -> Result<Self, FileError> {
        let text = durable_file::read_text_if_there(&Self::path(dir))?.unwrap_or_default();
        Ok(toml::from_str(&text).unwrap_or_default())
    }

    fn save(&self, dir: &ClusterDir) -> Result<(), FileError> {
        let text = toml::to_string(self).expect("a record has only tables, texts and numbers");
        durable_file::write(&Self::path(dir), text.as_bytes(), 0o600)
    }

    fn is_ours(&self, known: &Connection, dir: &ClusterDir) -> bool {
        let by_path = known.credentials.as_ref().is_some_and(|path| path.starts_with(dir.path()));
        let by_id = !known.cluster_id.is_empty() && known.cluster_id == self.cluster_id;
        by_path || by_id
    }
}

/// Whether a connection leads to hosts of some local cluster: one of this name whose state is gone.
fn is_stale(known: &Connection) -> bool {
    let is_host = |text: &String| {
        text.parse::<std::net::SocketAddrV4>()
            .is_ok_and(|address| address.port() == daemon_config::PORT && AddressPlan::is_host(*address.ip()))
    };
    !known.coordinators.is_empty() && known.coordinators.iter().all(is_host)
}

/// Writes the connection named like the cluster for everyone who is present; it becomes the default where there is none.
/// Returns the files.
pub fn write(
    dir: &ClusterDir,
    state: &ClusterState,
    cluster_id: &str,
) -> Result<Vec<PathBuf>, LocalConnectionError> {
    // a machine that is itself a node of a cluster has a default for everyone
    let system = Connections::read(&Places::default().connections()).unwrap_or_default();
    write_for(&people::present(), system.default.is_some(), dir, state, cluster_id)
}

fn write_for(
    people: &[Person],
    has_default: bool,
    dir: &ClusterDir,
    state: &ClusterState,
    cluster_id: &str,
) -> Result<Vec<PathBuf>, LocalConnectionError> {
    let mut record = Record::read(dir)?;
    let name = state.name.to_string();
    let mut files = Vec::new();
    for person in people {
        let mut all = person.act(|| Connections::read(&person.file))?;
        let known = all.connections.get(&name);
        if known.is_some_and(|known| !record.is_ours(known, dir) && !is_stale(known)) {
            return Err(LocalConnectionError::NotOurs { path: person.file.clone(), name });
        }
        if !record.people.contains(person) {
            record.people.push(person.clone());
        }
        cluster_id.clone_into(&mut record.cluster_id);
        record.save(dir)?;
        all.connections.insert(name.clone(), connection_of(person, dir, state, cluster_id)?);
        if !has_default {
            all.default.get_or_insert_with(|| name.clone());
        }
        person.act(|| all.save(&person.file))?;
        files.push(person.file.clone());
    }
    Ok(files)
}

/// Root reads the credentials where they are; others cannot, and get a copy.
fn connection_of(
    person: &Person,
    dir: &ClusterDir,
    state: &ClusterState,
    cluster_id: &str,
) -> Result<Connection, LocalConnectionError> {
    let mut connection = Connection { cluster_id: cluster_id.to_owned(), ..cluster::connection(dir, state) };
    if let Some(folder) = connection.credentials.take_if(|_| !person.is_root()) {
        let credentials = Credentials::load(&folder)?;
        connection.ca_pem = Some(credentials.ca_bundle_pem().to_owned());
        connection.certificate_pem = Some(credentials.cert_chain_pem().to_owned());
        connection.key_pem = Some(credentials.key_pem().expose().to_owned());
    }
    Ok(connection)
}

/// Takes the cluster's connection out of every file that has it, and a file away when nothing else is in it. Returns the
/// files.
pub fn remove(dir: &ClusterDir) -> Result<Vec<PathBuf>, LocalConnectionError> {
    remove_for(people::present(), dir)
}

fn remove_for(present: Vec<Person>, dir: &ClusterDir) -> Result<Vec<PathBuf>, LocalConnectionError> {
    let record = Record::read(dir)?;
    let mut people = record.people.clone();
    people.extend(present.into_iter().filter(|person| !record.people.contains(person)));
    let name = dir.name().as_str();
    let mut files = Vec::new();
    for person in people {
        let mut all = person.act(|| Connections::read(&person.file))?;
        if !all.connections.get(name).is_some_and(|known| record.is_ours(known, dir)) {
            continue;
        }
        all.connections.remove(name);
        all.default.take_if(|default| *default == name);
        if all.connections.is_empty() && all.default.is_none() {
            person.act(|| remove_file(&person.file))?;
        } else {
            person.act(|| all.save(&person.file))?;
        }
        files.push(person.file);
    }
    Ok(files)
}

/// Removes the file, and its folder when that is empty.
fn remove_file(file: &Path) -> Result<(), FileError> {
    fs::remove_file(file).map_err(|source| FileError::new("remove", file, source))?;
    if let Some(folder) = file.parent() {
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct World {
        root: tempfile::TempDir,
        dir: ClusterDir,
        state: ClusterState,
    }

    fn world() -> World {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let dir = ClusterDir::new(&root.path().join("state"), "local".parse().unwrap()).unwrap();
        let state = ClusterState::new("local".parse().unwrap(), 0, 3, 3, "/x".into());
        dir.save(&state).unwrap();
        World { root, dir, state }
    }

    impl World {
        /// A person with a home of their own, whose file is this test's own user's.
        fn person(&self, name: &str) -> Person {
            // SAFETY: both take nothing and cannot fail
            let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
            Person { file: self.root.path().join(name).join("pvc/connections.toml"), uid, gid }
        }

        fn write(&self, person: &Person) -> Result<Vec<PathBuf>, LocalConnectionError> {
            write_for(std::slice::from_ref(person), false, &self.dir, &self.state, "id")
        }
    }

    #[test]
    fn it_comes_and_goes_and_leaves_others_alone() {
        let world = world();
        let person = world.person("me");
        assert_eq!(world.write(&person).unwrap(), std::slice::from_ref(&person.file));
        world.write(&person).unwrap();
        let all = Connections::read(&person.file).unwrap();
        assert_eq!(all.default.as_deref(), Some("local"));
        assert_eq!(all.connections["local"].coordinators.len(), 3);
        assert_eq!(all.connections["local"].coordinators[0], "10.100.0.11:7741");
        // whoever takes it down
        assert_eq!(remove_for(vec![], &world.dir).unwrap(), std::slice::from_ref(&person.file));
        assert!(!person.file.parent().unwrap().exists());
        assert!(remove_for(vec![], &world.dir).unwrap().is_empty());

        let mut others = Connections { default: Some("work".to_owned()), ..Connections::default() };
        others.connections.insert("work".to_owned(), Connection::default());
        others.save(&person.file).unwrap();
        world.write(&person).unwrap();
        remove_for(vec![], &world.dir).unwrap();
        let all = Connections::read(&person.file).unwrap();
        assert_eq!((all.default.as_deref(), all.connections.len()), (Some("work"), 1));
    }

    #[test]
    fn one_of_another_cluster_stays_and_a_stale_one_does_not() {
        let world = world();
        let person = world.person("me");
        let mut others = Connections::default();
        let elsewhere =
            Connection { coordinators: vec!["10.1.1.1:7741".to_owned()], ..Connection::default() };
        others.connections.insert("local".to_owned(), elsewhere);
        others.save(&person.file).unwrap();
        assert!(matches!(world.write(&person), Err(LocalConnectionError::NotOurs { .. })));
        remove_for(vec![person.clone()], &world.dir).unwrap();
        assert_eq!(Connections::read(&person.file).unwrap().connections.len(), 1);

        let stale = Connection { coordinators: vec!["10.102.0.11:7741".to_owned()], ..Connection::default() };
        others.connections.insert("local".to_owned(), stale);
        others.save(&person.file).unwrap();
        world.write(&person).unwrap();
        assert_eq!(Connections::read(&person.file).unwrap().connections["local"].cluster_id, "id");
    }

    #[test]
    fn who_cannot_read_roots_files_gets_the_credentials_themselves() {
        let world = world();
        let ca = pvc_identity::Ca::create("id", jiff::Timestamp::now()).unwrap();
        let key = pvc_identity::KeyPair::generate().unwrap();
        let leaf = pvc_identity::LeafSpec::new(pvc_identity::Identity::admin("root").unwrap());
        let chain = ca.sign(&key.csr_pem().unwrap(), &leaf, jiff::Timestamp::now()).unwrap();
        let admin = world.dir.host(world.state.hosts[0].name).of("/etc/pvc").join("admin");
        fs::create_dir_all(&admin).unwrap();
        Credentials::new(chain, key.pem(), ca.cert_pem()).unwrap().save(&admin).unwrap();
        let alice = Person { uid: 1000, gid: 1000, ..world.person("alice") };
        let connection = connection_of(&alice, &world.dir, &world.state, "id").unwrap();
        assert_eq!(connection.credentials, None);
        connection.trust(jiff::Timestamp::now()).unwrap();
        let root = Person { uid: 0, gid: 0, ..alice };
        let connection = connection_of(&root, &world.dir, &world.state, "id").unwrap();
        assert!(connection.credentials.is_some() && connection.key_pem.is_none());
    }

    #[test]
    fn it_is_the_default_only_where_there_is_none() {
        let world = world();
        let person = world.person("me");
        write_for(std::slice::from_ref(&person), true, &world.dir, &world.state, "id").unwrap();
        assert_eq!(Connections::read(&person.file).unwrap().default, None);
    }
}
