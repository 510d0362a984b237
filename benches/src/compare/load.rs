//! Closed-loop load: so many clients, each with its connection, each doing one thing after the other on random
//! keys, for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::ensemble::Ensemble;
use super::figures::{cpu_seconds, machine_cpu_seconds, own_cpu_seconds};

pub const VALUE_BYTES: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    Put,
    Lin,
    Local,
}

/// A run of load on one system.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Cell {
    pub per_second: f64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub errors: u64,
    pub last_error: String,
    /// Of one core: 100 is one core used up.
    pub server_cpu_percent: f64,
    pub client_cpu_percent: f64,
    /// What neither the servers nor the generator used: noise.
    pub other_cpu_percent: f64,
}

/// Quick, repeatable numbers (xorshift64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A value that does not compress: a store that compresses shall have no advantage.
pub fn value(seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..VALUE_BYTES).map(|_| (dice.roll() >> 32) as u8).collect()
}

/// Creates the keys `k0` to `k{count - 1}`; how many a second.
pub async fn fill(ensemble: &Ensemble, count: u64, clients: usize) -> Result<f64> {
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut all = JoinSet::new();
    let connect = ensemble.clients();
    for client in 0..clients {
        let mut conn = connect.connect(client).await?;
        let next = next.clone();
        all.spawn(async move {
            loop {
                let key = next.fetch_add(1, Ordering::Relaxed);
                if key >= count {
                    return anyhow::Ok(());
                }
                conn.create(&format!("k{key}"), &value(key + 1)).await?;
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

struct Tally {
    times: Histogram<u64>,
    errors: u64,
    last_error: String,
}

impl Tally {
    fn new() -> Result<Tally> {
        let times = Histogram::new_with_max(60_000_000, 3).context("a histogram")?;
        Ok(Tally { times, errors: 0, last_error: String::new() })
    }
}

/// `clients` do `op` on `keys` keys for `time`, after a moment of warming up.
pub async fn run(
    ensemble: &Ensemble,
    op: Op,
    clients: usize,
    keys: u64,
    warm: Duration,
    time: Duration,
) -> Result<Cell> {
    let connect = ensemble.clients();
    let (stop, counting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut all = JoinSet::new();
    for client in 0..clients {
        let mut conn = connect.connect(client).await?;
        let (stop, counting) = (stop.clone(), counting.clone());
        all.spawn(async move {
            let mut tally = Tally::new()?;
            let mut dice = Dice::new(client as u64 + 1);
            let value = value(client as u64 + 77);
            while !stop.load(Ordering::Relaxed) {
                let key = format!("k{}", dice.roll() % keys);
                let counted = counting.load(Ordering::Relaxed);
                let start = Instant::now();
                let done = match op {
                    Op::Put => conn.put(&key, &value).await,
                    Op::Lin => conn.get_lin(&key).await.and_then(whole),
                    Op::Local => conn.get_local(&key).await.map(drop),
                };
                match done {
                    Ok(()) if counted && counting.load(Ordering::Relaxed) => {
                        tally.times.saturating_record(start.elapsed().as_micros() as u64);
                    }
                    Ok(()) => {}
                    Err(error) => {
                        tally.errors += 1;
                        tally.last_error = error.to_string();
                        sleep(Duration::from_millis(5)).await;
                    }
                }
            }
            anyhow::Ok(tally)
        });
    }
    sleep(warm).await;
    let pids = ensemble.pids();
    let used = || {
        let servers: f64 = pids.iter().map(|pid| cpu_seconds(*pid)).sum();
        (servers, own_cpu_seconds(), machine_cpu_seconds())
    };
    let before = used();
    counting.store(true, Ordering::Relaxed);
    let start = Instant::now();
    sleep(time).await;
    counting.store(false, Ordering::Relaxed);
    let took = start.elapsed().as_secs_f64();
    let after = used();
    stop.store(true, Ordering::Relaxed);
    let mut sum = Tally::new()?;
    while let Some(tally) = all.join_next().await {
        let tally = tally??;
        sum.times.add(&tally.times)?;
        sum.errors += tally.errors;
        if !tally.last_error.is_empty() {
            sum.last_error = tally.last_error;
        }
    }
    let percent = |seconds: f64| (seconds / took * 100.0).round();
    let (servers, client) = (after.0 - before.0, after.1 - before.1);
    Ok(Cell {
        per_second: sum.times.len() as f64 / took,
        p50_us: sum.times.value_at_quantile(0.5),
        p99_us: sum.times.value_at_quantile(0.99),
        errors: sum.errors,
        last_error: sum.last_error,
        server_cpu_percent: percent(servers),
        client_cpu_percent: percent(client),
        other_cpu_percent: percent((after.2 - before.2 - servers - client).max(0.0)),
    })
}

/// A read that finds nothing has measured nothing.
fn whole(length: usize) -> Result<()> {
    ensure!(length == VALUE_BYTES, "a value of {length} bytes");
    Ok(())
}
