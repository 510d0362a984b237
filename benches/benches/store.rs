//! What the store's parts cost, one member alone: an entry applied (disks in memory) and made durable (files),
//! a change told to a hundred watchers, a linearizable read, a snapshot written and read, and a start with
//! data. `cargo bench` holds each against its last run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use raft_store::{
    Engine, Key, Member, MemoryDisk, Options, RpcKind, Store, Transaction, Transport, TransportError,
};
use tokio::io::AsyncRead;
use tokio::runtime::Runtime;

const VALUE_BYTES: usize = 256;
const KEYS: u64 = 10_000;

/// A member alone calls nobody.
struct Nobody;

#[async_trait]
impl Transport for Nobody {
    async fn call(&self, _: &Member, _: RpcKind, _: Bytes, _: Duration) -> Result<Bytes, TransportError> {
        Err(TransportError::Refused)
    }

    async fn send_snapshot(
        &self,
        _: &Member,
        _: Bytes,
        _: std::pin::Pin<Box<dyn AsyncRead + Send>>,
        _: Duration,
    ) -> Result<Bytes, TransportError> {
        Err(TransportError::Refused)
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn options(engine: Engine) -> Options {
    Options::new(engine, Member::new(1, "here"), "bench")
}

fn on_disk(dir: &Path) -> Engine {
    Engine::Disk { dir: dir.to_owned() }
}

async fn founded(engine: Engine) -> (Store, u64) {
    let store = Store::open(options(engine), Arc::new(Nobody)).await.expect("opened");
    store.found().await.expect("founded");
    let term = store.leadership().borrow().expect("it leads").term;
    (store, term)
}

fn puts(first: u64, count: u64) -> Vec<Transaction> {
    let put = |n: u64| {
        let key = Key::new("bench", &format!("k{}", n % KEYS)).expect("a key");
        Transaction { puts: vec![(key, Bytes::from(vec![n as u8; VALUE_BYTES]))], ..Transaction::default() }
    };
    (first..first + count).map(put).collect()
}

async fn filled(engine: Engine) -> (Store, u64) {
    let (store, term) = founded(engine).await;
    for first in (0..KEYS).step_by(500) {
        store.propose(term, puts(first, 500), 1).await.expect("written");
    }
    (store, term)
}

fn entries(c: &mut Criterion) {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a folder");
    let engines = [("apply", Engine::Memory(MemoryDisk::default())), ("append", on_disk(dir.path()))];
    for (name, engine) in engines {
        let (store, term) = runtime.block_on(filled(engine));
        let mut group = c.benchmark_group(name);
        for count in [1, 64, 512] {
            let mut first = 0;
            group.throughput(Throughput::Elements(count));
            group.bench_function(BenchmarkId::new("transactions", count), |b| {
                b.iter(|| {
                    first += 7 * count;
                    runtime.block_on(store.propose(term, puts(first, count), 1)).expect("written")
                });
            });
        }
        group.finish();
        if name == "apply" {
            c.bench_function("linearizable read", |b| {
                b.iter(|| runtime.block_on(store.linearizable()).expect("read"));
            });
        }
        runtime.block_on(store.shutdown());
    }
}

fn fan_out(c: &mut Criterion) {
    let runtime = runtime();
    let (store, term) = runtime.block_on(founded(Engine::Memory(MemoryDisk::default())));
    let revision = store.view().revision;
    let mut watchers: Vec<_> = (0..100).map(|_| store.watch(revision).expect("a watch")).collect();
    let mut n = 0;
    c.bench_function("a change told to 100 watchers", |b| {
        b.iter(|| {
            runtime.block_on(async {
                n += 1;
                store.propose(term, puts(n, 1), 1).await.expect("written");
                for watcher in &mut watchers {
                    watcher.next().await.expect("told");
                }
            });
        });
    });
    runtime.block_on(store.shutdown());
}

fn snapshot(c: &mut Criterion) {
    let runtime = runtime();
    let (store, _) = runtime.block_on(filled(Engine::Memory(MemoryDisk::default())));
    c.bench_function("a snapshot of 10,000 keys written", |b| {
        b.iter(|| runtime.block_on(store.export(&mut tokio::io::sink())).expect("written"));
    });
    let mut backup = Vec::new();
    runtime.block_on(store.export(&mut backup)).expect("written");
    c.bench_function("a snapshot of 10,000 keys read into a new store", |b| {
        b.iter_batched(
            || Options::new(Engine::Memory(MemoryDisk::default()), Member::new(1, "here"), "restored"),
            |options| runtime.block_on(Store::import(&options, &backup[..])).expect("read"),
            BatchSize::PerIteration,
        );
    });
    runtime.block_on(store.shutdown());
}

fn restart(c: &mut Criterion) {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = runtime.block_on(filled(on_disk(dir.path())));
    runtime.block_on(store.shutdown());
    let mut group = c.benchmark_group("start");
    group.sample_size(10);
    group.bench_function("with 10,000 keys", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let store =
                    Store::open(options(on_disk(dir.path())), Arc::new(Nobody)).await.expect("opened");
                let mut leadership = store.leadership();
                leadership.wait_for(Option::is_some).await.expect("it leads");
                store.shutdown().await;
            });
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = entries, fan_out, snapshot, restart
}
criterion_main!(benches);
