//! `NodeService`.

use pvc_model::{Command, Name, Node, World, plan, why};
use pvc_proto::convert::{
    At, asked_isolation, asked_on_return, asked_on_shutdown, explanation, node_role, reachability,
};
use pvc_proto::v1;
use pvc_proto::v1::node_service_server::NodeService;
use tonic::{Request, Response, Status};

use super::answers::Answers;
use super::caller::Caller;
use super::hosts::{in_time, log_lines, relay};
use super::listing::{Page, name_filter};
use super::node_bmc;
use super::shared::{Shared, name, refuse, reply_name};
use super::watching::Watch;
use pvc_model::change::Collection;

/// Serves nodes.
pub struct Nodes(pub Shared);

impl Nodes {
    /// Submits a command that answers with a node.
    async fn changed_node(
        &self,
        caller: &Caller,
        command: Command,
        request_id: &str,
    ) -> Result<Response<v1::Node>, Status> {
        let committed = self.0.submit(caller, command, request_id).await?;
        let node = committed.world.node(reply_name(&committed, Collection::Nodes)?).map_err(refuse)?;
        Ok(Response::new(self.0.show_node(&committed.world, node)))
    }
}

#[tonic::async_trait]
impl NodeService for Nodes {
    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(request.page_size, &request.page_token)?;
        let filter = name_filter(&request.name_filter)?;
        let at = At::new("request");
        let role = (request.role != 0).then(|| node_role(&at.field("role"), request.role));
        let role = role.transpose().map_err(refuse)?;
        let heard = reachability(&at.field("reachability"), request.reachability).map_err(refuse)?;
        let after = page.after_name()?;
        let world = self.0.page_world(request.consistency, page.revision).await?;
        let matching = world.nodes.values().filter(|node| {
            after.as_ref().is_none_or(|after| node.meta.name > *after)
                && filter.as_ref().is_none_or(|filter| filter.is_match(node.meta.name.as_str()))
                && role.is_none_or(|role| node.spec.role == role)
                && heard.is_none_or(|heard| node.status.reachability == heard)
        });
        let (found, next_page_token) = page.cut(matching, world.revision, |n| n.meta.name.to_string());
        let nodes = found.into_iter().map(|node| self.0.show_node(&world, node)).collect();
        Ok(Response::new(v1::ListNodesResponse { nodes, next_page_token, revision: world.revision }))
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Result<Response<v1::Node>, Status> {
        let request = request.into_inner();
        let node = name("node", "name", &request.name)?;
        let world = self.0.world(request.consistency).await?;
        let node = world.node(&node).map_err(refuse)?;
        Ok(Response::new(self.0.show_node(&world, node)))
    }

