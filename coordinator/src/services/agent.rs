//! `AgentService`: nodes' signs of life, what they are to do, and what they have done. A node speaks for
//! itself only.

use std::collections::BTreeSet;

use pvc_model::{Name, Uid};
use pvc_proto::convert::{
    At, counted_guest, guard, lease_report, node_facts, primary_report, store_health, vm_report,
    volume_report, wire_primary_role,
};
use pvc_proto::internal::v1::agent_service_server::AgentService;
use pvc_proto::internal::v1::{
    Assignments, Coordinator, HeartbeatRequest, HeartbeatResponse, Hypervisors, LeaveNodeRequest,
    LeaveNodeResponse, ReportGuardRequest, ReportGuardResponse, ReportLeasesRequest, ReportLeasesResponse,
    ReportPrimaryRequest, ReportPrimaryResponse, ReportRequest, ReportResponse, WatchAssignmentsRequest,
    WorkProgress,
};
use tonic::{Request, Response, Status};

use super::answers::{Answers, answers};
use super::caller::Caller;
use super::shared::{Shared, name, refuse};

use crate::core::{self, Heartbeat, Load, Progress};
use crate::status;

/// Guests that a node may name.
const GUESTS_MAX: usize = 10_000;

/// Serves nodes.
pub struct Agents(pub Shared);

#[tonic::async_trait]
impl AgentService for Agents {
    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let node = name("node", "node", &request.node)?;
        caller.must_be_node(&node)?;
        let at = At::new("heartbeat");
        let progress = request.progress.into_iter().enumerate().map(|(index, work)| {
            let task = at.item("progress", index).field("task").name(&work.task).map_err(refuse)?;
            let WorkProgress { percent, text, .. } = work;
            Ok(Progress { task, percent: percent.min(100), text })
        });
        let beat = Heartbeat {
            session: request.session,
            sequence: request.sequence,
            load: Load {
                load: request.load,
                memory_used_mib: request.memory_used_mib,
                vms_running: request.vms_running,
            },
            progress: progress.collect::<Result<_, Status>>()?,
            store: request.store.as_ref().map(store_health),
        };
        let ack = self.0.core.heartbeat(&node, beat);
        let ack = ack.map_err(|error| status::submit(&error, self.0.leader().as_ref()))?;
        let core::HeartbeatAck { sequence, term, revision, incarnation } = ack;
        Ok(Response::new(HeartbeatResponse { sequence, term, revision, incarnation }))
    }

    type WatchAssignmentsStream = Answers<Assignments>;

    async fn watch_assignments(
        &self,
        request: Request<WatchAssignmentsRequest>,
    ) -> Result<Response<Self::WatchAssignmentsStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let node = name("node", "node", &request.node)?;
        caller.must_be_node(&node)?;
        let at = At::new("request");
        at.field("guests").at_most(request.guests.len(), GUESTS_MAX, "guests").map_err(refuse)?;
        let guests = request.guests.iter().enumerate().map(|(i, uid)| at.item("guests", i).uid(uid));
        let guests: BTreeSet<Uid> = guests.collect::<Result<_, _>>().map_err(refuse)?;
        let stream = self.0.core.assignments(&node, guests).await;
        let mut stream = stream.map_err(|error| status::assignments(&error))?;
        Ok(Response::new(answers(&self.0.closing, move |sink| async move {
            loop {
                let told = stream.next().await.map_err(status::watch)?;
                sink.send(message(&told)).await?;
            }
        })))
    }

    async fn report_primary(
        &self,
        request: Request<ReportPrimaryRequest>,
    ) -> Result<Response<ReportPrimaryResponse>, Status> {
        let caller = Caller::of(&request)?;
        let ReportPrimaryRequest { node, session, epoch, report } = request.into_inner();
        let node = name("node", "node", &node)?;
        caller.must_be_node(&node)?;
        let report = primary_report(&At::new("request").field("report"), report).map_err(refuse)?;
        let committed = self.0.core.report_primary(&node, session, epoch, report).await;
        let committed = committed.map_err(|error| status::submit(&error, self.0.leader().as_ref()))?;
        Ok(Response::new(ReportPrimaryResponse { revision: committed.revision }))
    }

    async fn report_guard(
        &self,
        request: Request<ReportGuardRequest>,
    ) -> Result<Response<ReportGuardResponse>, Status> {
        let caller = Caller::of(&request)?;
        let ReportGuardRequest { node, session, after, guard: armed } = request.into_inner();
        let node = name("node", "node", &node)?;
        caller.must_be_node(&node)?;
        let armed = armed.map(|armed| guard(&At::new("request").field("guard"), &armed)).transpose();
        let committed = self.0.core.report_guard(&node, session, after, armed.map_err(refuse)?).await;
        let committed = committed.map_err(|error| status::submit(&error, self.0.leader().as_ref()))?;
        Ok(Response::new(ReportGuardResponse { revision: committed.revision }))
    }

    async fn report_leases(
        &self,
        request: Request<ReportLeasesRequest>,
    ) -> Result<Response<ReportLeasesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let ReportLeasesRequest { node, session, epoch, put, gone } = request.into_inner();
        let node = name("node", "node", &node)?;
        caller.must_be_node(&node)?;
        let at = At::new("request");
        let put = put.iter().enumerate().map(|(i, lease)| lease_report(&at.item("put", i), lease));
        let put = put.collect::<Result<_, _>>().map_err(refuse)?;
        let gone = gone.iter().enumerate().map(|(i, lease)| at.item("gone", i).name(lease));
        let gone = gone.collect::<Result<_, _>>().map_err(refuse)?;
        let committed = self.0.core.report_leases(&node, (session, epoch), put, gone).await;
        let committed = committed.map_err(|error| status::submit(&error, self.0.leader().as_ref()))?;
        Ok(Response::new(ReportLeasesResponse { revision: committed.revision }))
    }

    async fn leave_node(
        &self,
        request: Request<LeaveNodeRequest>,
    ) -> Result<Response<LeaveNodeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let LeaveNodeRequest { node, session, within_seconds } = request.into_inner();
        let node = name("node", "node", &node)?;
        caller.must_be_node(&node)?;
        let committed = self.0.core.leave_node(&node, session, within_seconds).await;
        let committed = committed.map_err(|error| status::submit(&error, self.0.leader().as_ref()))?;
        Ok(Response::new(LeaveNodeResponse { revision: committed.revision }))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let node: Name = name("node", "node", &request.node)?;
        caller.must_be_node(&node)?;
        let subject = format!("node/{node}");
        let root = At::new(&subject);
        let vms = request.vms.iter().enumerate().map(|(i, vm)| vm_report(&root.item("vms", i), vm));
        let vms = vms.collect::<Result<_, _>>().map_err(refuse)?;
        let volumes =
            request.volumes.iter().enumerate().map(|(i, v)| volume_report(&root.item("volumes", i), v));
        let volumes = volumes.collect::<Result<_, _>>().map_err(refuse)?;
        if let Some(count) = &request.guest_count {
            let counted = root.field("guest_count");
            counted.field("guests").at_most(count.guests.len(), GUESTS_MAX, "guests").map_err(refuse)?;
            let guests = count.guests.iter().enumerate();
            let guests = guests.map(|(i, guest)| counted_guest(&counted.item("guests", i), guest));
            let guests = guests.collect::<Result<_, _>>().map_err(refuse)?;
            let counted = self.0.core.count_guests(&node, request.session, count.incarnation, guests).await;
            counted.map_err(|error| status::submit(&error, self.0.leader().as_ref()))?;
        }
        let facts = request.node_report.and_then(|report| report.status);
        let command = pvc_model::Command::Report {
            node,
            session: request.session,
            vms,
            volumes,
            facts: facts.as_ref().map(node_facts),
        };
        let committed = self.0.submit(&caller, command, &request.request_id).await?;
        Ok(Response::new(ReportResponse { revision: committed.revision }))
    }
}

