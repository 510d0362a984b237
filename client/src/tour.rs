//! The order in which coordinators are asked: pure, so that it can be tested without any of them.

use std::time::Duration;

use tonic::{Code, Status};

const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
/// An election takes up to a second: longer pauses would be noticed after it.
const BACK_OFF_MAX: Duration = Duration::from_millis(400);
/// An attempt that is not answered gets this part of what is left of the deadline …
const ATTEMPT_PART: u32 = 4;
/// … but no less than this.
const ATTEMPT_MIN: Duration = Duration::from_secs(2);

/// Why one coordinator did not answer a call.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// No connection, or it broke.
    Broken(String),
    /// Its certificate was not accepted: asking again does not help.
    NotTrusted(String),
    /// It did not answer in time.
    Silent,
    /// It answered UNAVAILABLE, or that it is no coordinator any more.
    Unavailable(Status),
}

/// One call's way past the coordinators: each is asked at most once in a round.
#[derive(Debug, Default)]
pub(crate) struct Tour {
    tried: Vec<String>,
    round: u32,
    last: Vec<(String, Trouble)>,
}

impl Tour {
    /// Those of `order` that were not asked in this round.
    pub fn untried(&self, mut order: Vec<String>) -> Vec<String> {
        order.retain(|address| !self.tried.contains(address));
        order
    }

    pub fn note(&mut self, address: &str, trouble: Trouble) {
        self.tried.push(address.to_owned());
        self.last.retain(|(other, _)| other != address);
        self.last.push((address.to_owned(), trouble));
    }

    /// Begins a new round; the pause before it. `jitter` is 0 to 1.
    pub fn next_round(&mut self, jitter: f64) -> Duration {
        let full = BACK_OFF_FIRST.saturating_mul(1 << self.round.min(8)).min(BACK_OFF_MAX);
        self.round += 1;
        self.tried.clear();
        full.mul_f64(0.5 + 0.5 * jitter)
    }

    /// No coordinator is to be trusted: no patience helps.
    pub fn is_hopeless(&self) -> bool {
        !self.last.is_empty() && self.last.iter().all(|(_, t)| matches!(t, Trouble::NotTrusted(_)))
    }

    /// What the caller is told when there is no time left.
    pub fn failure(&self, within: Duration) -> Status {
        let reason = |(address, trouble): &(String, Trouble)| match trouble {
            // These name the address themselves.
            Trouble::NotTrusted(text) => text.clone(),
            Trouble::Broken(text) if text.contains(address.as_str()) => text.clone(),
            Trouble::Broken(text) => format!("{address}: {text}"),
            Trouble::Silent => format!("{address} did not answer"),
            Trouble::Unavailable(status) => format!("{address}: {}", status.message()),
        };
        let reasons = self.last.iter().map(reason).collect::<Vec<_>>().join("; ");
        if self.is_hopeless() {
            return Status::unauthenticated(format!("no coordinator can be trusted: {reasons}"));
        }
        let unavailable = self.last.iter().rev().find_map(|(_, trouble)| match trouble {
            Trouble::Unavailable(status) => Some(status.clone()),
            Trouble::Broken(_) | Trouble::NotTrusted(_) | Trouble::Silent => None,
        });
        if let Some(status) = unavailable {
            return status;
        }
        let silent = self.last.iter().any(|(_, t)| matches!(t, Trouble::Silent));
        let code = if silent { Code::DeadlineExceeded } else { Code::Unavailable };
        let reasons = if reasons.is_empty() { "none is known".to_owned() } else { reasons };
        Status::new(code, format!("no coordinator answered within {:.1} s: {reasons}", within.as_secs_f64()))
    }
}

/// How long one attempt may take.
pub(crate) fn attempt_time(left: Duration) -> Duration {
    (left / ATTEMPT_PART).max(ATTEMPT_MIN).min(left)
}

/// Reads a `grpc-timeout` header: up to eight digits and a unit.
pub(crate) fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_asked_once_in_a_round() {
        let order = ["a:1".to_owned(), "b:1".to_owned()];
        let mut tour = Tour::default();
        assert_eq!(tour.untried(order.to_vec()), order);
        tour.note("a:1", Trouble::Silent);
        assert_eq!(tour.untried(order.to_vec()), order[1..]);
        tour.note("b:1", Trouble::Broken("refused".into()));
        assert_eq!(tour.untried(order.to_vec()), [""; 0]);
        assert_eq!(tour.next_round(1.0), Duration::from_millis(100));
        assert_eq!(tour.untried(order.to_vec()), order);
        assert_eq!(tour.next_round(0.0), Duration::from_millis(100));
        for _ in 0..20 {
            assert!(tour.next_round(1.0) <= BACK_OFF_MAX);
        }
        let failure = tour.failure(Duration::from_secs(3));
        assert_eq!(failure.code(), Code::DeadlineExceeded);
        assert_eq!(
            failure.message(),
            "no coordinator answered within 3.0 s: a:1 did not answer; b:1: refused"
        );
    }

    #[test]
    fn timeouts_of_grpc() {
        assert_eq!(parse_grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_grpc_timeout("2S"), Some(Duration::from_secs(2)));
        for bad in ["", "S", "5", "5x", "-1S", "123456789S", "1é"] {
            assert_eq!(parse_grpc_timeout(bad), None, "{bad:?}");
        }
        assert_eq!(attempt_time(Duration::from_secs(40)), Duration::from_secs(10));
        assert_eq!(attempt_time(Duration::from_secs(4)), Duration::from_secs(2));
        assert_eq!(attempt_time(Duration::from_secs(1)), Duration::from_secs(1));
    }
}
