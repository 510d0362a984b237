//! BMCs by the library ipmi-rs, built in: no process, a millisecond for a session. It speaks RMCP+ with cipher suite 3 and
//! IPMI 1.5, blocks, sends each packet once, and panics on some answers: so it runs on threads that may block, its panics
//! become errors, and what was lost is asked again in a new session.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ipmi_rs::connection::{IpmiCommand, Message, NetFn};
use ipmi_rs::rmcp::{
    ActivationError, RakpMessage2ErrorStatusCode, RakpMessage2ParseError, Rmcp, RmcpIpmiError,
    RmcpIpmiReceiveError, V2_0ActivationError,
};
use ipmi_rs::{Ipmi, IpmiError};
use pvc_coordinator::core::power::PowerError;

use super::Target;
use super::ipmi::{APP, Request, Talk, TalkError};

/// How long an answer is waited for, the first time, the second, and the last.
const PATIENCE: [Duration; 3] =
    [Duration::from_millis(1000), Duration::from_millis(1500), Duration::from_millis(2000)];

const SET_PRIVILEGE_OPERATOR: Request = Request { netfn: APP, command: 0x3b, data: &[3] };
const CLOSE_SESSION: u8 = 0x3c;

pub(super) struct Native {
    target: Arc<Target>,
    session: Option<Session>,
}

impl Native {
    pub fn new(target: Arc<Target>) -> Self {
        Native { target, session: None }
    }
}

#[async_trait]
impl Talk for Native {
    fn address(&self) -> &str {
        &self.target.address
    }

    async fn ask(&mut self, request: Request) -> Result<Vec<u8>, TalkError> {
        let mut last = None;
        for wait in PATIENCE {
            let (target, session) = (self.target.clone(), self.session.take());
            let asked = move || -> Result<(Vec<u8>, Session), Failure> {
                let mut session = match session {
                    Some(session) => session,
                    None => Session::open(&target, wait)?,
                };
                let answer = session.ask(request.netfn, request.command, request.data.to_vec());
                match answer {
                    Err(Failure::Refused(code)) => Err(Failure::RefusedIn(code, Box::new(session))),
                    answer => Ok((answer?, session)),
                }
            };
            match blocking(asked).await {
                Ok((answer, session)) => {
                    self.session = Some(session);
                    return Ok(answer);
                }
                Err(Failure::RefusedIn(code, session)) => {
                    self.session = Some(*session);
                    return Err(TalkError::Completion(code));
                }
                Err(failure @ (Failure::Silent | Failure::Lost(_))) => last = Some(failure),
                Err(failure) => return Err(failure.at(&self.target.address)),
            }
        }
        Err(last.unwrap_or(Failure::Silent).at(&self.target.address))
    }

    async fn close(&mut self) {
        if let Some(mut session) = self.session.take() {
            // One that does not take it lets the session run out, as it does with those of callers that die.
            let closed = blocking(move || session.close()).await;
            tracing::trace!(address = self.target.address, ?closed, "session closed");
        }
    }
}

/// Runs what blocks and may panic.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let panicked = || Failure::Unspeakable("its answer made the library panic".into());
    let done = tokio::task::spawn_blocking(move || raft_store::guarded(call)).await;
    done.ok().flatten().unwrap_or_else(|| Err(panicked()))
}

/// Why the library has no answer for us.
enum Failure {
    /// Nothing at all came back.
    Silent,
    /// It was answering, and stopped, or something else came.
    Lost(String),
    Password,
    /// The BMC's completion code.
    Refused(u8),
    RefusedIn(u8, Box<Session>),
    /// They have no language in common.
    Unspeakable(String),
}

impl Failure {
    fn at(self, address: &str) -> TalkError {
        let address = address.to_owned();
        TalkError::Power(match self {
            Failure::Silent => PowerError::Unreachable { address },
            Failure::Lost(detail) => {
                tracing::debug!(address, detail, "a BMC's answer was lost");
                PowerError::Timeout { address, after: PATIENCE.iter().sum() }
            }
            Failure::Password => PowerError::WrongPassword { address },
            Failure::Refused(code) | Failure::RefusedIn(code, _) => return TalkError::Completion(code),
            Failure::Unspeakable(detail) => {
                PowerError::NotSpoken { address, detail: format!("built-in client: {detail}") }
            }
        })
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Silent => f.write_str("Silent"),
            Failure::Lost(detail) => write!(f, "Lost({detail})"),
            Failure::Password => f.write_str("Password"),
            Failure::Refused(code) | Failure::RefusedIn(code, _) => write!(f, "Refused({code:#04x})"),
            Failure::Unspeakable(detail) => write!(f, "Unspeakable({detail})"),
        }
    }
}

/// An open session in which the power may be changed.
struct Session {
    ipmi: Ipmi<Rmcp>,
}

