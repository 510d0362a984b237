//! `pvc node bmc` and `pvc node power`. A password is read here and goes to the cluster; it is printed nowhere.

use std::fs;
use std::io::Read;
use std::path::Path;

use pvc_proto::v1::{
    BmcAdapter, CheckNodeBmcRequest, ClearNodeBmcRequest, PowerAction, SetNodeBmcRequest, SetNodePowerRequest,
};

use crate::args::bmc::{AdapterWord, BmcCommand, BmcSet, PowerWord};
use crate::call::request_id;
use crate::context::Context;
use crate::failure::Failure;
use crate::show;

pub async fn run(cx: &mut Context<'_>, command: BmcCommand) -> Result<(), Failure> {
    match command {
        BmcCommand::Set(set) => self::set(cx, set).await,
        BmcCommand::Check { node } => check(cx, node).await,
        BmcCommand::Clear { node } => {
            let subject = format!("node/{node}");
            cx.confirm(&subject, &format!("{subject} can't be fenced by power any more"))?;
            let session = cx.session()?;
            let request = ClearNodeBmcRequest {
                name: node.clone(),
                request_id: request_id(),
                ..ClearNodeBmcRequest::default()
            };
            let reply = session.nodes().clear_node_bmc(session.ask(request)).await?.into_inner();
            cx.done(&reply, &node, format!("{subject} has no BMC"))
        }
    }
}

async fn set(cx: &mut Context<'_>, set: BmcSet) -> Result<(), Failure> {
    let password = password(cx, &set)?;
    let session = cx.session()?;
    let adapter = match set.adapter {
        AdapterWord::Auto => BmcAdapter::Auto,
        AdapterWord::Native => BmcAdapter::Native,
        AdapterWord::Ipmitool => BmcAdapter::Ipmitool,
    };
    let request = session.ask(SetNodeBmcRequest {
        name: set.node.clone(),
        address: set.address,
        user: set.user,
        password,
        adapter: adapter.into(),
        trust_wiring: set.trust_wiring,
        expected_revision: set.expected_revision,
        request_id: request_id(),
    });
    let reply = session.nodes().set_node_bmc(request).await?.into_inner();
    let bmc = reply.spec.as_ref().and_then(|spec| spec.bmc.clone()).unwrap_or_default();
    let sentence = format!(
        "node/{}: its BMC at {} answers; {}",
        set.node,
        bmc.address,
        show::bmc::wiring_in_words(&bmc)
    );
    cx.done(&reply, &set.node, sentence)
}

async fn check(cx: &mut Context<'_>, node: String) -> Result<(), Failure> {
    let session = cx.session()?;
    let request = session.ask(CheckNodeBmcRequest { name: node.clone() });
    let reply = session.nodes().check_node_bmc(request).await?.into_inner();
    cx.reply(&reply, |colour| show::bmc::check(&reply, colour), || vec![node])
}

pub async fn power(cx: &mut Context<'_>, node: String, to: PowerWord, force: bool) -> Result<(), Failure> {
    let action = match to {
        PowerWord::Status => return check(cx, node).await,
        PowerWord::On => PowerAction::On,
        PowerWord::Off => PowerAction::Off,
        PowerWord::Cycle => PowerAction::Cycle,
    };
    let subject = format!("node/{node}");
    if action != PowerAction::On {
        cx.confirm(&subject, &format!("{subject} loses its power at once; nothing on it is shut down"))?;
    }
    let session = cx.session()?;
    let request = session.ask(SetNodePowerRequest { name: node.clone(), action: action.into(), force });
    let reply = session.nodes().set_node_power(request).await?.into_inner();
    let sentence = format!(
        "{subject} is {}; its BMC has read that back after {:.1} s",
        show::bmc::power(reply.power()),
        f64::from(reply.took_ms) / 1000.0
    );
    cx.done(&reply, &node, sentence)
}

/// The first line of what was named, or what a person types. Never an argument: all users of a host see those.
fn password(cx: &mut Context<'_>, set: &BmcSet) -> Result<String, Failure> {
    let subject = format!("node/{}", set.node);
    let text = match (&set.password_file, set.password_stdin) {
        (Some(file), _) => read(file)?,
        (None, true) => {
            let mut text = String::new();
            let input = cx.io.input.take();
            let read = input.map_or(Ok(0), |mut input| input.read_to_string(&mut text));
            read.map_err(|error| Failure::usage(&subject, format!("stdin can't be read: {error}")))?;
            text
        }
        (None, false) if cx.io.in_terminal => {
            let question = format!("Password of {} at {}: ", set.user, set.address);
            cx.io
                .ask_secret(&question)
                .map_err(|error| Failure::usage(&subject, format!("no password could be read: {error}")))?
        }
        (None, false) => {
            return Err(Failure::usage(&subject, "there is no terminal to ask for the password on")
                .rule("password-needed")
                .help("give --password-file FILE or --password-stdin"));
        }
    };
    let line = text.lines().next().unwrap_or_default().to_owned();
    if line.is_empty() {
        return Err(Failure::usage(&subject, "the password is empty").rule("password-needed"));
    }
    Ok(line)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::usage(path.display().to_string(), error.to_string()).rule("file-must-be-readable")
    })
}