fn message(told: &core::Assignments) -> Assignments {
    let coordinator =
        |(node, address): &(Name, String)| Coordinator { node: node.to_string(), address: address.clone() };
    Assignments {
        revision: told.revision,
        full: told.full,
        vms: told.vms.iter().map(|vm| (&**vm).into()).collect(),
        vms_gone: told.vms_gone.iter().map(Uid::to_string).collect(),
        volumes: told.volumes.iter().map(|volume| (&**volume).into()).collect(),
        volumes_gone: told.volumes_gone.iter().map(Uid::to_string).collect(),
        node: told.node.as_deref().map(Into::into),
        coordinators: told.coordinators.iter().flatten().map(coordinator).collect(),
        incarnation: told.incarnation,
        count_guests: told.count_guests,
        primary: told
            .primary
            .as_ref()
            .map(|role| wire_primary_role(role.primary.as_ref(), role.floating.as_ref())),
        networks: told.network.networks.iter().map(|network| (&**network).into()).collect(),
        networks_gone: told.network.networks_gone.iter().map(ToString::to_string).collect(),
        leases: told.network.leases.iter().map(|lease| (&**lease).into()).collect(),
        leases_gone: told.network.leases_gone.iter().map(ToString::to_string).collect(),
        fabric: told.network.fabric.as_ref().map(Into::into),
        hypervisors: told.hypervisors.as_ref().map(|hypervisors| Hypervisors {
            addresses: hypervisors.iter().map(|(node, at)| (node.to_string(), at.clone())).collect(),
        }),
    }
}
