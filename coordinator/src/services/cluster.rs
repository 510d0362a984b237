//! `ClusterService`: the cluster itself, who votes and leads, faults, and who did what.

use std::collections::BTreeSet;

use pvc_model::change::Collection;
use pvc_model::{Command, Rejection, Timestamp, plan};
use pvc_proto::convert::{At, cluster_patch, wire_time};
use pvc_proto::v1;
use pvc_proto::v1::cluster_service_server::ClusterService;
use tonic::{Request, Response, Status};

use super::answers::Answers;
use super::backup;
use super::caller::Caller;
use super::cluster_status::cluster_status;
use super::shared::{Shared, name, optional_name, refuse, reply_name};
use super::{primary, voters};

/// Changes in a page of the audit at most, and where the request doesn't say.
const AUDIT_PAGE_MAX: u32 = 1000;
const AUDIT_PAGE_DEFAULT: u32 = 100;

/// Serves the cluster as a whole.
pub struct ClusterInfo {
    pub shared: Shared,
    uploads: backup::Uploads,
}

impl ClusterInfo {
    pub fn new(shared: Shared) -> Self {
        ClusterInfo { shared, uploads: backup::Uploads::default() }
    }

    /// Submits a command that answers with the cluster as it is then.
    async fn change(
        &self,
        caller: &Caller,
        command: Command,
        request_id: &str,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        self.shared.submit(caller, command, request_id).await?;
        Ok(Response::new(cluster_status(&self.shared)))
    }
}

