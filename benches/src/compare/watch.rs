//! One write, and the time until the last of many watchers has been told of it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::ensemble::Ensemble;
use super::load::value;

const PATIENCE: Duration = Duration::from_secs(10);

/// Microseconds; medians and the 99th percentile of the writes.
#[derive(Debug, Clone, serde::Serialize)]
pub struct FanOut {
    pub write_p50_us: f64,
    pub first_p50_us: f64,
    pub last_p50_us: f64,
    pub last_p99_us: f64,
}

pub async fn run(ensemble: &Ensemble, watchers: usize, writes: usize) -> Result<FanOut> {
    let clients = ensemble.clients();
    let mut writer = clients.connect(0).await?;
    writer.create("watched", &value(1)).await?;
    let (told, mut heard) = mpsc::unbounded_channel();
    let mut all = JoinSet::new();
    for at in 0..watchers {
        let conn = clients.connect(at).await?;
        let mut watching = conn.watch("watched").await?;
        let told = told.clone();
        all.spawn(async move {
            while watching.next().await.is_ok() {
                if told.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
    }
    sleep(Duration::from_millis(500)).await;
    while heard.try_recv().is_ok() {}
    let (mut write, mut first, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..writes {
        let value = value(round as u64 + 2);
        let start = Instant::now();
        writer.put("watched", &value).await?;
        write.push(start.elapsed());
        let (mut earliest, mut latest) = (Duration::MAX, Duration::ZERO);
        for n in 0..watchers {
            let at = timeout(PATIENCE, heard.recv()).await;
            let at = at.with_context(|| format!("only {n} of {watchers} watchers were told"))?;
            let Some(at) = at else { bail!("the watchers are gone") };
            let took = at.saturating_duration_since(start);
            (earliest, latest) = (earliest.min(took), latest.max(took));
        }
        first.push(earliest);
        last.push(latest);
        sleep(Duration::from_millis(20)).await;
    }
    all.abort_all();
    let quantile = |times: &mut Vec<Duration>, q: f64| {
        times.sort();
        times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e6
    };
    Ok(FanOut {
        write_p50_us: quantile(&mut write, 0.5),
        first_p50_us: quantile(&mut first, 0.5),
        last_p50_us: quantile(&mut last, 0.5),
        last_p99_us: quantile(&mut last, 0.99),
    })
}
