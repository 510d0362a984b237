//! `RuleService`.

use pvc_model::change::Collection;
use pvc_model::{Command, Rule, World};
use pvc_proto::convert::{At, rule_spec, rule_view};
use pvc_proto::v1;
use pvc_proto::v1::rule_service_server::RuleService;
use tonic::{Request, Response, Status};

use super::answers::Answers;
use super::caller::Caller;
use super::listing::{Page, name_filter};
use super::shared::{Shared, name, optional_name, refuse, reply_name};
use super::watching::Watch;

/// Serves affinity rules.
pub struct Rules(pub Shared);

impl Rules {
    async fn change(
        &self,
        caller: &Caller,
        command: Command,
        id: &str,
    ) -> Result<Response<v1::Rule>, Status> {
        let committed = self.0.submit(caller, command, id).await?;
        let rule = committed.world.rule(reply_name(&committed, Collection::Rules)?).map_err(refuse)?;
        Ok(Response::new(rule_view(&committed.world, rule)))
    }
}

#[tonic::async_trait]
impl RuleService for Rules {
    async fn list_rules(
        &self,
        request: Request<v1::ListRulesRequest>,
    ) -> Result<Response<v1::ListRulesResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(request.page_size, &request.page_token)?;
        let filter = name_filter(&request.name_filter)?;
        let vm = optional_name("vm", "vm", &request.vm)?;
        let after = page.after_name()?;
        let world = self.0.page_world(request.consistency, page.revision).await?;
        let vm = vm.map(|vm| world.vm(&vm).cloned()).transpose().map_err(refuse)?;
        let matching = world.rules.values().filter(|rule| {
            after.as_ref().is_none_or(|after| rule.meta.name > *after)
                && filter.as_ref().is_none_or(|filter| filter.is_match(rule.meta.name.as_str()))
                && vm.as_ref().is_none_or(|vm| rule.spec.applies_to(vm))
        });
        let (found, next_page_token) = page.cut(matching, world.revision, |r| r.meta.name.to_string());
        let rules = found.into_iter().map(|rule| rule_view(&world, rule)).collect();
        Ok(Response::new(v1::ListRulesResponse { rules, next_page_token, revision: world.revision }))
    }

    async fn get_rule(&self, request: Request<v1::GetRuleRequest>) -> Result<Response<v1::Rule>, Status> {
        let request = request.into_inner();
        let rule = name("affinity", "name", &request.name)?;
        let world = self.0.world(request.consistency).await?;
        let rule = world.rule(&rule).map_err(refuse)?;
        Ok(Response::new(rule_view(&world, rule)))
    }

    async fn create_rule(
        &self,
        request: Request<v1::CreateRuleRequest>,
    ) -> Result<Response<v1::Rule>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::CreateRule {
            name: name("affinity", "name", &request.name)?,
            spec: spec(&request.name, request.spec.as_ref())?,
        };
        self.change(&caller, command, &request.request_id).await
    }

    async fn update_rule(
        &self,
        request: Request<v1::UpdateRuleRequest>,
    ) -> Result<Response<v1::Rule>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::UpdateRule {
            name: name("affinity", "name", &request.name)?,
            spec: spec(&request.name, request.spec.as_ref())?,
            expected_revision: request.expected_revision,
        };
        self.change(&caller, command, &request.request_id).await
    }

    async fn delete_rule(
        &self,
        request: Request<v1::DeleteRuleRequest>,
    ) -> Result<Response<v1::DeleteRuleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::DeleteRule {
            name: name("affinity", "name", &request.name)?,
            expected_revision: request.expected_revision,
        };
        self.0.submit(&caller, command, &request.request_id).await?;
        Ok(Response::new(v1::DeleteRuleResponse {}))
    }

    type WatchRulesStream = Answers<v1::RuleChange>;

    async fn watch_rules(
        &self,
        request: Request<v1::WatchRulesRequest>,
    ) -> Result<Response<Self::WatchRulesStream>, Status> {
        let request = request.into_inner();
        let filter = name_filter(&request.name_filter)?;
        let watch = Watch {
            matches: Box::new(move |rule: &Rule| {
                filter.as_ref().is_none_or(|filter| filter.is_match(rule.meta.name.as_str()))
            }),
            message,
            touched: |_, _| Vec::new(),
        };
        Ok(Response::new(watch.run(&self.0, request.start_revision)))
    }
}

fn spec(rule: &str, wire: Option<&v1::RuleSpec>) -> Result<pvc_model::rule::RuleSpec, Status> {
    let subject = format!("affinity/{rule}");
    let root = At::new(&subject);
    let at = root.field("spec");
    let wire = at.present(wire).map_err(refuse)?;
    rule_spec(&at, wire).map_err(refuse)
}

fn message(
    _: &Shared,
    world: &World,
    kind: v1::ChangeKind,
    rule: Option<&Rule>,
    revision: u64,
) -> v1::RuleChange {
    v1::RuleChange { kind: kind.into(), rule: rule.map(|rule| rule_view(world, rule)), revision }
}
