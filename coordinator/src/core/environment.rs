//! What the core takes from the world outside: wall-clock time and randomness, and nothing else.
//! The simulator brings its own.

/// Wall clock and randomness. Monotonic time is tokio's, which the simulator makes virtual.
pub trait Environment: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC. For people only: no safety decision rests on it.
    fn wall_now_ms(&self) -> u64;
    /// 128 fresh random bits: identities and jitter are drawn from them.
    fn seed(&self) -> [u64; 2];
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn wall_now_ms(&self) -> u64 {
        // A clock before 1970 is no reason to stop: times are for people.
        u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
    }

    fn seed(&self) -> [u64; 2] {
        rand::random()
    }
}
