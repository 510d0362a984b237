//! `pvc affinity`.

use futures::stream::BoxStream;
use pvc_proto::v1::{
    CreateRuleRequest, DeleteRuleRequest, GetRuleRequest, ListRulesRequest, ListRulesResponse, Meta, Rule,
    RuleKind, RuleSpec, RuleStrength, UpdateRuleRequest, WatchRulesRequest,
};

use crate::args::affinity::{AffinityCommand, KindWord, Modify, RuleList};
use crate::call::{Session, request_id};
use crate::context::Context;
use crate::failure::Failure;
use crate::listing::{self, Listing};
use crate::show;

pub async fn run(cx: &mut Context<'_>, command: AffinityCommand) -> Result<(), Failure> {
    match command {
        AffinityCommand::Add { name, kind, about, should } => {
            let kind = match kind {
                KindWord::Together => RuleKind::Together,
                KindWord::Apart => RuleKind::Apart,
                KindWord::OnNodes => RuleKind::OnNodes,
                KindWord::NotOnNodes => RuleKind::NotOnNodes,
            };
            let spec = RuleSpec {
                kind: kind.into(),
                strength: strength(should).into(),
                vms: about.vms,
                tag: about.tag.unwrap_or_default(),
                nodes: about.nodes,
            };
            let session = cx.session()?;
            let request = session.ask(CreateRuleRequest {
                name: name.clone(),
                spec: Some(spec),
                request_id: request_id(),
            });
            let rule = session.rules().create_rule(request).await?.into_inner();
            done(cx, &rule, &name, "made")
        }
        AffinityCommand::Modify(modify) => self::modify(cx, modify).await,
        AffinityCommand::List(list) => {
            let watch = list.watch;
            listing::run(cx, &list, watch).await
        }
        AffinityCommand::Get { name } => {
            let rule = get(cx, &name).await?;
            cx.reply(&rule, |colour| show::affinity::page(&rule, colour), || vec![name])
        }
        AffinityCommand::Remove { name } => {
            let session = cx.session()?;
            let request = session.ask(DeleteRuleRequest {
                name: name.clone(),
                expected_revision: 0,
                request_id: request_id(),
            });
            let reply = session.rules().delete_rule(request).await?.into_inner();
            cx.done(&reply, &name, format!("affinity/{name} removed"))
        }
    }
}

/// The rule as it is, with what is given in place of what it had.
async fn modify(cx: &mut Context<'_>, modify: Modify) -> Result<(), Failure> {
    let old = get(cx, &modify.name).await?;
    let revision = old.meta.as_ref().map_or(0, |meta| meta.revision);
    let mut spec = old.spec.unwrap_or_default();
    if !modify.vms.is_empty() {
        (spec.vms, spec.tag) = (modify.vms, String::new());
    }
    if let Some(tag) = modify.tag {
        (spec.vms, spec.tag) = (Vec::new(), tag);
    }
    if !modify.nodes.is_empty() {
        spec.nodes = modify.nodes;
    }
    if modify.should || modify.must {
        spec.strength = strength(modify.should).into();
    }
    let session = cx.session()?;
    let request = session.ask(UpdateRuleRequest {
        name: modify.name.clone(),
        spec: Some(spec),
        // What it had was read just now: nobody's change in between is lost.
        expected_revision: if modify.expected_revision == 0 { revision } else { modify.expected_revision },
        request_id: request_id(),
    });
    let rule = session.rules().update_rule(request).await?.into_inner();
    done(cx, &rule, &modify.name, "changed")
}

fn strength(should: bool) -> RuleStrength {
    if should { RuleStrength::Should } else { RuleStrength::Must }
}

/// Says too whether present placements break it.
fn done(cx: &mut Context<'_>, rule: &Rule, name: &str, what: &str) -> Result<(), Failure> {
    let broken = match rule.broken_by.as_slice() {
        [] => String::new(),
        broken => format!("; broken now by {}: `pvc cluster balance` puts it right", broken.join(", ")),
    };
    cx.done(rule, name, format!("affinity/{name} {what}{broken}"))
}

async fn get(cx: &mut Context<'_>, name: &str) -> Result<Rule, Failure> {
    let session = cx.session()?;
    let request = session.ask(GetRuleRequest { name: name.to_owned(), consistency: 0 });
    Ok(session.rules().get_rule(request).await?.into_inner())
}

impl Listing for RuleList {
    type Reply = ListRulesResponse;

    async fn page(&self, session: &Session, token: String) -> Result<ListRulesResponse, Failure> {
        let request = ListRulesRequest {
            name_filter: self.limit.clone().unwrap_or_default(),
            vm: self.vm.clone().unwrap_or_default(),
            page_token: token,
            ..ListRulesRequest::default()
        };
        Ok(session.rules().list_rules(session.ask(request)).await?.into_inner())
    }

    async fn wakes(
        &self,
        session: &Session,
        revision: u64,
    ) -> Result<Option<BoxStream<'static, ()>>, Failure> {
        let name_filter = self.limit.clone().unwrap_or_default();
        let request = WatchRulesRequest { name_filter, start_revision: revision };
        let changes = session.rules().watch_rules(request).await?.into_inner();
        Ok(Some(listing::wakes_of(changes)))
    }

    fn meta(rule: &Rule) -> Option<&Meta> {
        rule.meta.as_ref()
    }

    fn table(rules: &[&Rule], colour: bool) -> String {
        show::affinity::table(rules, colour)
    }
}
