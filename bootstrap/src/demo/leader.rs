//! The daemon that leads is killed, and the cluster goes on.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use pvc_client::{CallError, Client, request_id};
use pvc_proto::v1::{GetNodeRequest, UpdateVmRequest};
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::moving::pings_in_words;
use super::ping::{Pings, Tally};
use super::say::{Teller, seconds};
use super::vm;
use crate::found::{self, Seat};
use crate::local::state::ClusterState;
use crate::local::{cluster, power, processes};

/// One attempt to write. A user's `pvc` tries for longer with each; short ones show sooner when the cluster is back.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(1000);
const AGAIN_AFTER: Duration = Duration::from_millis(20);
const WRITE_LIMIT: Duration = Duration::from_secs(60);
const BACK_LIMIT: Duration = Duration::from_secs(60);
/// The VM's note that is written.
const NOTE: &str = "demo";

/// How the cluster took it.
#[derive(Debug, Clone)]
pub struct Replaced {
    pub old: String,
    pub new: String,
    /// From the kill to the acknowledged write.
    pub next_write: Duration,
    /// From the killed daemon's next start until its node votes and is heard again.
    pub back: Duration,
    pub pings: Tally,
}

/// Kills the leader's `pvcd` with SIGKILL, writes until a write is acknowledged, and waits for the node to come back.
pub async fn replace(
    client: &Client,
    tell: &Teller,
    state: &ClusterState,
    address: Ipv4Addr,
) -> anyhow::Result<Replaced> {
    let old = cluster::leader(client).await?;
    let (_, home) = vm::placed(client).await?;
    let init = power::require_on(state, old)?;
    let daemon = processes::service(&init, "pvcd").context("the leader's pvcd does not run")?;
    let note = uuid::Uuid::new_v4().to_string();
    let pings = Pings::start(address).context("could not open a socket for pings")?;
    sleep(Duration::from_secs(1)).await;

    let same = if home == old.to_string() { ", where the VM runs" } else { "" };
    tell.line(&format!("{old} leads{same}; its pvcd is process {}", daemon.pid));
    tell.command(&format!("pvc-bootstrap local{} kill leader --hold", name_option(state)));
    let sessions = session(client, &old.to_string()).await?;
    // kept dead until another leads: started again at once it might win the election itself
    power::hold(&init, "pvcd")?;
    let killed = Instant::now();
    daemon.signal(libc::SIGKILL);
    tell.pvc(&["vm", "modify", vm::NAME, "--set", &format!("{NOTE}={note}")]);
    write(client, &note, killed + WRITE_LIMIT).await?;
    let next_write = killed.elapsed();
    let new = cluster::leader(client).await?;
    let (written, _) = vm::placed(client).await?;
    if written.spec.is_none_or(|spec| spec.meta.get(NOTE) != Some(&note)) {
        bail!("a write was acknowledged and cannot be read: this is a defect, please report it");
    }
    tell.line(&format!("the next write was acknowledged after {}; {new} leads now", seconds(next_write)));

    tell.command(&format!("pvc-bootstrap local{} start {old}", name_option(state)));
    let released = Instant::now();
    power::release(&init)?;
    // the cluster may not have missed it yet: it is back when it speaks as a daemon that was started again
    while session(client, &old.to_string()).await? <= sessions {
        if released.elapsed() >= BACK_LIMIT {
            bail!("{old}'s pvcd does not come back; `pvc-bootstrap local status` shows how it is");
        }
        sleep(Duration::from_millis(50)).await;
    }
    let mut quiet = |_: &str| ();
    found::wait_until_member(client, &old.to_string(), Seat::Voter, BACK_LIMIT, &mut quiet).await?;
    let back = released.elapsed();
    let pings = pings.finish().await.context("the pings could not be counted")?;
    tell.line(&format!("{old}'s pvcd is started again and does its part after {}", seconds(back)));
    tell.line(&format!("the guest did not notice: {}", pings_in_words(&pings)));
    Ok(Replaced { old: old.to_string(), new: new.to_string(), next_write, back, pings })
}

/// How often the node's daemon has been started.
async fn session(client: &Client, node: &str) -> Result<u64, CallError> {
    let request = GetNodeRequest { name: node.to_owned(), ..GetNodeRequest::default() };
    let node = client.nodes().get_node(request).await?.into_inner();
    Ok(node.status.map_or(0, |status| status.session))
}

/// One write, sent until it is acknowledged; its request id makes it happen once.
async fn write(client: &Client, note: &str, deadline: Instant) -> anyhow::Result<()> {
    let update = UpdateVmRequest {
        name: vm::NAME.to_owned(),
        set_meta: [(NOTE.to_owned(), note.to_owned())].into(),
        request_id: request_id(),
        ..UpdateVmRequest::default()
    };
    loop {
        let mut request = tonic::Request::new(update.clone());
        request.set_timeout(ATTEMPT_LIMIT);
        let status = match client.vms().update_vm(request).await {
            Ok(_) => return Ok(()),
            Err(status) => status,
        };
        let may_pass = matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted
        );
        if !may_pass || Instant::now() >= deadline {
            return Err(CallError::from(status))
                .context("no write was acknowledged after the leader's death");
        }
        sleep(AGAIN_AFTER).await;
    }
}

fn name_option(state: &ClusterState) -> String {
    match state.name.as_str() {
        "local" => String::new(),
        other => format!(" --name {other}"),
    }
}
