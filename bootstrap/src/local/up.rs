//! `local up` from end to end: hosts, the cluster that they become, and the connection to it.

use anyhow::Context as _;

use super::bring_up::{self, UpOptions};
use super::state::{ClusterDir, ClusterState};
use super::{cluster, connection, enrolment};
use crate::found::ClusterPlan;

/// Brings the cluster up from nothing, or from what an interrupted run or a half-destroyed cluster has left. Returns when
/// every host does its part.
pub async fn up(
    dir: &ClusterDir,
    options: &UpOptions,
    progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<ClusterState> {
    let lock = dir.lock().await?;
    let state = bring_up::hosts_up(&lock, dir, options, progress).await?;
    if state.pvcd.is_none() {
        enrolment::libvirt_only(dir, &state, progress).await?;
    } else {
        enrolment::found_first(dir, &state, progress).await?;
        // early, so that one may look on while the others join
        for file in connection::write(dir, &state, &cluster_id(dir, &state)?)? {
            progress(&format!("connection \"{}\" in {}", state.name, file.display()));
        }
        enrolment::join_others(dir, &state, progress).await?;
        cluster::float(dir, &state).await.context("the cluster got no floating address")?;
        progress(&format!("{} hosts are reachable, {} vote", state.hosts.len(), state.voters));
    }
    enrolment::wait_for_libvirt(dir, &state).await?;
    progress("every host's libvirtd listens");
    Ok(state)
}

/// The id that the first host was founded with.
fn cluster_id(dir: &ClusterDir, state: &ClusterState) -> anyhow::Result<String> {
    let etc = dir.host(state.hosts[0].name).of("/etc/pvc");
    let plan = ClusterPlan::read(&etc)?.context("the first host has no place in a cluster")?;
    Ok(plan.cluster_id)
}
