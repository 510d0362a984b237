//! `pvc cluster`.

use pvc_proto::v1::{
    AckFaultRequest, Admission, ArmRecoveryRequest, Balance, BalanceClusterRequest, ClusterStatus,
    DisarmRecoveryRequest, GetClusterStatusRequest, ListAuditRequest, ListFaultsRequest, PlanBalanceRequest,
    ReleaseBrakeRequest, SetVoterRequest, TransferLeadershipRequest, UpdateClusterRequest, WhoAmIRequest,
};

use super::{backup, history};
use crate::args::cluster::{AdmissionWord, BalanceWord, ClusterCommand, FaultCommand, VoterCommand};
use crate::call::request_id;
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::show;
use crate::show::words::name;

pub async fn run(cx: &mut Context<'_>, command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status => {
            let status = status(cx).await?;
            let shown = status.name.clone();
            cx.reply(&status, |colour| show::cluster::page(&status, colour), || vec![shown])
        }
        ClusterCommand::History { newest } => history::run(cx, "cluster".to_owned(), newest).await,
        ClusterCommand::Set {
            replace_voter_after,
            admission,
            migrations_per_node,
            balance,
            floating_address,
            floating_device,
            expected_revision,
        } => {
            let session = cx.session()?;
            let request = session.ask(UpdateClusterRequest {
                replace_voter_after_seconds: replace_voter_after,
                floating_address: floating_address
                    .map(|text| if text == "none" { String::new() } else { text }),
                floating_device,
                expected_revision,
                request_id: request_id(),
                admission: match admission {
                    None => Admission::Unspecified,
                    Some(AdmissionWord::Off) => Admission::Off,
                    Some(AdmissionWord::Warn) => Admission::Warn,
                    Some(AdmissionWord::Refuse) => Admission::Refuse,
                } as i32,
                migrations_per_node,
                balance: match balance {
                    None => Balance::Unspecified,
                    Some(BalanceWord::Manual) => Balance::Manual,
                    Some(BalanceWord::Automatic) => Balance::Automatic,
                } as i32,
            });
            let status = session.cluster().update_cluster(request).await?.into_inner();
            let sentence = show::cluster::settings(&status);
            cx.done(&status, "cluster", sentence)
        }
        ClusterCommand::Balance { apply: true, wait, .. } => {
            let session = cx.session()?;
            let request = session.ask(BalanceClusterRequest { request_id: request_id() });
            let task = session.cluster().balance_cluster(request).await?.into_inner();
            follow::finish(cx, task, wait).await
        }
        ClusterCommand::Balance { .. } => {
            let session = cx.session()?;
            let request = session.ask(PlanBalanceRequest { consistency: 0 });
            let plan = session.cluster().plan_balance(request).await?.into_inner();
            let moved = || plan.steps.iter().map(|step| step.vm.clone()).collect();
            cx.reply(&plan, |colour| show::cluster::balance(&plan, colour), moved)
        }
        ClusterCommand::Backup { file, verify: true } => backup::verify(cx, &file).await,
        ClusterCommand::Backup { file, verify: false } => backup::write(cx, &file).await,
        ClusterCommand::Restore { file } => backup::restore(cx, &file).await,
        ClusterCommand::Disarm { reason } => {
            let session = cx.session()?;
            let request = session.ask(DisarmRecoveryRequest { reason, request_id: request_id() });
            let status = session.cluster().disarm_recovery(request).await?.into_inner();
            cx.done(
                &status,
                "cluster",
                "nobody is fenced and nothing is recovered until `pvc cluster arm`".to_owned(),
            )
        }
        ClusterCommand::Arm => {
            let session = cx.session()?;
            let request = session.ask(ArmRecoveryRequest { request_id: request_id() });
            let status = session.cluster().arm_recovery(request).await?.into_inner();
            cx.done(&status, "cluster", "silent nodes are fenced and their VMs recovered".to_owned())
        }
        ClusterCommand::ReleaseBrake => {
            let held = status(cx).await?.brake.unwrap_or_default().nodes.join(", ");
            cx.confirm(
                "cluster",
                &format!("these nodes lose their power, and their VMs are started elsewhere: {held}"),
            )?;
            let session = cx.session()?;
            let request = session.ask(ReleaseBrakeRequest { request_id: request_id() });
            let status = session.cluster().release_brake(request).await?.into_inner();
            cx.done(&status, "cluster", "the storm brake is released".to_owned())
        }
        ClusterCommand::Voter(VoterCommand::Add { node }) => voter(cx, node, true, false).await,
        ClusterCommand::Voter(VoterCommand::Standby { node }) => voter(cx, node, false, true).await,
        ClusterCommand::Voter(VoterCommand::Remove { node }) => {
            cx.confirm(
                &format!("node/{node}"),
                &format!("node/{node} loses its vote and its copy of the state"),
            )?;
            voter(cx, node, false, false).await
        }
        ClusterCommand::Leader { hand_over: false, to: None } => {
            let status = status(cx).await?;
            let leader = status.leader.clone();
            cx.reply(&status, |_| show::cluster::leader(&status), || vec![leader])
        }
        ClusterCommand::Leader { to, .. } => {
            let session = cx.session()?;
            let request = session.ask(TransferLeadershipRequest { node: to.unwrap_or_default() });
            let status = session.cluster().transfer_leadership(request).await?.into_inner();
            let sentence = format!("{} leads", status.leader);
            let leader = status.leader.clone();
            cx.done(&status, &leader, sentence)
        }
        ClusterCommand::Fault(FaultCommand::List) => {
            let session = cx.session()?;
            let request = session.ask(ListFaultsRequest::default());
            let reply = session.cluster().list_faults(request).await?.into_inner();
            let names = || reply.faults.iter().map(|fault| name(fault.meta.as_ref()).to_owned()).collect();
            cx.reply(&reply, |colour| show::cluster::faults(&reply.faults, colour), names)
        }
        ClusterCommand::Fault(FaultCommand::Ack { names }) => {
            for fault in names {
                ack(cx, fault).await?;
            }
            Ok(())
        }
        ClusterCommand::Audit { lines, before } => {
            let session = cx.session()?;
            let request = session.ask(ListAuditRequest { before_revision: before, page_size: lines });
            let reply = session.cluster().list_audit(request).await?.into_inner();
            let revisions = || reply.entries.iter().map(|entry| entry.revision.to_string()).collect();
            cx.reply(&reply, |colour| show::cluster::audit(&reply.entries, colour), revisions)
        }
        ClusterCommand::Whoami => {
            let session = cx.session()?;
            let who = session.cluster().who_am_i(session.ask(WhoAmIRequest {})).await?.into_inner();
            cx.reply(&who, |colour| show::cluster::who(&who, colour), || vec![who.identity.clone()])
        }
    }
}

async fn status(cx: &mut Context<'_>) -> Result<ClusterStatus, Failure> {
    let session = cx.session()?;
    let request = session.ask(GetClusterStatusRequest {});
    Ok(session.cluster().get_cluster_status(request).await?.into_inner())
}

async fn voter(cx: &mut Context<'_>, node: String, voter: bool, standby: bool) -> Result<(), Failure> {
    let session = cx.session()?;
    let request =
        session.ask(SetVoterRequest { node: node.clone(), voter, standby, request_id: request_id() });
    let status = session.cluster().set_voter(request).await?.into_inner();
    let count = status.members.iter().filter(|member| member.voter).count();
    let role = match (voter, standby) {
        (true, _) => "votes",
        (false, true) => "stands by",
        (false, false) => "no longer votes",
    };
    cx.done(&status, &node, format!("node/{node} {role}; voters: {count}"))
}

async fn ack(cx: &mut Context<'_>, fault: String) -> Result<(), Failure> {
    let session = cx.session()?;
    let request = session.ask(AckFaultRequest { name: fault.clone(), request_id: request_id() });
    let reply = session.cluster().ack_fault(request).await?.into_inner();
    cx.done(&reply, &fault, format!("fault/{fault} acknowledged"))
}
