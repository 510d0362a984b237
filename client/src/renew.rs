//! Certificates that renew themselves: at 70 % of its lifetime, give or take, whoever holds one asks the cluster for the
//! next. The daemon and the gateway run the same loop.
//!
//! The old pair stays on the disk and in force until the new one is known to be usable: a renewal that fails at any
//! point, or is cut short, costs nothing but a later try. What never happens here: a key that leaves its host, or a
//! change of who we are.

use std::convert::Infallible;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pvc_identity::{Credentials, CredentialsError, KeyError, KeyPair, TlsError, TlsStore};
use pvc_proto::internal::v1::RenewRequest;
use pvc_proto::internal::v1::join_service_client::JoinServiceClient;
use tokio::time::sleep;

use crate::coordinators::Coordinators;
use crate::error::{CallError, with_sources};

/// Between two tries; grows to [`BACK_OFF_MAX`]. Also between two renewals: a certificate that is due again at once,
/// such as by a wrong clock, must not become a storm.
const BACK_OFF_FIRST: Duration = Duration::from_secs(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(600);
/// How long a sleep may last: wall clocks are set, and hosts are suspended.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// Why a certificate was not renewed. The old one is still in force.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    #[error("no new key could be made")]
    Key(#[from] KeyError),
    #[error("no new certificate was signed")]
    Refused(#[source] CallError),
    #[error("the new certificate can't be read")]
    Unreadable(#[source] CredentialsError),
    #[error("the new certificate can't be used")]
    Unusable(#[from] TlsError),
    #[error("the new certificate is good until {new}, no longer than the old one ({old})")]
    NoLonger { old: Timestamp, new: Timestamp },
    #[error("the new certificate could not be kept")]
    Save(#[source] CredentialsError),
    #[error("the writing of the new certificate was broken off")]
    BrokenOff(#[source] tokio::task::JoinError),
}

/// Renews once, now: makes a key, has it signed, writes both to `dir` durably, and takes them into use.
pub async fn renew(dir: &Path, store: &TlsStore, coordinators: &Coordinators) -> Result<(), RenewError> {
    let held = store.credentials();
    let key = KeyPair::generate()?;
    let request = RenewRequest { csr_pem: key.csr_pem()?, certificate_pem: held.cert_chain_pem().to_owned() };
    let answer = JoinServiceClient::new(coordinators.clone()).renew(request).await;
    let answer = answer.map_err(|status| RenewError::Refused(status.into()))?.into_inner();
    let new =
        Credentials::new(answer.certificate_pem, key.pem(), answer.ca_pem).map_err(RenewError::Unreadable)?;
    let now = Timestamp::now();
    store.check(&new, now)?;
    if new.not_after() <= held.not_after() {
        return Err(RenewError::NoLonger { old: held.not_after(), new: new.not_after() });
    }
    let (kept, dir) = (new.clone(), dir.to_owned());
    tokio::task::spawn_blocking(move || kept.save(&dir))
        .await
        .map_err(RenewError::BrokenOff)?
        .map_err(RenewError::Save)?;
    store.reload(new, now)?;
    coordinators.reconnect();
    Ok(())
}

/// Keeps the certificate in `dir` and in `store` good for as long as it is polled. `on_renewed` is called after each
/// exchange: for other connections that began with the old certificate, and for programs with copies of the files.
pub async fn renew_forever(
    dir: PathBuf,
    store: Arc<TlsStore>,
    coordinators: Coordinators,
    on_renewed: impl Fn() + Send + Sync + 'static,
) -> Infallible {
    let due = |jitter| store.credentials().renew_at(jitter);
    keep(Timestamp::now, due, || async {
        match renew(&dir, &store, &coordinators).await {
            Ok(()) => {
                tracing::info!(identity = %store.leaf().identity, until = %store.leaf().not_after, "renewed the certificate");
                on_renewed();
                true
            }
            Err(error) => {
                let (error, until) = (with_sources(&error), store.leaf().not_after);
                tracing::warn!(%error, %until, "could not renew the certificate; trying again");
                false
            }
        }
    })
    .await
}

/// Calls `attempt` whenever `due` has come; it says whether it succeeded. `due` is told a draw from -1.0 to 1.0.
async fn keep<F: Future<Output = bool>>(
    now: impl Fn() -> Timestamp,
    due: impl Fn(f64) -> Timestamp,
    mut attempt: impl FnMut() -> F,
) -> Infallible {
    let mut jitter = draw();
    let mut failures = 0;
    loop {
        let left = Duration::try_from(due(jitter).duration_since(now())).unwrap_or_default();
        if !left.is_zero() {
            sleep(left.min(LOOK_AGAIN_AFTER)).await;
            continue;
        }
        if attempt().await {
            failures = 0;
            jitter = draw();
        } else {
            failures += 1;
        }
        sleep(back_off(failures).mul_f64(0.75 + 0.25 * draw())).await;
    }
}

fn draw() -> f64 {
    rand::random::<f64>() * 2.0 - 1.0
}

fn back_off(failures: u32) -> Duration {
    BACK_OFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(BACK_OFF_MAX)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(7 * 86_400);

    /// Runs the loop for `span` of virtual time over certificates of a week. `succeeds` is asked with each try's number.
    /// The answer: when the tries were, and when the certificates were made.
    async fn tries(span: Duration, succeeds: impl Fn(usize) -> bool) -> (Vec<Duration>, Vec<Duration>) {
        let (start, began) = (Instant::now(), Timestamp::now());
        let made = Mutex::new(vec![Duration::ZERO]);
        let tried = Mutex::new(Vec::new());
        let due = |jitter: f64| {
            let made = *made.lock().last().expect("one is there from the start");
            began + made + LIFETIME.mul_f64(0.70 + 0.05 * jitter)
        };
        let attempt = || async {
            tried.lock().push(start.elapsed());
            let good = succeeds(tried.lock().len());
            if good {
                made.lock().push(start.elapsed());
            }
            good
        };
        let _ = tokio::time::timeout(span, keep(|| began + start.elapsed(), due, attempt)).await;
        (tried.into_inner(), made.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn each_certificate_is_renewed_in_time_and_once() {
        let (tried, made) = tries(LIFETIME * 10, |_| true).await;
        assert_eq!(tried.len(), made.len() - 1);
        assert!((13..=15).contains(&tried.len()), "{tried:?}");
        for pair in made.windows(2) {
            let age = (pair[1] - pair[0]).as_secs_f64() / LIFETIME.as_secs_f64();
            assert!((0.65..0.7501).contains(&age), "renewed at {age} of its lifetime");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_is_away_is_asked_again_and_again_and_less_and_less() {
        // Away for a day and a half of the two that are left.
        let (tried, made) = tries(LIFETIME, |number| number > 200).await;
        assert_eq!(made.len(), 2, "it came back in time");
        let pauses: Vec<_> = tried.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[0] < Duration::from_secs(15), "the first pause was {:?}", pauses[0]);
        assert!(pauses.iter().all(|pause| *pause <= BACK_OFF_MAX));
        assert!(pauses[20..].iter().all(|pause| *pause >= BACK_OFF_MAX / 2));
    }
}
