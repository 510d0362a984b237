//! How long writes stop when the leader's process dies, or its host falls silent.
//!
//! Eight writers to each server, with short deadlines that differ (60 to 250 ms): writes that hang in the dead
//! leader's time must not all come back at once. Whoever first gets a write through that was begun after the
//! blow tells. Steps of about 20 ms can be told apart.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pvc_bare::hosts;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::ensemble::Ensemble;
use super::load::value;
use super::target::Clients;

const WRITERS_PER_SERVER: usize = 8;
const BEFORE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// `kill -9` of the leader: its peers see the connections close.
    Kill,
    /// Its host's network cable is pulled: nobody sees anything.
    Cut,
}

/// Milliseconds from the blow to the acknowledgement of the first write that was begun after it.
pub async fn strike(ensemble: &mut Ensemble, blow: Blow) -> Result<f64> {
    ensemble.ready().await?;
    let leader = ensemble.leader().await?;
    let (acknowledged, mut heard) = mpsc::unbounded_channel();
    let mut writers = JoinSet::new();
    let clients = ensemble.clients();
    for n in 0..clients.endpoints.len() * WRITERS_PER_SERVER {
        writers.spawn(write(clients.clone(), n, acknowledged.clone()));
    }
    sleep(BEFORE).await;
    let mut before = 0;
    while heard.try_recv().is_ok() {
        before += 1;
    }
    ensure!(before > 10, "only {before} writes before the blow");
    let struck = Instant::now();
    match blow {
        Blow::Kill => ensemble.kill_now(leader)?,
        Blow::Cut => hosts::unplug(leader as u8).await?,
    }
    // Acknowledgements on their way may still come in.
    let after = Instant::now() + Duration::from_millis(2);
    let result = loop {
        let next = timeout(PATIENCE, heard.recv()).await;
        let (begun, done) = next.context("no write in a minute")?.context("the writers are gone")?;
        if begun > after {
            break done - struck;
        }
    };
    writers.abort_all();
    match blow {
        Blow::Kill => {
            ensemble.kill(leader).await?;
            ensemble.start()?;
        }
        Blow::Cut => hosts::plug(leader as u8).await?,
    }
    ensemble.ready().await?;
    Ok(result.as_secs_f64() * 1e3)
}

/// One writer, tied to one server, for ever.
async fn write(clients: Clients, n: usize, acknowledged: mpsc::UnboundedSender<(Instant, Instant)>) {
    let value = value(n as u64);
    let mut conn = None;
    sleep(Duration::from_millis(13 * n as u64)).await;
    loop {
        let Some(client) = conn.as_mut() else {
            match timeout(Duration::from_millis(600), clients.connect(n)).await {
                Ok(Ok(client)) => conn = Some(client),
                _ => sleep(Duration::from_millis(20)).await,
            }
            continue;
        };
        let begun = Instant::now();
        let deadline = Duration::from_millis(60 + 8 * n as u64);
        match timeout(deadline, client.put(&format!("k{n}"), &value)).await {
            Ok(Ok(())) => {
                if acknowledged.send((begun, Instant::now())).is_err() {
                    return;
                }
            }
            _ => conn = None,
        }
        sleep(Duration::from_millis(10)).await;
    }
}