    async fn update_node(
        &self,
        request: Request<v1::UpdateNodeRequest>,
    ) -> Result<Response<v1::Node>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::UpdateNode {
            name: name("node", "name", &request.name)?,
            schedulable: request.schedulable,
            on_return: asked_on_return(&At::new("request").field("on_return"), request.on_return)
                .map_err(refuse)?,
            isolation: asked_isolation(&At::new("request").field("isolation"), request.isolation)
                .map_err(refuse)?,
            on_shutdown: asked_on_shutdown(&At::new("request").field("on_shutdown"), request.on_shutdown)
                .map_err(refuse)?,
            expected_revision: request.expected_revision,
        };
        self.changed_node(&caller, command, &request.request_id).await
    }

    async fn fence_node(&self, request: Request<v1::FenceNodeRequest>) -> Result<Response<v1::Node>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::FenceNode {
            name: name("node", "name", &request.name)?,
            confirmed_off: request.confirmed_off,
            force: request.force,
        };
        self.changed_node(&caller, command, &request.request_id).await
    }

    async fn delete_node(
        &self,
        request: Request<v1::DeleteNodeRequest>,
    ) -> Result<Response<v1::DeleteNodeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::DeleteNode {
            name: name("node", "name", &request.name)?,
            expected_revision: request.expected_revision,
        };
        self.0.submit(&caller, command, &request.request_id).await?;
        Ok(Response::new(v1::DeleteNodeResponse {}))
    }

    async fn set_node_bmc(
        &self,
        request: Request<v1::SetNodeBmcRequest>,
    ) -> Result<Response<v1::Node>, Status> {
        let caller = Caller::of(&request)?;
        node_bmc::set(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn clear_node_bmc(
        &self,
        request: Request<v1::ClearNodeBmcRequest>,
    ) -> Result<Response<v1::Node>, Status> {
        let caller = Caller::of(&request)?;
        node_bmc::clear(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn check_node_bmc(
        &self,
        request: Request<v1::CheckNodeBmcRequest>,
    ) -> Result<Response<v1::CheckNodeBmcResponse>, Status> {
        node_bmc::check(&self.0, &request.into_inner().name).await.map(Response::new)
    }

    async fn set_node_power(
        &self,
        request: Request<v1::SetNodePowerRequest>,
    ) -> Result<Response<v1::SetNodePowerResponse>, Status> {
        let caller = Caller::of(&request)?;
        node_bmc::set_power(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn plan_flush(
        &self,
        request: Request<v1::PlanFlushRequest>,
    ) -> Result<Response<v1::FlushPlan>, Status> {
        let request = request.into_inner();
        let node = name("node", "name", &request.name)?;
        let world = self.0.world(request.consistency).await?;
        world.node(&node).map_err(refuse)?;
        Ok(Response::new(flush_plan(&world, &node)))
    }

    async fn flush_node(&self, request: Request<v1::FlushNodeRequest>) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::FlushNode {
            node: name("node", "name", &request.name)?,
            stop_unmovable: request.stop_unmovable,
        };
        let committed = self.0.submit(&caller, command, &request.request_id).await?;
        Ok(Response::new(self.0.reply_task(&committed)?))
    }

    async fn ready_node(&self, request: Request<v1::ReadyNodeRequest>) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command =
            Command::ReadyNode { node: name("node", "name", &request.name)?, no_return: request.no_return };
        let committed = self.0.submit(&caller, command, &request.request_id).await?;
        Ok(Response::new(self.0.reply_task(&committed)?))
    }

    async fn explain_node(
        &self,
        request: Request<v1::ExplainNodeRequest>,
    ) -> Result<Response<v1::Explanation>, Status> {
        let request = request.into_inner();
        let node = name("node", "name", &request.name)?;
        let world = self.0.world(request.consistency).await?;
        let node = world.node(&node).map_err(refuse)?;
        Ok(Response::new(explanation(why::of_node(&world, node), world.revision)))
    }

    type WatchNodesStream = Answers<v1::NodeChange>;

    async fn watch_nodes(
        &self,
        request: Request<v1::WatchNodesRequest>,
    ) -> Result<Response<Self::WatchNodesStream>, Status> {
        let request = request.into_inner();
        let filter = name_filter(&request.name_filter)?;
        let watch = Watch {
            matches: Box::new(move |node: &Node| {
                filter.as_ref().is_none_or(|filter| filter.is_match(node.meta.name.as_str()))
            }),
            message,
            touched: |_, _| Vec::new(),
        };
        Ok(Response::new(watch.run(&self.0, request.start_revision)))
    }

    type TailNodeLogStream = Answers<v1::LogChunk>;

    async fn tail_node_log(
        &self,
        request: Request<v1::TailNodeLogRequest>,
    ) -> Result<Response<Self::TailNodeLogStream>, Status> {
        let mut request = request.into_inner();
        let node = name("node", "name", &request.name)?;
        request.lines = log_lines(request.lines)?;
        let address = Shared::node_address(&self.0.core.world(), &node)?;
        let mut host = self.0.hosts.host(&node, &address).await?;
        let stream = in_time(&node, host.tail_node_log(request)).await?;
        Ok(Response::new(relay(&self.0, &node, stream)))
    }
}

/// Memory that a link of 1 Gbit/s copies in a second, MiB.
const LINK_MIB_PER_SECOND: u64 = 110;

fn flush_plan(world: &World, node: &Name) -> v1::FlushPlan {
    let drain = plan::drain(world, node);
    let memory = drain.moves.iter().filter_map(|(vm, _)| world.vms.get(vm)).map(|vm| vm.spec.memory_mib);
    let memory_mib = memory.sum::<u64>();
    let moves = |moves: Vec<(Name, Name)>| {
        let shown =
            moves.into_iter().map(|(vm, to)| v1::FlushMove { vm: vm.to_string(), to: to.to_string() });
        shown.collect()
    };
    let stuck = drain.stuck.into_iter();
    v1::FlushPlan {
        node: node.to_string(),
        moves: moves(drain.moves),
        stuck: stuck.map(|(vm, reason)| v1::FlushStuck { vm: vm.to_string(), reason }).collect(),
        off: moves(drain.off),
        memory_mib,
        estimated_seconds: u32::try_from(memory_mib.div_ceil(LINK_MIB_PER_SECOND)).unwrap_or(u32::MAX),
        revision: world.revision,
    }
}

fn message(
    shared: &Shared,
    world: &World,
    kind: v1::ChangeKind,
    node: Option<&Node>,
    revision: u64,
) -> v1::NodeChange {
    let node = node.map(|node| shared.show_node(world, node));
    v1::NodeChange { kind: kind.into(), node, revision }
}
