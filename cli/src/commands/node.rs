//! `pvc node`.

use futures::stream::BoxStream;
use pvc_proto::v1::{
    ConfirmNodeOffRequest, DeleteNodeRequest, FlushNodeRequest, GetNodeRequest, ListNodesRequest,
    ListNodesResponse, Meta, Node, NodeRole, PlanFlushRequest, Reachability, ReadyNodeRequest,
    TailNodeLogRequest, UpdateNodeRequest, WatchNodesRequest,
};

use super::logs;
use crate::args::node::{NodeCommand, NodeList, OnOff, ReachabilityWord, RoleWord};
use crate::call::{Session, request_id};
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::listing::{self, Listing};
use crate::show;

pub async fn run(cx: &mut Context<'_>, command: NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::List(list) => {
            let watch = list.watch;
            listing::run(cx, &list, watch).await
        }
        NodeCommand::Info { node } => {
            let session = cx.session()?;
            let request = session.ask(GetNodeRequest { name: node.clone(), consistency: 0 });
            let reply = session.nodes().get_node(request).await?.into_inner();
            cx.reply(&reply, |colour| show::node::page(&reply, colour), || vec![node])
        }
        NodeCommand::Log { node, lines, follow } => {
            let session = cx.session()?;
            let request = TailNodeLogRequest { name: node, lines, follow };
            let stream = session.nodes().tail_node_log(request).await?.into_inner();
            logs::print(cx, stream).await
        }
        NodeCommand::Update { node, schedulable, expected_revision } => {
            let session = cx.session()?;
            let request = session.ask(UpdateNodeRequest {
                name: node.clone(),
                schedulable: Some(schedulable == OnOff::On),
                expected_revision,
                request_id: request_id(),
            });
            let reply = session.nodes().update_node(request).await?.into_inner();
            let takes = if schedulable == OnOff::On { "takes new VMs" } else { "takes no new VMs" };
            cx.done(&reply, &node, format!("node/{node} {takes}"))
        }
        NodeCommand::Flush { node, dry_run: true, .. } => {
            let session = cx.session()?;
            let request = session.ask(PlanFlushRequest { name: node.clone(), consistency: 0 });
            let plan = session.nodes().plan_flush(request).await?.into_inner();
            let moved = || plan.moves.iter().map(|one| one.vm.clone()).collect();
            cx.reply(&plan, |colour| show::node::flush(&plan, colour), moved)
        }
        NodeCommand::Flush { node, stop_unmovable, wait, .. } => {
            let session = cx.session()?;
            let request =
                session.ask(FlushNodeRequest { name: node, stop_unmovable, request_id: request_id() });
            let task = session.nodes().flush_node(request).await?.into_inner();
            follow::finish(cx, task, wait).await
        }
        NodeCommand::Ready { node, no_return, wait } => {
            let session = cx.session()?;
            let request = session.ask(ReadyNodeRequest { name: node, no_return, request_id: request_id() });
            let task = session.nodes().ready_node(request).await?.into_inner();
            follow::finish(cx, task, wait).await
        }
        NodeCommand::ConfirmOff { node } => {
            let subject = format!("node/{node}");
            let what =
                format!("you say that no guest runs on {subject}; if one does, its VM may be started twice");
            cx.confirm(&subject, &what)?;
            let session = cx.session()?;
            let request = session.ask(ConfirmNodeOffRequest { node: node.clone(), request_id: request_id() });
            let status = session.cluster().confirm_node_off(request).await?.into_inner();
            let left = status.awaited_nodes.len();
            cx.done(&status, &node, format!("{subject} is not waited for; {left} nodes are"))
        }
        NodeCommand::Remove { node } => {
            let subject = format!("node/{node}");
            cx.confirm(&subject, &format!("{subject} is removed and its certificate refused from then on"))?;
            let session = cx.session()?;
            let request = session.ask(DeleteNodeRequest {
                name: node.clone(),
                expected_revision: 0,
                request_id: request_id(),
            });
            let reply = session.nodes().delete_node(request).await?.into_inner();
            cx.done(&reply, &node, format!("{subject} removed"))
        }
    }
}

impl Listing for NodeList {
    type Reply = ListNodesResponse;

    async fn page(&self, session: &Session, token: String) -> Result<ListNodesResponse, Failure> {
        let request = ListNodesRequest {
            name_filter: self.limit.clone().unwrap_or_default(),
            role: match self.role {
                None => NodeRole::Unspecified,
                Some(RoleWord::Coordinator) => NodeRole::Coordinator,
                Some(RoleWord::Hypervisor) => NodeRole::Hypervisor,
            } as i32,
            reachability: match self.state {
                None => Reachability::Unspecified,
                Some(ReachabilityWord::NeverSeen) => Reachability::NeverSeen,
                Some(ReachabilityWord::Reachable) => Reachability::Reachable,
                Some(ReachabilityWord::Unreachable) => Reachability::Unreachable,
            } as i32,
            page_token: token,
            ..ListNodesRequest::default()
        };
        Ok(session.nodes().list_nodes(session.ask(request)).await?.into_inner())
    }

    async fn wakes(
        &self,
        session: &Session,
        revision: u64,
    ) -> Result<Option<BoxStream<'static, ()>>, Failure> {
        let name_filter = self.limit.clone().unwrap_or_default();
        let request = WatchNodesRequest { name_filter, start_revision: revision };
        let changes = session.nodes().watch_nodes(request).await?.into_inner();
        Ok(Some(listing::wakes_of(changes)))
    }

    fn meta(node: &Node) -> Option<&Meta> {
        node.meta.as_ref()
    }

    fn table(nodes: &[&Node], colour: bool) -> String {
        show::node::table(nodes, colour)
    }
}
