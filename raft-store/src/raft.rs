//! The types with which openraft is filled in: what an entry carries, who leads, on which runtime it runs.
//! Standard Raft: at most one leader per term, so a term names its leader.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::rt::AsyncRuntime;
use openraft::{OptionalSend, TokioRuntime};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{SeedableRng, TryRng};

use crate::member::{MemberId, MemberNode};
use crate::pause::Pause;
use crate::transaction::Outcome;

openraft::declare_raft_types!(
    pub TypeConfig:
        D = Command,
        R = Applied,
        NodeId = MemberId,
        Node = MemberNode,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = SeededRuntime,
);

pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type LogEntry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type CommittedLeader = openraft::type_config::alias::CommittedLeaderIdOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<MemberId, MemberNode>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

/// A proposal as it lies in the log: an encoded `BatchForm`, decoded only when it is applied.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(pub Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What applying an entry answers to its proposer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The entry carries no transactions (blank, membership).
    Nothing,
    /// The entry's own term is not the one it was meant for; nothing was applied.
    StaleTerm,
    Outcomes(Vec<Outcome>),
}

/// Tokio with a generator of random numbers that each store seeds for itself, so that its elections
/// can be repeated. The seed travels with the tasks that openraft spawns.
#[derive(Debug)]
pub struct SeededRuntime(TokioRuntime);

/// What the tasks of one store share.
#[derive(Clone)]
struct Own {
    generator: Arc<Mutex<SmallRng>>,
    pause: Option<Pause>,
}

tokio::task_local! {
    static OWN: Own;
}

/// Runs `future`, and all tasks that openraft spawns from it, on a generator seeded by `seed`; the tasks are
/// stopped by `pause`.
pub(crate) async fn seeded<F: Future>(seed: u64, pause: Option<Pause>, future: F) -> F::Output {
    let generator = Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)));
    OWN.scope(Own { generator, pause }, future).await
}

/// The store's generator inside its tasks, a random one elsewhere.
pub struct Generator(Arc<Mutex<SmallRng>>);

impl TryRng for Generator {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.0.lock().try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0.lock().try_next_u64()
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        self.0.lock().try_fill_bytes(dst)
    }
}

impl AsyncRuntime for SeededRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Generator;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let Ok(own) = OWN.try_with(Own::clone) else { return TokioRuntime::spawn(future) };
        match own.pause.clone() {
            None => TokioRuntime::spawn(OWN.scope(own, future)),
            Some(pause) => TokioRuntime::spawn(pause.hold(OWN.scope(own, future))),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        let own = OWN.try_with(|own| own.generator.clone());
        Generator(own.unwrap_or_else(|_| Arc::new(Mutex::new(SmallRng::seed_from_u64(rand::random())))))
    }

    fn new(threads: usize) -> Self {
        SeededRuntime(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