#[tonic::async_trait]
impl ClusterService for ClusterInfo {
    async fn get_cluster_status(
        &self,
        _: Request<v1::GetClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        Ok(Response::new(cluster_status(&self.shared)))
    }

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(v1::WhoAmIResponse {
            identity: caller.identity,
            role: caller.role.map_or(v1::Role::Unspecified, v1::Role::from).into(),
            answered_by: self.shared.node.to_string(),
        }))
    }

    async fn set_voter(
        &self,
        request: Request<v1::SetVoterRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let node = name("node", "node", &request.node)?;
        if request.voter {
            voters::add(&self.shared, &caller, &node, &request.request_id).await?;
        } else if request.standby {
            voters::demote(&self.shared, &caller, &node, &request.request_id).await?;
        } else {
            voters::remove(&self.shared, &caller, &node, &request.request_id).await?;
        }
        tracing::info!(who = %caller.identity, %node, voter = request.voter, "voters were changed");
        Ok(Response::new(cluster_status(&self.shared)))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        let caller = Caller::of(&request)?;
        let to = optional_name("node", "node", &request.into_inner().node)?;
        voters::hand_over(&self.shared, to.as_ref()).await?;
        tracing::info!(who = %caller.identity, leader = ?self.shared.core.leader(), "leadership was handed over");
        Ok(Response::new(cluster_status(&self.shared)))
    }

    async fn hand_over_primary(
        &self,
        request: Request<v1::HandOverPrimaryRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let to = optional_name("node", "node", &request.node)?;
        let from = optional_name("node", "holder", &request.holder)?;
        primary::hand_over(&self.shared, &caller, from, to, &request.request_id).await?;
        Ok(Response::new(cluster_status(&self.shared)))
    }

    async fn update_cluster(
        &self,
        request: Request<v1::UpdateClusterRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::UpdateCluster {
            patch: cluster_patch(&At::new("cluster"), &request).map_err(refuse)?,
            expected_revision: request.expected_revision,
        };
        self.change(&caller, command, &request.request_id).await
    }

    async fn confirm_node_off(
        &self,
        request: Request<v1::ConfirmNodeOffRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::ConfirmNodeOff { node: name("node", "node", &request.node)? };
        self.change(&caller, command, &request.request_id).await
    }

    async fn disarm_recovery(
        &self,
        request: Request<v1::DisarmRecoveryRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        At::new("request")
            .field("reason")
            .at_most(request.reason.chars().count(), 256, "characters")
            .map_err(refuse)?;
        self.change(&caller, Command::Disarm { reason: request.reason }, &request.request_id).await
    }

    async fn arm_recovery(
        &self,
        request: Request<v1::ArmRecoveryRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        let caller = Caller::of(&request)?;
        self.change(&caller, Command::Arm, &request.into_inner().request_id).await
    }

    async fn release_brake(
        &self,
        request: Request<v1::ReleaseBrakeRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        let caller = Caller::of(&request)?;
        self.change(&caller, Command::ReleaseBrake, &request.into_inner().request_id).await
    }

    async fn plan_balance(
        &self,
        request: Request<v1::PlanBalanceRequest>,
    ) -> Result<Response<v1::BalancePlan>, Status> {
        let world = self.shared.world(request.into_inner().consistency).await?;
        let steps = plan::balance(&world, &BTreeSet::new()).into_iter().map(|step| v1::BalanceStep {
            vm: step.vm.to_string(),
            from: step.from.to_string(),
            to: step.to.to_string(),
            gain: step.gain.to_string(),
        });
        Ok(Response::new(v1::BalancePlan { steps: steps.collect(), revision: world.revision }))
    }

    async fn balance_cluster(
        &self,
        request: Request<v1::BalanceClusterRequest>,
    ) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let committed = self.shared.submit(&caller, Command::BalanceCluster, &request.request_id).await?;
        Ok(Response::new(self.shared.reply_task(&committed)?))
    }

    type BackupClusterStream = Answers<v1::BackupPiece>;

    async fn backup_cluster(
        &self,
        _: Request<v1::BackupClusterRequest>,
    ) -> Result<Response<Self::BackupClusterStream>, Status> {
        backup::write(&self.shared).await.map(Response::new)
    }

    async fn restore_cluster(
        &self,
        request: Request<v1::RestoreClusterRequest>,
    ) -> Result<Response<v1::RestoreClusterResponse>, Status> {
        let caller = Caller::of(&request)?;
        let restored = self.uploads.take(&self.shared, &caller, request.into_inner()).await;
        restored.map(Response::new)
    }

    async fn list_faults(
        &self,
        request: Request<v1::ListFaultsRequest>,
    ) -> Result<Response<v1::ListFaultsResponse>, Status> {
        let world = self.shared.world(request.into_inner().consistency).await?;
        let faults = world.faults.values().map(|fault| (&**fault).into()).collect();
        Ok(Response::new(v1::ListFaultsResponse { faults, revision: world.revision }))
    }

    async fn ack_fault(&self, request: Request<v1::AckFaultRequest>) -> Result<Response<v1::Fault>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::AckFault { name: name("fault", "name", &request.name)? };
        let committed = self.shared.submit(&caller, command, &request.request_id).await?;
        let name = reply_name(&committed, Collection::Faults)?;
        let fault = committed.world.faults.get(name);
        let fault = fault.ok_or_else(|| refuse(Rejection::not_found(format!("fault/{name}"))))?;
        Ok(Response::new((&**fault).into()))
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<v1::ListAuditResponse>, Status> {
        let request = request.into_inner();
        let most = match request.page_size {
            0 => AUDIT_PAGE_DEFAULT,
            size @ 1..=AUDIT_PAGE_MAX => size,
            size => {
                let detail = format!("page_size: 0 to {AUDIT_PAGE_MAX}, not {size}");
                return Err(refuse(Rejection::invalid("out-of-range", "request", detail)));
            }
        };
        // What was acknowledged anywhere before the call is in it.
        self.shared.world(v1::Consistency::Linearizable.into()).await?;
        let audited = self.shared.core.store().audit(request.before_revision, most as usize);
        let entries = audited.into_iter().map(|audited| v1::AuditEntry {
            revision: audited.revision,
            time: Some(wire_time(Timestamp(audited.at_ms))),
            actor: audited.actor.into(),
            summary: audited.summary.into(),
        });
        Ok(Response::new(v1::ListAuditResponse { entries: entries.collect() }))
    }
}
