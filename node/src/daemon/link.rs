//! The agent's link to the coordinators, over gRPC. It also keeps the list of coordinators fresh: each
//! stream of assignments tells them.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use pvc_client::Coordinators;
use pvc_model::command::PrimaryReport;
use pvc_model::guard::Guard;
use pvc_model::network::Network;
use pvc_model::network::lease::Lease;
use pvc_model::{Name, Node, Rejection, RejectionKind, Revision, Uid, Vm, Volume};
use pvc_proto::convert::{fabric, primary_role};
use pvc_proto::internal::v1 as wire;
use pvc_proto::internal::v1::agent_service_client::AgentServiceClient;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt;

use super::host_door::KnownCoordinators;
use crate::agent::link::{
    AssignmentStream, Assignments, CoordinatorLink, Heartbeat, HeartbeatAck, LeasesReport, LinkError,
    PrimaryRole, Report,
};

/// A report is retried for so long; then the agent looks again at what there is to say.
const REPORT_DEADLINE: Duration = Duration::from_secs(10);
/// A word about the primary's role is said again soon.
const PRIMARY_DEADLINE: Duration = Duration::from_secs(2);
/// A word about the guard that is not taken by then is said again.
const GUARD_DEADLINE: Duration = Duration::from_secs(2);
/// Assignments of a host with thousands of VMs.
const ANSWER_BYTES_MAX: usize = 64 << 20;

pub struct ClusterLink {
    cluster: Coordinators,
    /// Other ways to them, which learn where they are from this one.
    beside: Vec<Coordinators>,
    known: KnownCoordinators,
}

impl ClusterLink {
    pub fn new(cluster: Coordinators, beside: Vec<Coordinators>, known: KnownCoordinators) -> Self {
        ClusterLink { cluster, beside, known }
    }

