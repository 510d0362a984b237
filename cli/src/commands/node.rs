//! `pvc node`.

use futures::stream::BoxStream;
use pvc_proto::v1::{
    ConfirmNodeOffRequest, DeleteNodeRequest, FenceNodeRequest, FlushNodeRequest, GetNodeRequest,
    HandOverPrimaryRequest, Isolation, ListNodesRequest, ListNodesResponse, Meta, Node, NodeRole, OnReturn,
    OnShutdown, PlanFlushRequest, Reachability, ReadyNodeRequest, TailNodeLogRequest, UpdateNodeRequest,
    WatchNodesRequest,
};

use super::{bmc, history, logs};
use crate::args::node::{
    IsolationWord, NodeCommand, NodeList, OnOff, OnReturnWord, OnShutdownWord, ReachabilityWord, RoleWord,
};
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
        NodeCommand::History { node, newest } => history::run(cx, format!("node/{node}"), newest).await,
        NodeCommand::Update { node, schedulable, on_return, isolation, on_shutdown, expected_revision } => {
            let session = cx.session()?;
            let request = session.ask(UpdateNodeRequest {
                name: node.clone(),
                schedulable: schedulable.map(|word| word == OnOff::On),
                on_return: on_return.map_or(OnReturn::Unspecified, OnReturn::from).into(),
                isolation: isolation.map_or(Isolation::Unspecified, Isolation::from).into(),
                on_shutdown: on_shutdown.map_or(OnShutdown::Unspecified, OnShutdown::from).into(),
                expected_revision,
                request_id: request_id(),
            });
            let reply = session.nodes().update_node(request).await?.into_inner();
            let takes = match schedulable {
                Some(OnOff::On) => "takes new VMs",
                Some(OnOff::Off) => "takes no new VMs",
                None => "is changed",
            };
            cx.done(&reply, &node, format!("node/{node} {takes}"))
        }
        NodeCommand::Fence { node, confirm_off, force } => {
            let subject = format!("node/{node}");
            if confirm_off {
                let what = format!(
                    "you say that {subject} is off; if it is not, its VMs run twice and destroy their disks"
                );
                cx.confirm(&subject, &what)?;
            } else {
                cx.confirm(
                    &subject,
                    &format!("{subject} loses its power, and its VMs are started elsewhere"),
                )?;
            }
            let session = cx.session()?;
            let request = session.ask(FenceNodeRequest {
                name: node.clone(),
                confirmed_off: confirm_off,
                force,
                request_id: request_id(),
            });
            let reply = session.nodes().fence_node(request).await?.into_inner();
            let sentence =
                format!("{subject} is {}; see `pvc node info {node}`", show::node::fence_phase(&reply));
            cx.done(&reply, &node, sentence)
        }
        NodeCommand::Bmc(command) => bmc::run(cx, command).await,
        NodeCommand::Power { node, to, force } => bmc::power(cx, node, to, force).await,
        NodeCommand::Primary { node } => hand_over(cx, node, String::new()).await,
        NodeCommand::Secondary { node } => hand_over(cx, String::new(), node).await,
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

impl From<IsolationWord> for Isolation {
    fn from(word: IsolationWord) -> Self {
        match word {
            IsolationWord::Keep => Isolation::Keep,
            IsolationWord::Stop => Isolation::Stop,
        }
    }
}

impl From<OnReturnWord> for OnReturn {
    fn from(word: OnReturnWord) -> Self {
        match word {
            OnReturnWord::Automatic => OnReturn::Automatic,
            OnReturnWord::Home => OnReturn::Home,
            OnReturnWord::Manual => OnReturn::Manual,
        }
    }
}

impl From<OnShutdownWord> for OnShutdown {
    fn from(word: OnShutdownWord) -> Self {
        match word {
            OnShutdownWord::Move => OnShutdown::Move,
            OnShutdownWord::Stop => OnShutdown::Stop,
            OnShutdownWord::Keep => OnShutdown::Keep,
        }
    }
}

async fn hand_over(cx: &mut Context<'_>, node: String, from: String) -> Result<(), Failure> {
    let session = cx.session()?;
    let request = session.ask(HandOverPrimaryRequest { node, holder: from, request_id: request_id() });
    let status = session.cluster().hand_over_primary(request).await?.into_inner();
    let primary = status.primary.clone().unwrap_or_default();
    cx.done(&status, &primary.node, format!("node/{} is the primary, epoch {}", primary.node, primary.epoch))
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
