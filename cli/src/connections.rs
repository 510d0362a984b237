//! Named connections: a file of the user's own, `~/.config/pvc/connections.toml`, mode 0600.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};

/// How one cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// host:port of coordinators; any of them answers.
    pub addresses: Vec<String>,
    /// Folder with the certificate, its key and the cluster's CA.
    pub credentials: PathBuf,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// Name of the one that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    #[serde(default)]
    pub connections: BTreeMap<String, Connection>,
}

impl Connections {
    /// Where the file is: PVC_CONNECTIONS, else below XDG_CONFIG_HOME or ~/.config.
    pub fn path() -> PathBuf {
        let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = from("PVC_CONNECTIONS") {
            return path;
        }
        let config = from("XDG_CONFIG_HOME").or_else(|| Some(from("HOME")?.join(".config")));
        config.unwrap_or_else(|| PathBuf::from("/root/.config")).join("pvc/connections.toml")
    }

    /// Reads the file; none is an empty one.
    pub fn load() -> Result<Connections, Failure> {
        let path = Connections::path();
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Connections::default()),
            Err(error) => return Err(Failure::new(Exit::Other, shown, error.to_string())),
        };
        toml::from_str(&text).map_err(|e| Failure::usage(shown, e.to_string().trim().to_owned()))
    }

    /// Writes the file whole: a reader sees the old one or the new one.
    pub fn save(&self) -> Result<(), Failure> {
        let path = Connections::path();
        let fail =
            |e: &dyn std::fmt::Display| Failure::new(Exit::Other, path.display().to_string(), e.to_string());
        let text = toml::to_string(self).map_err(|e| fail(&e))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| fail(&e))?;
        }
        let fresh = path.with_extension("toml.new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&fresh).map_err(|e| fail(&e))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| fail(&e))?;
        std::fs::rename(&fresh, &path).map_err(|e| fail(&e))
    }

    /// The named one, else the default, else the only one.
    pub fn choose(&self, name: Option<&str>) -> Result<(&str, &Connection), Failure> {
        let only = || match self.connections.len() {
            1 => self.connections.keys().next().map(String::as_str),
            _ => None,
        };
        let help = "see `pvc connection list`; add one by `pvc connection add`";
        let Some(name) = name.or(self.default.as_deref()).or_else(only) else {
            return Err(Failure::usage("connection", "none is named and there is no default").help(help));
        };
        match self.connections.get_key_value(name) {
            Some((name, connection)) => Ok((name, connection)),
            None => {
                Err(Failure::new(Exit::NotFound, format!("connection/{name}"), "there is no such connection")
                    .rule("must-exist")
                    .help(help))
            }
        }
    }
}