impl Session {
    /// Blocks. `wait` is for each packet.
    fn open(target: &Target, wait: Duration) -> Result<Self, Failure> {
        // A name that leads nowhere is nobody there.
        let mut rmcp = Rmcp::new(&target.address, wait).map_err(|_| Failure::Silent)?;
        let (user, password) = (target.user.as_str(), target.password.expose().as_bytes());
        rmcp.activate(true, Some(user), Some(password)).map_err(activation)?;
        let mut session = Session { ipmi: Ipmi::new(rmcp) };
        // Sessions begin with the privilege of a mere user.
        let Request { netfn, command, data } = SET_PRIVILEGE_OPERATOR;
        session.ask(netfn, command, data.to_vec())?;
        Ok(session)
    }

    fn ask(&mut self, netfn: u8, command: u8, data: Vec<u8>) -> Result<Vec<u8>, Failure> {
        self.ipmi.send_recv(Raw(Message::new_request(NetFn::from(netfn), command, data))).map_err(|error| {
            match error {
                IpmiError::Failed { completion_code, .. } => Failure::Refused(number(completion_code)),
                error => Failure::Lost(format!("{error:?}")),
            }
        })
    }

    fn close(&mut self) -> Result<(), Failure> {
        let shown = format!("{:?}", self.ipmi.inner_mut());
        let id = session_id(&shown).ok_or_else(|| Failure::Lost("the session has no number".into()))?;
        self.ask(APP, CLOSE_SESSION, id.to_le_bytes().to_vec()).map(drop)
    }
}

/// The session's number. The library keeps it to itself and shows it in its `Debug` alone, and small BMCs have room for a
/// handful of sessions, which last a minute when nobody ends them.
fn session_id(shown: &str) -> Option<u32> {
    let (_, rest) = shown.split_once("session_id: ")?;
    let rest = rest.trim_start_matches("Some(");
    rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}

/// Any request; its answer is bytes.
struct Raw(Message);

impl From<Raw> for Message {
    fn from(raw: Raw) -> Message {
        raw.0
    }
}

impl IpmiCommand for Raw {
    type Output = Vec<u8>;
    type Error = ();

    fn parse_success_response(data: &[u8]) -> Result<Vec<u8>, ()> {
        Ok(data.to_vec())
    }
}

/// The completion code's number: the library names them, and `ipmi` explains numbers.
fn number(code: ipmi_rs::connection::CompletionErrorCode) -> u8 {
    (1..=u8::MAX)
        .find(|byte| ipmi_rs::connection::CompletionErrorCode::try_from(*byte) == Ok(code))
        .unwrap_or(u8::MAX)
}

fn activation(error: ActivationError) -> Failure {
    use RakpMessage2ErrorStatusCode as Rakp2;
    let shown = format!("{error:?}");
    match error {
        ActivationError::BindSocket(_) | ActivationError::PingSend(_) => Failure::Silent,
        ActivationError::PongReceive(error) if silent(&error) => Failure::Silent,
        ActivationError::GetChannelAuthenticationCapabilities(IpmiError::Connection(
            RmcpIpmiError::Receive(RmcpIpmiReceiveError::Io(error)),
        )) if silent(&error) => Failure::Lost(shown),
        ActivationError::V2_0(error) => match error {
            V2_0ActivationError::ServerAuthenticationFailed
            | V2_0ActivationError::RakpMessage2Parse(RakpMessage2ParseError::ErrorStatusCode(
                Rakp2::UnauthorizedName | Rakp2::InvalidNameLength,
            )) => Failure::Password,
            V2_0ActivationError::OpenSessionResponseReceive(RmcpIpmiReceiveError::Io(_))
            | V2_0ActivationError::RakpMessage2Receive(RmcpIpmiReceiveError::Io(_))
            | V2_0ActivationError::RakpMessage4Receive(RmcpIpmiReceiveError::Io(_)) => Failure::Lost(shown),
            _ => Failure::Unspeakable(shown),
        },
        _ => Failure::Unspeakable(shown),
    }
}

/// Nobody has answered, rather than something having gone wrong here.
fn silent(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::WouldBlock
            | Kind::TimedOut
            | Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipmi_rs::connection::CompletionErrorCode;

    #[test]
    fn the_sessions_number_is_found_in_what_is_shown() {
        assert_eq!(
            session_id("V2_0(State { socket: S, session_id: 33554433, session_sequence"),
            Some(33_554_433)
        );
        assert_eq!(session_id("V1_5(State { session_id: Some(7), auth_type"), Some(7));
        for nothing in ["", "session_id: None", "session_id: ", "session_id: 7"] {
            assert_eq!(session_id(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn completion_codes_keep_their_numbers() {
        for code in [0x80, 0xc0, 0xc1, 0xcc, 0xd2, 0xd4, 0xd6, 0xff] {
            assert_eq!(number(CompletionErrorCode::try_from(code).expect("a code")), code);
        }
    }
}
