//! How late heartbeats are on a busy host: sent by a task of a runtime that computes, and by a thread of their own.
//! Prints the gaps between those that were sent, of which a lease bears 2.5 s.
//!
//!     cargo run -p pvc-node --example busy-host -- --seconds 30 --computing 300
//!
//! Beside it, for a host that others keep busy: `nice -n -5 sh -c 'while :; do :; done' &`, some for each processor.

#![allow(clippy::disallowed_methods, reason = "real time is what it measures")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clap::Parser;
use parking_lot::Mutex;
use pvc_model::command::PrimaryReport;
use pvc_model::guard::Guard;
use pvc_model::{Name, Revision, Uid};
use pvc_node::agent::heartbeat::{Beat, HEARTBEAT_INTERVAL, Heartbeats, InTask, LoadSource, Told};
use pvc_node::agent::incarnation::Incarnation;
use pvc_node::agent::lease::Lease;
use pvc_node::agent::link::{
    AssignmentStream, CoordinatorLink, Heartbeat, HeartbeatAck, LeasesReport, LinkError, Report,
};
use pvc_node::guard::socket::SocketPort;
use pvc_node::pulse::Pulse;

#[derive(Parser)]
struct Args {
    /// How long each of the two is watched
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Milliseconds that each thread of the daemon's runtime computes at a time; 0: it is idle
    #[arg(long, default_value_t = 0)]
    computing: u64,
}

/// A leader that acknowledges at once, and notes when it was called.
#[derive(Clone, Default)]
struct Noting(Arc<Mutex<Vec<Instant>>>);

fn nothing<T>() -> Result<T, LinkError> {
    Err(LinkError::Unavailable("only heartbeats are answered here".to_owned()))
}

#[async_trait]
impl CoordinatorLink for Noting {
    async fn heartbeat(&self, beat: Heartbeat, _: Duration) -> Result<HeartbeatAck, LinkError> {
        self.0.lock().push(Instant::now());
        Ok(HeartbeatAck { sequence: beat.sequence, term: 1, revision: 1, incarnation: 0 })
    }

    async fn assignments(&self, _: &Name, _: Vec<Uid>) -> Result<Box<dyn AssignmentStream>, LinkError> {
        nothing()
    }

    async fn report_primary(
        &self,
        _: &Name,
        _: u64,
        _: u64,
        _: PrimaryReport,
    ) -> Result<Revision, LinkError> {
        nothing()
    }

    async fn report_guard(&self, _: &Name, _: u64, _: u64, _: Option<Guard>) -> Result<Revision, LinkError> {
        nothing()
    }

    async fn report_leases(&self, _: LeasesReport) -> Result<Revision, LinkError> {
        nothing()
    }

    async fn leave_node(&self, _: &Name, _: u64, _: u32) -> Result<Revision, LinkError> {
        nothing()
    }

    async fn report(&self, _: Report) -> Result<Revision, LinkError> {
        nothing()
    }
}

struct NoLoad;

impl LoadSource for NoLoad {
    fn load(&self) -> (f64, u64) {
        (0.0, 0)
    }
}

fn compute(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::black_box((0..1000u64).sum::<u64>());
    }
}

async fn watch(args: &Args, noting: &Noting, beat: &dyn Beat) -> BTreeMap<&'static str, Duration> {
    let heartbeats = Heartbeats {
        node: "hv1".parse().expect("a name"),
        session: 1,
        link: Arc::new(noting.clone()),
        lease: Lease::default(),
        told: Arc::new(Mutex::new(Told::default())),
        load: Arc::new(NoLoad),
        incarnation: Incarnation::default(),
    };
    let _beating = beat.begin(heartbeats);
    let time = Duration::from_millis(args.computing);
    let until = Instant::now() + Duration::from_secs(args.seconds);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut computing = tokio::task::JoinSet::new();
    for _ in 0..if time.is_zero() { 0 } else { workers } {
        computing.spawn(async move {
            while Instant::now() < until {
                compute(time);
                tokio::task::yield_now().await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let sent = std::mem::take(&mut *noting.0.lock());
    let mut late: Vec<Duration> =
        sent.windows(2).map(|pair| (pair[1] - pair[0]).saturating_sub(HEARTBEAT_INTERVAL)).collect();
    late.sort();
    let at = |share: f64| late.get((late.len() as f64 * share) as usize).copied().unwrap_or(Duration::MAX);
    BTreeMap::from([
        ("half", at(0.5)),
        ("worst", late.last().copied().unwrap_or(Duration::MAX)),
        ("p95", at(0.95)),
    ])
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let (task, thread) = (Noting::default(), Noting::default());
    println!("late by, as a task:   {:?}", watch(&args, &task, &InTask).await);
    // No guard is met there.
    let guard = Arc::new(SocketPort::of(&std::env::temp_dir()));
    let pulse = Pulse { link: Arc::new(thread.clone()), guard };
    println!("late by, as a thread: {:?}", watch(&args, &thread, &pulse).await);
}
