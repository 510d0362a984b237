//! BMCs by the program ipmitool: more kinds of them than the built-in client can speak with, at the cost of a process for
//! each question. The password goes by the environment: it is in no argument and in no log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pvc_coordinator::core::power::PowerError;
use pvc_process::{Cmd, CmdError, Runner};

use super::Target;
use super::ipmi::{Request, Talk, TalkError};

/// How ipmitool talks to a BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    /// IPMI 2.0 with cipher suite 17 (SHA-256), which newer BMCs allow alone.
    Suite17,
    /// IPMI 2.0 with cipher suite 3 (SHA-1).
    Suite3,
    /// IPMI 1.5.
    Lan,
}

impl Interface {
    pub const ALL: [Interface; 3] = [Interface::Suite17, Interface::Suite3, Interface::Lan];

    // The suite is always named: asked which ones it has, many a BMC says nothing for long.
    fn args(self) -> &'static [&'static str] {
        match self {
            Interface::Suite17 => &["-I", "lanplus", "-C", "17"],
            Interface::Suite3 => &["-I", "lanplus", "-C", "3"],
            Interface::Lan => &["-I", "lan"],
        }
    }
}

/// Its own retries end before.
const DEADLINE: Duration = Duration::from_secs(10);

pub(super) struct Ipmitool {
    pub target: Arc<Target>,
    pub interface: Interface,
    pub runner: Arc<dyn Runner>,
}

impl Ipmitool {
    fn command(&self, request: Request) -> Cmd {
        let target = &self.target;
        let (host, port) = pvc_model::bmc::host_and_port(&target.address);
        let mut cmd = Cmd::new("ipmitool")
            // Only then does it say why there is no session.
            .arg("-v")
            .args(self.interface.args())
            .args(["-H", host, "-p", &port.to_string(), "-U", &target.user, "-E", "-L", "OPERATOR"])
            // One second, twice: this is done again by whoever asked, where it is worth it.
            .args(["-N", "1", "-R", "2"])
            .arg("raw")
            .env("IPMI_PASSWORD", target.password.expose());
        for byte in [request.netfn, request.command].iter().chain(request.data) {
            cmd = cmd.arg(format!("{byte:#04x}"));
        }
        cmd
    }

    fn failure(&self, error: &CmdError) -> TalkError {
        let address = self.target.address.clone();
        let not_spoken = |detail: String| PowerError::NotSpoken { address: address.clone(), detail };
        let error = match error {
            CmdError::Failed { tail, .. } => match reason(tail) {
                Reason::Completion(code) => return TalkError::Completion(code),
                Reason::Silent => PowerError::Unreachable { address },
                Reason::Password => PowerError::WrongPassword { address },
                Reason::Other(said) => {
                    not_spoken(format!("ipmitool ({}): {said}", self.interface.args()[1..].join(" ")))
                }
            },
            CmdError::DeadlineExceeded { deadline, .. } => PowerError::Timeout { address, after: *deadline },
            other => not_spoken(other.to_string()),
        };
        TalkError::Power(error)
    }
}

#[async_trait]
impl Talk for Ipmitool {
    fn address(&self) -> &str {
        &self.target.address
    }

    async fn ask(&mut self, request: Request) -> Result<Vec<u8>, TalkError> {
        let output = self.runner.run(self.command(request), DEADLINE).await;
        let output = output.map_err(|error| self.failure(&error))?;
        bytes(&output.stdout_text()).ok_or_else(|| {
            let detail = format!("ipmitool answered {:?}", output.stdout_text().trim());
            TalkError::Power(PowerError::NotSpoken { address: self.target.address.clone(), detail })
        })
    }
}

/// What ipmitool's last words mean.
#[derive(Debug, PartialEq, Eq)]
enum Reason {
    Completion(u8),
    Silent,
    Password,
    Other(String),
}

fn reason(tail: &str) -> Reason {
    let says = |words: &str| tail.contains(words);
    if let Some((_, rest)) = tail.split_once("rsp=0x")
        && let Some(code) = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok())
    {
        return Reason::Completion(code);
    }
    if says("RAKP 2 HMAC is invalid")
        || says("unauthorized name")
        || says("Invalid user name")
        || says("Activate Session command failed")
    {
        return Reason::Password;
    }
    if says("Get Auth Capabilities") || says("Address lookup for") {
        return Reason::Silent;
    }
    let telling = tail.lines().find(|line| {
        !line.starts_with("Loading IANA") && !line.starts_with("Running Get VSO") && !line.trim().is_empty()
    });
    Reason::Other(telling.unwrap_or("it says nothing").trim_start_matches("Error: ").trim().to_owned())
}

/// The bytes of `raw`'s answer: hexadecimal, with blanks between and at the line's ends.
fn bytes(text: &str) -> Option<Vec<u8>> {
    text.split_ascii_whitespace().map(|hex| u8::from_str_radix(hex, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvc_identity::Secret;
    use pvc_process::RealRunner;

    fn ipmitool(address: &str) -> Ipmitool {
        let target =
            Target { address: address.into(), user: "ADMIN".into(), password: Secret::new("hunter2") };
        Ipmitool { target: Arc::new(target), interface: Interface::Suite17, runner: Arc::new(RealRunner) }
    }

    #[test]
    fn the_password_is_in_no_argument() {
        let request = Request { netfn: 0, command: 2, data: &[0] };
        let shown = ipmitool("[fd00::21]:624").command(request).to_string();
        assert_eq!(
            shown,
            "ipmitool -v -I lanplus -C 17 -H fd00::21 -p 624 -U ADMIN -E -L OPERATOR -N 1 -R 2 raw 0x00 0x02 0x00"
        );
    }

    #[test]
    fn last_words_are_understood() {
        for (tail, meaning) in [
            (
                "> RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session",
                Reason::Password,
            ),
            ("RAKP 2 message indicates an error : unauthorized name\nError: Unable", Reason::Password),
            ("Get Auth Capabilities error\nError issuing Get Channel Authentication", Reason::Silent),
            ("Address lookup for nohost.invalid failed\nCould not open socket!", Reason::Silent),
            (
                "Unable to send RAW command (channel=0x0 netfn=0x0 lun=0x0 cmd=0x77 rsp=0xc1): Invalid command",
                Reason::Completion(0xc1),
            ),
            (
                "Loading IANA PEN Registry...\nError in open session response message : invalid authentication algorithm\n",
                Reason::Other(
                    "Error in open session response message : invalid authentication algorithm".into(),
                ),
            ),
            ("", Reason::Other("it says nothing".into())),
        ] {
            assert_eq!(reason(tail), meaning, "{tail}");
        }
    }

    #[test]
    fn raw_answers_are_bytes() {
        assert_eq!(bytes(" 00 11 22\n ff\n"), Some(vec![0, 0x11, 0x22, 0xff]));
        assert_eq!(bytes("\n"), Some(vec![]));
        assert_eq!(bytes("Chassis Power is on"), None);
    }
}
