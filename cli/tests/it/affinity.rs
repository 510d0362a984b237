//! Affinity rules from the command line, with a coordinator that keeps one in memory.

use futures::stream::{self, BoxStream};
use pvc_proto::v1::rule_service_server::{RuleService, RuleServiceServer};
use pvc_proto::v1::{
    CreateRuleRequest, DeleteRuleRequest, DeleteRuleResponse, GetRuleRequest, ListRulesRequest,
    ListRulesResponse, Meta, Rule, RuleChange, UpdateRuleRequest, WatchRulesRequest,
};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use crate::coordinator::serve_with;
use crate::home::Home;

#[derive(Default)]
struct OneRule(Mutex<Option<Rule>>);

impl OneRule {
    async fn kept(&self) -> Result<Rule, Status> {
        self.0.lock().await.clone().ok_or_else(|| Status::not_found("no rule"))
    }

    async fn keep(&self, name: String, spec: Option<pvc_proto::v1::RuleSpec>) -> Response<Rule> {
        let meta = Some(Meta { name, revision: 7, ..Meta::default() });
        let broken_by = vec!["vm/db1 on hv1".to_owned(), "vm/db2 on hv1".to_owned()];
        let rule = Rule { meta, spec, broken_by, ..Rule::default() };
        *self.0.lock().await = Some(rule.clone());
        Response::new(rule)
    }
}

#[tonic::async_trait]
impl RuleService for OneRule {
    async fn list_rules(&self, _: Request<ListRulesRequest>) -> Result<Response<ListRulesResponse>, Status> {
        Ok(Response::new(ListRulesResponse {
            rules: vec![self.kept().await?],
            ..ListRulesResponse::default()
        }))
    }

    async fn get_rule(&self, _: Request<GetRuleRequest>) -> Result<Response<Rule>, Status> {
        Ok(Response::new(self.kept().await?))
    }

    async fn create_rule(&self, request: Request<CreateRuleRequest>) -> Result<Response<Rule>, Status> {
        let request = request.into_inner();
        Ok(self.keep(request.name, request.spec).await)
    }

    async fn update_rule(&self, request: Request<UpdateRuleRequest>) -> Result<Response<Rule>, Status> {
        let request = request.into_inner();
        if request.expected_revision != 7 {
            return Err(Status::aborted("it is at revision 7"));
        }
        Ok(self.keep(request.name, request.spec).await)
    }

    async fn delete_rule(
        &self,
        _: Request<DeleteRuleRequest>,
    ) -> Result<Response<DeleteRuleResponse>, Status> {
        *self.0.lock().await = None;
        Ok(Response::new(DeleteRuleResponse {}))
    }

    type WatchRulesStream = BoxStream<'static, Result<RuleChange, Status>>;

    async fn watch_rules(
        &self,
        _: Request<WatchRulesRequest>,
    ) -> Result<Response<Self::WatchRulesStream>, Status> {
        Ok(Response::new(Box::pin(stream::empty())))
    }
}

#[tokio::test]
async fn a_rule_is_made_changed_and_removed() {
    let home = Home::new();
    let server = tonic::transport::Server::builder().add_service(RuleServiceServer::new(OneRule::default()));
    home.connect(&serve_with(&home, server).await).await;
    let ran = home.pvc(&["affinity", "add", "db", "apart", "--vm", "db1", "--vm", "db2"]).await;
    let told =
        "affinity/db made; broken now by vm/db1 on hv1, vm/db2 on hv1: `pvc cluster balance` puts it right\n";
    assert_eq!((ran.exit, ran.out.as_str()), (0, told), "{ran:?}");
    let ran = home.pvc(&["affinity", "list"]).await;
    let lines: Vec<_> = ran.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[1][..5], ["db", "apart", "must", "db1,db2", "broken"], "{ran:?}");
    // Only what is given is changed, and only if nobody changed it meanwhile.
    let ran = home.pvc(&["affinity", "modify", "db", "--should", "-o", "json"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains("RULE_STRENGTH_SHOULD") && ran.out.contains("db2"), "{ran:?}");
    let ran = home.pvc(&["affinity", "modify", "db", "--must", "--expected-revision", "6"]).await;
    assert_eq!(ran.exit, 9, "{ran:?}");
    let ran = home.pvc(&["affinity", "remove", "db"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "affinity/db removed\n"), "{ran:?}");
    let ran = home.pvc(&["affinity", "add", "db", "apart"]).await;
    assert_eq!(ran.exit, 2, "without VMs or a tag it is no rule: {ran:?}");
}