    fn client(&self) -> AgentServiceClient<Coordinators> {
        AgentServiceClient::new(self.cluster.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

#[async_trait]
impl CoordinatorLink for ClusterLink {
    async fn heartbeat(&self, heartbeat: Heartbeat, deadline: Duration) -> Result<HeartbeatAck, LinkError> {
        let progress = heartbeat.progress.into_iter().map(|work| wire::WorkProgress {
            task: work.task.to_string(),
            percent: work.percent.into(),
            text: work.text,
        });
        let mut request = Request::new(wire::HeartbeatRequest {
            node: heartbeat.node.to_string(),
            session: heartbeat.session,
            sequence: heartbeat.sequence,
            load: heartbeat.load,
            memory_used_mib: heartbeat.memory_used_mib,
            vms_running: heartbeat.vms_running,
            progress: progress.collect(),
            store: heartbeat.store.as_ref().map(Into::into),
        });
        request.set_timeout(deadline);
        let ack = self.client().heartbeat(request).await.map_err(|status| failure(&status))?.into_inner();
        Ok(HeartbeatAck {
            sequence: ack.sequence,
            term: ack.term,
            revision: ack.revision,
            incarnation: ack.incarnation,
        })
    }

    async fn assignments(
        &self,
        node: &Name,
        guests: Vec<Uid>,
    ) -> Result<Box<dyn AssignmentStream>, LinkError> {
        let guests = guests.iter().map(Uid::to_string).collect();
        let request = wire::WatchAssignmentsRequest { node: node.to_string(), guests };
        let stream = self.client().watch_assignments(request).await.map_err(|status| failure(&status))?;
        let ways = self.beside.iter().chain([&self.cluster]).cloned().collect();
        Ok(Box::new(GrpcStream { stream: stream.into_inner(), ways, known: self.known.clone() }))
    }

    async fn report_primary(
        &self,
        node: &Name,
        session: u64,
        epoch: u64,
        report: PrimaryReport,
    ) -> Result<Revision, LinkError> {
        let node = node.to_string();
        let report = wire::PrimaryReport::from(report).into();
        let mut request = Request::new(wire::ReportPrimaryRequest { node, session, epoch, report });
        request.set_timeout(PRIMARY_DEADLINE);
        let answer = self.client().report_primary(request).await.map_err(|status| failure(&status))?;
        Ok(answer.into_inner().revision)
    }

    async fn report_guard(
        &self,
        node: &Name,
        session: u64,
        after: u64,
        guard: Option<Guard>,
    ) -> Result<Revision, LinkError> {
        let (node, guard) = (node.to_string(), guard.as_ref().map(Into::into));
        let mut request = Request::new(wire::ReportGuardRequest { node, session, after, guard });
        request.set_timeout(GUARD_DEADLINE);
        let answer = self.client().report_guard(request).await.map_err(|status| failure(&status))?;
        Ok(answer.into_inner().revision)
    }

    async fn report_leases(&self, report: LeasesReport) -> Result<Revision, LinkError> {
        let mut request = Request::new(wire::ReportLeasesRequest {
            node: report.node.to_string(),
            session: report.session,
            epoch: report.epoch,
            put: report.put.iter().map(Into::into).collect(),
            gone: report.gone.iter().map(Name::to_string).collect(),
        });
        request.set_timeout(REPORT_DEADLINE);
        let answer = self.client().report_leases(request).await.map_err(|status| failure(&status))?;
        Ok(answer.into_inner().revision)
    }

    async fn leave_node(
        &self,
        node: &Name,
        session: u64,
        within_seconds: u32,
    ) -> Result<Revision, LinkError> {
        let mut request =
            Request::new(wire::LeaveNodeRequest { node: node.to_string(), session, within_seconds });
        request.set_timeout(REPORT_DEADLINE);
        let answer = self.client().leave_node(request).await.map_err(|status| failure(&status))?;
        Ok(answer.into_inner().revision)
    }

    async fn report(&self, report: Report) -> Result<Revision, LinkError> {
        let mut request = Request::new(wire::ReportRequest {
            node: report.node.to_string(),
            session: report.session,
            vms: report.vms.iter().map(Into::into).collect(),
            volumes: report.volumes.iter().map(Into::into).collect(),
            node_report: report.facts.as_ref().map(|facts| wire::NodeReport { status: Some(facts.into()) }),
            request_id: report.request_id,
            guest_count: report.count.map(|count| wire::GuestCount {
                incarnation: count.incarnation,
                guests: count.guests.iter().map(Into::into).collect(),
            }),
        });
        request.set_timeout(REPORT_DEADLINE);
        let answer = self.client().report(request).await.map_err(|status| failure(&status))?;
        Ok(answer.into_inner().revision)
    }
}

struct GrpcStream {
    stream: Streaming<wire::Assignments>,
    ways: Vec<Coordinators>,
    known: KnownCoordinators,
}

#[async_trait]
impl AssignmentStream for GrpcStream {
    async fn next(&mut self) -> Result<Assignments, LinkError> {
        let told = self.stream.message().await.map_err(|status| failure(&status))?;
        let told = told.ok_or_else(|| LinkError::Unavailable("the stream has ended".to_owned()))?;
        if !told.coordinators.is_empty() {
            let addresses: Vec<String> = told.coordinators.iter().map(|c| c.address.clone()).collect();
            self.ways.iter().for_each(|way| way.replace(&addresses));
            self.known.replace(told.coordinators.iter().map(|c| c.node.clone()));
        }
        assignments(&told).map_err(|rejection| {
            // A newer coordinator says what this version can't hold; what it did say before still stands.
            LinkError::Unavailable(format!("the assignments can't be read: {rejection}"))
        })
    }
}

fn assignments(told: &wire::Assignments) -> Result<Assignments, Rejection> {
    let at = pvc_proto::convert::At::new("assignments");
    let uids = |field: &'static str, texts: &[String]| {
        texts.iter().enumerate().map(|(i, text)| at.item(field, i).uid(text)).collect::<Result<Vec<_>, _>>()
    };
    let names = |field: &'static str, texts: &[String]| {
        texts.iter().enumerate().map(|(i, text)| at.item(field, i).name(text)).collect::<Result<Vec<_>, _>>()
    };
    Ok(Assignments {
        revision: told.revision,
        full: told.full,
        vms: told.vms.iter().map(Vm::try_from).collect::<Result<_, _>>()?,
        vms_gone: uids("vms_gone", &told.vms_gone)?,
        volumes: told.volumes.iter().map(Volume::try_from).collect::<Result<_, _>>()?,
        volumes_gone: uids("volumes_gone", &told.volumes_gone)?,
        node: told.node.as_ref().map(Node::try_from).transpose()?,
        coordinators: (!told.coordinators.is_empty())
            .then(|| {
                let each = told.coordinators.iter().enumerate();
                let named = each.map(|(i, known)| {
                    Ok((at.item("coordinators", i).name(&known.node)?, known.address.clone()))
                });
                named.collect::<Result<_, Rejection>>()
            })
            .transpose()?,
        hypervisors: told
            .hypervisors
            .as_ref()
            .map(|hypervisors| {
                let named = hypervisors
                    .addresses
                    .iter()
                    .map(|(node, address)| Ok((at.field("hypervisors").name(node)?, address.clone())));
                // In the order of their names, however the map was told.
                Ok(named.collect::<Result<BTreeMap<_, _>, Rejection>>()?.into_iter().collect())
            })
            .transpose()?,
        incarnation: told.incarnation,
        count_guests: told.count_guests,
        primary: told
            .primary
            .as_ref()
            .map(|role| {
                let (primary, floating) = primary_role(&at.field("primary"), role)?;
                Ok(PrimaryRole { primary, floating })
            })
            .transpose()?,
        networks: told.networks.iter().map(Network::try_from).collect::<Result<_, _>>()?,
        networks_gone: names("networks_gone", &told.networks_gone)?,
        leases: told.leases.iter().map(Lease::try_from).collect::<Result<_, _>>()?,
        leases_gone: names("leases_gone", &told.leases_gone)?,
        fabric: told.fabric.as_ref().map(|told| fabric(&at.field("fabric"), told)).transpose()?,
    })
}

/// A refusal by a rule is told apart from a coordinator that can't answer now.
fn failure(status: &Status) -> LinkError {
    let kind = match status.code() {
        Code::NotFound => RejectionKind::NotFound,
        Code::InvalidArgument => RejectionKind::Invalid,
        Code::FailedPrecondition => RejectionKind::Precondition,
        Code::PermissionDenied | Code::Unauthenticated => RejectionKind::Denied,
        _ => return LinkError::Unavailable(status.message().to_owned()),
    };
    let details = status.get_error_details();
    let Some(info) = details.error_info().filter(|info| info.domain == pvc_coordinator::status::DOMAIN)
    else {
        return LinkError::Unavailable(status.message().to_owned());
    };
    let text = |key: &str| info.metadata.get(key).cloned().unwrap_or_default();
    let rule = match info.reason.as_str() {
        // The agent acts on these by their names.
        "stale-session" => "stale-session",
        "primary-epoch" => "primary-epoch",
        _ => "refused",
    };
    let detail = format!("{} ({})", text("detail"), info.reason);
    LinkError::Rejected(Rejection::new(kind, rule, text("subject"), detail).help(text("help")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_from_silence() {
        let stale = Rejection::precondition("stale-session", "node/hv1", "session 3 is over, 4 has begun");
        match failure(&pvc_coordinator::status::rejected(&stale)) {
            LinkError::Rejected(refusal) => assert_eq!(refusal.rule, "stale-session"),
            other => panic!("{other:?}"),
        }
        let gone = Rejection::not_found("node/hv1");
        assert!(matches!(failure(&pvc_coordinator::status::rejected(&gone)), LinkError::Rejected(_)));
        let away = pvc_coordinator::status::not_leader(None);
        assert!(matches!(failure(&away), LinkError::Unavailable(_)));
        // Not ours: a proxy, or a server that knows no such method.
        assert!(matches!(failure(&Status::not_found("nothing here")), LinkError::Unavailable(_)));
    }
}
