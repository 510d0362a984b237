//! What the little guest says on its console, read by the public API. Each line of its own is `PVC <uptime> <what>`: the
//! first after a boot is `ready`, then `heartbeat N` once a second, N counted in the guest's memory alone.

use std::time::Duration;

use anyhow::bail;
use pvc_client::{CallError, Client};
use pvc_proto::v1::TailVmLogRequest;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;

const CALL_LIMIT: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Enough for a boot and a quarter of an hour of heartbeats.
const LINES: u32 = 1000;
/// A heartbeat comes every second; a busy machine may need more.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(20);

/// A heartbeat: how long the guest has been up, and its counter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heartbeat {
    pub uptime: Duration,
    pub count: u64,
}

/// The guest's own kernel says that it can't go on.
#[derive(Debug, thiserror::Error)]
#[error("the guest's kernel has died; on its console is {0:?}")]
pub struct Died(String);

async fn tail(client: &Client, vm: &str) -> Result<String, CallError> {
    let mut request =
        tonic::Request::new(TailVmLogRequest { name: vm.to_owned(), lines: LINES, follow: false });
    request.set_timeout(CALL_LIMIT);
    let mut chunks = client.vms().tail_vm_log(request).await?.into_inner();
    let mut text = Vec::new();
    while let Some(chunk) = chunks.next().await {
        text.extend(chunk?.data);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// How many boots its log shows.
pub async fn boots(client: &Client, vm: &str) -> Result<usize, CallError> {
    Ok(count_boots(&tail(client, vm).await?))
}

/// Waits for the first line of a boot after `before` of them.
pub async fn wait_for_boot(
    client: &Client,
    vm: &str,
    before: usize,
    deadline: Instant,
) -> anyhow::Result<()> {
    loop {
        let outcome = boots(client, vm).await;
        if outcome.as_ref().is_ok_and(|now| *now > before) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            match outcome {
                Ok(_) => bail!("the guest says nothing on its console; `pvc vm log {vm}` shows it"),
                Err(error) => bail!("the guest's console cannot be read: {error}"),
            }
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// Waits for the guest's next heartbeat and gives it. What the log ends with at first says nothing: on this host it may be
/// from before the guest moved away and back, or from an earlier boot.
pub async fn next_heartbeat(client: &Client, vm: &str) -> anyhow::Result<Heartbeat> {
    let deadline = Instant::now() + HEARTBEAT_LIMIT;
    let mut seen = None;
    loop {
        let outcome = tail(client, vm).await;
        if let Ok(text) = &outcome {
            let last = last_heartbeat(text);
            match (seen, last) {
                (Some(seen), Some(last)) if Some(last) != seen => return Ok(last),
                (Some(_), _) => {}
                (None, last) => seen = Some(last),
            }
        }
        if Instant::now() >= deadline {
            match outcome {
                Ok(text) => {
                    let last = text.lines().last().unwrap_or_default().trim_end();
                    if is_of_a_dying_kernel(last) {
                        return Err(Died(last.to_owned()).into());
                    }
                    bail!("the guest's heartbeat does not go on; the last line on its console is {last:?}");
                }
                Err(error) => bail!("the guest's console cannot be read: {error}"),
            }
        }
        sleep(AGAIN_AFTER).await;
    }
}

fn is_of_a_dying_kernel(line: &str) -> bool {
    ["is not a head", "soft lockup", "Kernel panic"].iter().any(|words| line.contains(words))
}

fn own_lines(log: &str) -> impl DoubleEndedIterator<Item = (&str, &str)> {
    log.lines().filter_map(|line| line.trim_end().strip_prefix("PVC ")?.split_once(' '))
}

fn count_boots(log: &str) -> usize {
    own_lines(log).filter(|(_, what)| *what == "ready").count()
}

fn last_heartbeat(log: &str) -> Option<Heartbeat> {
    own_lines(log).rev().find_map(|(uptime, what)| {
        let count = what.strip_prefix("heartbeat ")?.parse().ok()?;
        let uptime =
            uptime.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())?;
        Some(Heartbeat { uptime, count })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_own_lines_are_found_among_others() {
        let log =
            "SeaBIOS\r\nPVC 1.50 ready\r\nPVC 2.61 heartbeat 1\r\n~ # ls\r\nPVC 3.62 heartbeat 2\r\nPVC 4.6";
        assert_eq!(count_boots(log), 1);
        let last = Heartbeat { uptime: Duration::from_millis(3620), count: 2 };
        assert_eq!(last_heartbeat(log), Some(last));
        assert!(is_of_a_dying_kernel("[    6.402901] virtio_net virtio0: output.0:id 0 is not a head!"));
        assert!(!is_of_a_dying_kernel("PVC 1.50 ready"));
        assert_eq!(last_heartbeat("PVC x heartbeat 1\nPVC 1 heartbeat one"), None);
    }
}
