//! `pvc network acl`: the rules of a network's firewall.

use std::io::Read;

use pvc_proto::v1::{
    AclAction, AclDirection, AclProtocol, AclRule, AddAclRuleRequest, PortRange, RemoveAclRuleRequest,
    ReplaceAclRequest, UpdateAclRuleRequest,
};

use super::network::{done, get, list_anew, revision, state};
use crate::args::network_parts::{AclAdd, AclCommand, AclModify, AclSettings, ProtocolWord};
use crate::call::request_id;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::show;

pub async fn run(cx: &mut Context<'_>, command: AclCommand) -> Result<(), Failure> {
    match command {
        AclCommand::Add(add) => self::add(cx, add).await,
        AclCommand::Modify(modify) => self::modify(cx, modify).await,
        AclCommand::Remove { network, rule, expected } => {
            let session = cx.session()?;
            let request = session.ask(RemoveAclRuleRequest {
                network,
                rule: rule.clone(),
                expected_revision: expected.expected_revision,
                request_id: request_id(),
            });
            let reply = session.networks().remove_acl_rule(request).await?.into_inner();
            done(cx, &reply, &format!("rule {rule} removed"))
        }
        AclCommand::List { network, in_, out } => {
            let network = get(cx, &network).await?;
            // Rules are listed though the hosts can't be asked what they have matched.
            let state = if cx.is_for_people() { state(cx, &network).await?.ok() } else { None };
            let mut rules = network.acl;
            rules.retain(|rule| match rule.direction() {
                AclDirection::In => !out,
                AclDirection::Out => !in_,
                AclDirection::Unspecified => true,
            });
            rules.sort_by(|a, b| (a.direction, a.order, &a.name).cmp(&(b.direction, b.order, &b.name)));
            let names = rules.iter().map(|rule| rule.name.clone()).collect();
            let (network, table) = (network.vni.to_string(), rules.clone());
            // In the form in which `load` takes it.
            let reply = ReplaceAclRequest { network, rules, ..ReplaceAclRequest::default() };
            cx.reply(&reply, |colour| show::network_parts::acl(&table, state.as_ref(), colour), || names)
        }
        AclCommand::Load { network, file, expected } => {
            let read = ReplaceAclRequest {
                expected_revision: expected.expected_revision,
                request_id: request_id(),
                network,
                ..load(cx, &file)?
            };
            let session = cx.session()?;
            let count = read.rules.len();
            let reply = session.networks().replace_acl(session.ask(read)).await?.into_inner();
            done(cx, &reply, &format!("it has {count} rules now, and no others"))
        }
    }
}

fn load(cx: &mut Context<'_>, file: &str) -> Result<ReplaceAclRequest, Failure> {
    let wrong = |detail: String| Failure::usage(format!("file {file}"), detail);
    let text = match file {
        "-" => {
            let mut text = String::new();
            let input = cx.io.input.take();
            input.map_or(Ok(0), |mut input| input.read_to_string(&mut text)).map(|_| text)
        }
        path => std::fs::read_to_string(path),
    };
    let text = text.map_err(|error| wrong(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| {
        wrong(error.to_string())
            .rule("acl-must-fit")
            .help("pvc network acl list NETWORK -o yaml prints rules as they are to be")
    })
}

async fn add(cx: &mut Context<'_>, add: AclAdd) -> Result<(), Failure> {
    let mut rule = AclRule { name: add.rule.clone(), ..AclRule::default() };
    apply(&add.network, &add.settings, &mut rule)?;
    let session = cx.session()?;
    let request = session.ask(AddAclRuleRequest {
        network: add.network,
        rule: Some(rule),
        expected_revision: add.expected.expected_revision,
        request_id: request_id(),
    });
    let reply = session.networks().add_acl_rule(request).await?.into_inner();
    done(cx, &reply, &format!("rule {} added", add.rule))
}

async fn modify(cx: &mut Context<'_>, modify: AclModify) -> Result<(), Failure> {
    let old = get(cx, &modify.network).await?;
    let expected_revision = revision(&old, modify.expected.expected_revision);
    let Some(mut rule) = old.acl.into_iter().find(|rule| rule.name == modify.rule) else {
        let detail = format!("it has no rule {}", modify.rule);
        return Err(Failure::new(Exit::NotFound, format!("network/{}", modify.network), detail)
            .rule("must-exist")
            .help(format!("pvc network acl list {}", modify.network)));
    };
    apply(&modify.network, &modify.settings, &mut rule)?;
    let session = cx.session()?;
    let request = session.ask(UpdateAclRuleRequest {
        network: modify.network,
        rule: Some(rule),
        expected_revision,
        request_id: request_id(),
    });
    let reply = session.networks().update_acl_rule(request).await?.into_inner();
    done(cx, &reply, &format!("rule {} changed", modify.rule))
}

/// Puts what is given in the place of what is there.
fn apply(network: &str, settings: &AclSettings, rule: &mut AclRule) -> Result<(), Failure> {
    if settings.in_ || settings.out {
        rule.direction = if settings.in_ { AclDirection::In } else { AclDirection::Out }.into();
    }
    rule.order = settings.order.unwrap_or(rule.order);
    if let Some(description) = &settings.description {
        rule.description.clone_from(description);
    }
    if let Some(raw) = &settings.raw {
        let AclRule { name, direction, order, description, .. } = std::mem::take(rule);
        *rule = AclRule { name, direction, order, description, raw: raw.clone(), ..AclRule::default() };
        return Ok(());
    }
    let AclSettings { accept, drop, reject, .. } = *settings;
    for (chosen, action) in
        [(accept, AclAction::Accept), (drop, AclAction::Drop), (reject, AclAction::Reject)]
    {
        if chosen {
            rule.action = action.into();
            rule.raw.clear();
        }
    }
    if let Some(protocol) = settings.protocol {
        let protocol = match protocol {
            ProtocolWord::Any => AclProtocol::Any,
            ProtocolWord::Tcp => AclProtocol::Tcp,
            ProtocolWord::Udp => AclProtocol::Udp,
            ProtocolWord::Sctp => AclProtocol::Sctp,
            ProtocolWord::Icmp => AclProtocol::Icmp,
            ProtocolWord::Icmpv6 => AclProtocol::Icmpv6,
        };
        rule.protocol = protocol.into();
    }
    list_anew(&settings.from, &mut rule.sources);
    list_anew(&settings.to, &mut rule.destinations);
    match settings.ports.as_slice() {
        [] => {}
        [none] if none == "none" => rule.ports.clear(),
        ports => rule.ports = ports.iter().map(|text| port(network, text)).collect::<Result<_, _>>()?,
    }
    Ok(())
}

fn port(network: &str, text: &str) -> Result<PortRange, Failure> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => Ok(PortRange { first, last }),
        _ => {
            let detail = format!("{text:?} is no port and no range of ports, as in 22 or 8000-8080");
            Err(Failure::usage(format!("network/{network}"), detail))
        }
    }
}
