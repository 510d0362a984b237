//! `pvc connection`: the files of connections. No cluster is asked, and no secret is printed.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pvc_client::{Connection, Connections, Trust};
use serde::Serialize;

use crate::args::connection::{Add, ConnectionCommand};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::page::Page;
use crate::output::table::{optional, render, text};

pub async fn run(cx: &mut Context<'_>, command: ConnectionCommand) -> Result<(), Failure> {
    match command {
        ConnectionCommand::Add(new) => add(cx, new),
        ConnectionCommand::Remove { name } => remove(cx, &name),
        ConnectionCommand::List => list(cx),
        ConnectionCommand::Use { name } => {
            let all = Connections::load()?;
            let (_, connection) = all.choose(Some(&name))?;
            let (path, mut own) = own()?;
            own.default = Some(name.clone());
            own.save(&path)?;
            let shown = Shown::of(&name, &connection, Some(&name));
            cx.done(&shown, &name, format!("connection/{name} is the default"))
        }
        ConnectionCommand::Detail { name } => {
            let all = Connections::load()?;
            let wanted = name.or_else(|| cx.global.connection.clone());
            let (name, connection) = all.choose(wanted.as_deref())?;
            let shown = Shown::of(&name, &connection, all.default.as_deref());
            cx.reply(&shown, |colour| shown.page(colour), || vec![name.clone()])
        }
    }
}

/// The user's own file, which is the one that commands change, and what it holds.
fn own() -> Result<(PathBuf, Connections), Failure> {
    let path = Connections::user_file().ok_or_else(|| {
        Failure::usage("connections", "the environment tells no home to keep them in").help("set HOME")
    })?;
    let connections = Connections::read(&path)?;
    Ok((path, connections))
}

/// The credentials are tried before they are kept, and the cluster that they are of is kept with them.
fn add(cx: &mut Context<'_>, new: Add) -> Result<(), Failure> {
    let name = new.name;
    let credentials = new.credentials.map(std::path::absolute).transpose();
    let credentials = credentials.map_err(|e| Failure::usage("--credentials", e.to_string()))?;
    let token = new.token_file.as_deref().map(read).transpose()?;
    let mut connection = Connection {
        coordinators: new.addresses,
        credentials,
        ca_pem: new.ca.as_deref().map(read).transpose()?,
        token: token.map(|token| token.trim().to_owned()),
        ..Connection::default()
    };
    let trust = connection.trust(Timestamp::now()).map_err(|error| Failure::of_connection(&name, &error))?;
    if let Trust::Mutual(store, _) = trust {
        connection.cluster_id = store.cluster_id();
    }
    let default = if new.default { None } else { Connections::load()?.default };
    let (path, mut own) = own()?;
    if default.is_none() {
        own.default = Some(name.clone());
    }
    let default = default.unwrap_or_else(|| name.clone());
    let shown = Shown::of(&name, &connection, Some(&default));
    own.connections.insert(name.clone(), connection.clone());
    own.save(&path)?;
    cx.done(&shown, &name, format!("connection/{name} added"))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::usage(path.display().to_string(), error.to_string()).rule("file-must-be-readable")
    })
}

fn remove(cx: &mut Context<'_>, name: &str) -> Result<(), Failure> {
    let (path, mut own) = own()?;
    let default = own.default.clone();
    let Some(connection) = own.connections.remove(name) else {
        Connections::load()?.choose(Some(name))?;
        let detail = format!("it is not in your own file, {}, but in the one for all users", path.display());
        return Err(
            Failure::new(Exit::Refused, format!("connection/{name}"), detail).rule("connection-must-be-own")
        );
    };
    if default.as_deref() == Some(name) {
        own.default = None;
    }
    own.save(&path)?;
    let shown = Shown::of(name, &connection, default.as_deref());
    cx.done(&shown, name, format!("connection/{name} removed"))
}

fn list(cx: &mut Context<'_>) -> Result<(), Failure> {
    let all = Connections::load()?;
    let default = all.default.as_deref();
    let shown: Vec<Shown> =
        all.connections.iter().map(|(name, connection)| Shown::of(name, connection, default)).collect();
    let columns = [text("NAME"), text("ADDRESSES"), optional("CLUSTER"), text("BY"), optional("DEFAULT")];
    let rows = shown.iter().map(|one| {
        vec![
            one.name.into(),
            one.addresses.join(",").into(),
            one.cluster_id.into(),
            one.by.into(),
            if one.default { "yes" } else { "" }.into(),
        ]
    });
    let rows = rows.collect();
    let names = || shown.iter().map(|one| one.name.to_owned()).collect();
    cx.reply(&Listed { connections: &shown }, |colour| render(&columns, rows, colour), names)
}

#[derive(Serialize)]
struct Listed<'a> {
    connections: &'a [Shown<'a>],
}

/// A connection without its secrets.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    name: &'a str,
    addresses: &'a [String],
    cluster_id: &'a str,
    /// What the cluster knows us by: "certificate" or "token".
    by: &'a str,
    credentials: Option<&'a Path>,
    default: bool,
}

impl<'a> Shown<'a> {
    fn of(name: &'a str, connection: &'a Connection, default: Option<&str>) -> Shown<'a> {
        Shown {
            name,
            addresses: &connection.coordinators,
            cluster_id: &connection.cluster_id,
            by: if connection.token.is_some() { "token" } else { "certificate" },
            credentials: connection.credentials.as_deref(),
            default: default == Some(name),
        }
    }

    fn page(&self, colour: bool) -> String {
        let folder = self.credentials.map(|path| path.display().to_string()).unwrap_or_default();
        Page::new(colour)
            .row("Name", self.name)
            .row("Addresses", self.addresses.join(", "))
            .row("Cluster", self.cluster_id)
            .row("By", self.by)
            .row("Credentials", folder)
            .row("Default", if self.default { "yes" } else { "no" })
            .finish()
    }
}
