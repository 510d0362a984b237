//! `pvc connection`: the file of connections. No cluster is asked.

use crate::args::connection::ConnectionCommand;
use crate::connections::{Connection, Connections};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::page::Page;
use crate::output::table::{optional, render, text};

pub async fn run(cx: &mut Context<'_>, command: ConnectionCommand) -> Result<(), Failure> {
    let mut file = Connections::load()?;
    match command {
        ConnectionCommand::Add { name, addresses, credentials, description, default } => {
            let credentials = std::path::absolute(&credentials)?;
            let connection = Connection { addresses, credentials, description };
            file.connections.insert(name.clone(), connection.clone());
            if default || file.default.is_none() {
                file.default = Some(name.clone());
            }
            file.save()?;
            cx.done(&connection, &name, format!("connection/{name} added"))
        }
        ConnectionCommand::Remove { name } => {
            let connection = file.choose(Some(&name))?.1.clone();
            file.connections.remove(&name);
            if file.default.as_deref() == Some(&name) {
                file.default = None;
            }
            file.save()?;
            cx.done(&connection, &name, format!("connection/{name} removed"))
        }
        ConnectionCommand::List => {
            let columns = [text("NAME"), text("ADDRESSES"), optional("DEFAULT"), optional("DESCRIPTION")];
            let rows = file.connections.iter().map(|(name, connection)| {
                let default = if file.default.as_ref() == Some(name) { "yes" } else { "" };
                vec![
                    name.as_str().into(),
                    connection.addresses.join(",").into(),
                    default.into(),
                    connection.description.as_str().into(),
                ]
            });
            let rows = rows.collect();
            cx.reply(
                &file,
                |colour| render(&columns, rows, colour),
                || file.connections.keys().cloned().collect(),
            )
        }
        ConnectionCommand::Use { name } => {
            let connection = file.choose(Some(&name))?.1.clone();
            file.default = Some(name.clone());
            file.save()?;
            cx.done(&connection, &name, format!("connection/{name} is the default"))
        }
        ConnectionCommand::Detail { name } => {
            let wanted = name.or_else(|| cx.global.connection.clone());
            let (name, connection) = file.choose(wanted.as_deref())?;
            let page = |colour| {
                Page::new(colour)
                    .row("Name", name)
                    .row("Addresses", connection.addresses.join(", "))
                    .row("Credentials", connection.credentials.display().to_string())
                    .row("Description", &connection.description)
                    .finish()
            };
            cx.reply(connection, page, || vec![name.to_owned()])
        }
    }
}
