//! Another way to look at a silent node's host than its daemon's heartbeats.

use std::fmt;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::fence::HostSign;

/// Whether a host answers, whatever its daemon does.
#[async_trait]
pub trait Probe: fmt::Debug + Send + Sync {
    /// `address`: HOST:PORT of the node's pvcd. Ends in bounded time by itself.
    async fn sign(&self, address: &str) -> HostSign;
}

/// What a host's addresses have shown together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signs {
    /// Silent only if it answers nowhere.
    pub sign: HostSign,
    /// The networks on which it answers.
    pub on: Vec<String>,
}

/// Asks a host at all its doors (network and address) at once.
pub async fn ask(probe: &dyn Probe, doors: &[(String, String)]) -> Signs {
    let asked = doors.iter().map(|(network, address)| async move { (network, probe.sign(address).await) });
    let signs = futures::future::join_all(asked).await;
    let at = |wanted: HostSign| signs.iter().filter(move |(_, sign)| *sign == wanted);
    let on: Vec<String> = at(HostSign::Answers).map(|(network, _)| (*network).clone()).collect();
    let sign = if !on.is_empty() {
        HostSign::Answers
    } else if at(HostSign::Silent).count() == signs.len() {
        HostSign::Silent
    } else {
        HostSign::Unknown
    };
    Signs { sign, on }
}

/// Knocks at the daemon's own port: a kernel that lives answers, if only that nobody listens there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Knock;

/// One lost packet is sent again after 1 s by the kernel: silence is asked about again by whoever asks.
const PATIENCE: Duration = Duration::from_millis(400);

#[async_trait]
impl Probe for Knock {
    async fn sign(&self, address: &str) -> HostSign {
        let knock = tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect(address));
        match knock.await {
            Ok(Ok(_)) => HostSign::Answers,
            Ok(Err(error)) if said_by_the_host(&error) => HostSign::Answers,
            Ok(Err(_)) | Err(_) => HostSign::Silent,
        }
    }
}

/// "Nobody listens" comes from the host itself; "no route", "unreachable" from those on the way.
fn said_by_the_host(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kernel_that_lives_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound").to_string();
        // Nobody takes the call, as when the daemon is frozen.
        assert_eq!(Knock.sign(&address).await, HostSign::Answers);
        drop(listener);
        assert_eq!(Knock.sign(&address).await, HostSign::Answers, "refused");
    }

    /// What each address answers, after a while.
    #[derive(Debug)]
    struct Table(&'static [(&'static str, HostSign)]);

    #[async_trait]
    impl Probe for Table {
        async fn sign(&self, address: &str) -> HostSign {
            tokio::time::sleep(PATIENCE).await;
            self.0.iter().find(|(at, _)| *at == address).map_or(HostSign::Unknown, |(_, sign)| *sign)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_silent_only_if_it_is_silent_everywhere() {
        use HostSign::{Answers, Silent, Unknown};
        let doors = [("cluster".to_owned(), "a".to_owned()), ("storage".to_owned(), "b".to_owned())];
        for (signs, sign, on) in [
            (&[("a", Silent), ("b", Silent)][..], Silent, &[][..]),
            (&[("a", Silent), ("b", Answers)], Answers, &["storage"]),
            (&[("a", Answers), ("b", Answers)], Answers, &["cluster", "storage"]),
            (&[("a", Silent), ("b", Unknown)], Unknown, &[]),
        ] {
            let table = signs.to_vec().leak();
            let begun = tokio::time::Instant::now();
            let on = on.iter().map(|network| (*network).to_owned()).collect();
            assert_eq!(ask(&Table(table), &doors).await, Signs { sign, on });
            assert_eq!(begun.elapsed(), PATIENCE, "all are asked at once");
        }
    }

    #[test]
    fn what_others_say_of_it_is_no_sign_of_life() {
        for (kind, by_the_host) in [
            (io::ErrorKind::ConnectionRefused, true),
            (io::ErrorKind::ConnectionReset, true),
            (io::ErrorKind::HostUnreachable, false),
            (io::ErrorKind::NetworkUnreachable, false),
            (io::ErrorKind::TimedOut, false),
        ] {
            assert_eq!(said_by_the_host(&kind.into()), by_the_host, "{kind}");
        }
    }
}
