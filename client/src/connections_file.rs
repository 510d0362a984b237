//! Named connections: `/etc/pvc/connections.toml` for all users of a host, and the user's own
//! `~/.config/pvc/connections.toml`, whose entries come first. They hold secrets: mode 0600.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::connection::Connection;

const SYSTEM_FILE: &str = "/etc/pvc/connections.toml";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    #[serde(default)]
    pub connections: BTreeMap<String, Connection>,
    /// The file for all users, where this user may not read it.
    #[serde(skip)]
    pub closed: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectionsError {
    #[error("could not read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("could not write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is not a connections file: {source}")]
    Syntax { path: PathBuf, source: Box<toml::de::Error> },
    #[error("the connections can't be written as TOML: {0}")]
    Encode(#[from] toml::ser::Error),
    #[error("there is no connection {name:?}; there are: {known}{}", also(closed))]
    Unknown { name: String, known: String, closed: Option<PathBuf> },
    #[error("no connection is the default; choose one of: {known}")]
    NoDefault { known: String },
    #[error("there is no connection to a cluster; see `pvc connection add`")]
    Empty,
    #[error(
        "{path} may not be read by this user, and there is no connection of the user's own: \
         use sudo, or make one by `pvc connection add`"
    )]
    Closed { path: PathBuf },
}

fn also(closed: &Option<PathBuf>) -> String {
    let text = |path: &PathBuf| format!(" (those in {} may not be read by this user)", path.display());
    closed.as_ref().map(text).unwrap_or_default()
}

impl Connections {
    /// The user's own file. None: the environment tells no home.
    pub fn user_file() -> Option<PathBuf> {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = var("XDG_CONFIG_HOME").or_else(|| var("HOME").map(|home| home.join(".config")))?;
        Some(config.join("pvc/connections.toml"))
    }

    /// Both files together. A file that is not there is empty, and so is one for all users that this one may not read:
    /// it holds secrets, and a user who has connections of their own need not see it.
    pub fn load() -> Result<Self, ConnectionsError> {
        let mut all = Connections::unless_closed(Connections::read(Path::new(SYSTEM_FILE)))?;
        if let Some(path) = Connections::user_file() {
            let own = Connections::read(&path)?;
            all.connections.extend(own.connections);
            all.default = own.default.or(all.default);
        }
        Ok(all)
    }

    fn unless_closed(read: Result<Self, ConnectionsError>) -> Result<Self, ConnectionsError> {
        match read {
            Err(ConnectionsError::Read { path, source })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Ok(Connections { closed: Some(path), ..Connections::default() })
            }
            other => other,
        }
    }

    /// One file.
    pub fn read(path: &Path) -> Result<Self, ConnectionsError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Connections::default()),
            Err(source) => return Err(ConnectionsError::Read { path: path.to_owned(), source }),
        };
        toml::from_str(&text)
            .map_err(|source| ConnectionsError::Syntax { path: path.to_owned(), source: Box::new(source) })
    }

    /// Writes one file, whole or not at all, readable by its owner only.
    pub fn save(&self, path: &Path) -> Result<(), ConnectionsError> {
        let text = toml::to_string_pretty(self)?;
        write_private(path, &text).map_err(|source| ConnectionsError::Write { path: path.to_owned(), source })
    }

    /// The connection that is meant: by `name`, else by the variable PVC_CONNECTION, else the default, else
    /// the only one.
    pub fn choose(&self, name: Option<&str>) -> Result<(String, Connection), ConnectionsError> {
        let variable = std::env::var("PVC_CONNECTION").ok().filter(|value| !value.is_empty());
        self.pick(name.or(variable.as_deref()))
    }

    fn pick(&self, name: Option<&str>) -> Result<(String, Connection), ConnectionsError> {
        let known = || self.connections.keys().cloned().collect::<Vec<_>>().join(", ");
        let only = || self.connections.keys().next().filter(|_| self.connections.len() == 1);
        if self.connections.is_empty() {
            let closed = self.closed.clone();
            return Err(closed.map_or(ConnectionsError::Empty, |path| ConnectionsError::Closed { path }));
        }
        let name = name.or(self.default.as_deref()).or_else(|| only().map(String::as_str));
        let name = name.ok_or_else(|| ConnectionsError::NoDefault { known: known() })?;
        match self.connections.get(name) {
            Some(connection) => Ok((name.to_owned(), connection.clone())),
            None => {
                let closed = self.closed.clone();
                Err(ConnectionsError::Unknown { name: name.to_owned(), known: known(), closed })
            }
        }
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let new = path.with_extension("toml.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn some(names: &[&str], default: Option<&str>) -> Connections {
        let entry = |name: &&str| {
            let coordinators = vec![format!("{name}:7443")];
            (name.to_string(), Connection { coordinators, ..Connection::default() })
        };
        Connections {
            default: default.map(str::to_owned),
            connections: names.iter().map(entry).collect(),
            closed: None,
        }
    }

    #[test]
    fn the_one_that_is_meant() {
        let pick = |c: Connections, name| c.pick(name).map(|(n, _)| n).map_err(|e| e.to_string());
        assert_eq!(pick(some(&["a"], None), None), Ok("a".into()));
        assert_eq!(pick(some(&["a", "b"], Some("b")), None), Ok("b".into()));
        assert_eq!(pick(some(&["a", "b"], Some("b")), Some("a")), Ok("a".into()));
        let error = "no connection is the default; choose one of: a, b";
        assert_eq!(pick(some(&["a", "b"], None), None), Err(error.into()));
        assert_eq!(
            pick(some(&["a"], None), Some("x")),
            Err("there is no connection \"x\"; there are: a".into())
        );
        assert!(pick(some(&[], None), None).unwrap_err().starts_with("there is no connection"));
    }

    #[test]
    fn a_file_that_this_user_may_not_read_is_passed() {
        let refused =
            |kind: io::ErrorKind| ConnectionsError::Read { path: SYSTEM_FILE.into(), source: kind.into() };
        let closed = Connections::unless_closed(Err(refused(io::ErrorKind::PermissionDenied))).unwrap();
        let own = Connections { closed: closed.closed.clone(), ..some(&["a"], None) };
        assert_eq!(own.pick(None).unwrap().0, "a");
        for (all, name) in [(&closed, None), (&closed, Some("x")), (&own, Some("x"))] {
            let error = all.pick(name).unwrap_err().to_string();
            assert!(error.contains("/etc/pvc/connections.toml"), "{error}");
            assert!(error.contains("may not be read by this user"), "{error}");
        }
        assert!(Connections::unless_closed(Err(refused(io::ErrorKind::IsADirectory))).is_err());
    }

    #[test]
    fn saved_privately_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/connections.toml");
        some(&["a"], Some("a")).save(&path).unwrap();
        some(&["a", "b"], Some("b")).save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let back = Connections::read(&path).unwrap();
        assert_eq!((back.default.as_deref(), back.connections.len()), (Some("b"), 2));
        fs::write(&path, "nonsense = 1").unwrap();
        assert!(matches!(Connections::read(&path), Err(ConnectionsError::Syntax { .. })));
    }
}
