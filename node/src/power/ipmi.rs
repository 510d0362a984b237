//! The few IPMI commands that power needs, over whatever carries them: what is asked, what the answer means, and what a
//! refusal's number says.

use std::time::Duration;

use async_trait::async_trait;
use pvc_coordinator::core::power::{PowerError, PowerState};
use pvc_model::bmc;

/// An IPMI request: network function, command, data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub netfn: u8,
    pub command: u8,
    pub data: &'static [u8],
}

const CHASSIS: u8 = 0x00;
pub(super) const APP: u8 = 0x06;

const GET_STATUS: Request = Request { netfn: CHASSIS, command: 0x01, data: &[] };
const POWER_DOWN: Request = Request { netfn: CHASSIS, command: 0x02, data: &[0] };
const POWER_UP: Request = Request { netfn: CHASSIS, command: 0x02, data: &[1] };
const GET_SYSTEM_GUID: Request = Request { netfn: APP, command: 0x37, data: &[] };

/// A conversation with one BMC: sessions are opened when they are needed.
#[async_trait]
pub(super) trait Talk: Send {
    /// host:port of the BMC, for messages.
    fn address(&self) -> &str;

    /// Sends a request until it is answered, for as long as this way of talking is patient.
    async fn ask(&mut self, request: Request) -> Result<Vec<u8>, TalkError>;

    /// Ends the session, if there is one: small BMCs have few.
    async fn close(&mut self) {}
}

/// Why a request was not answered as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TalkError {
    /// The BMC's own refusal, by its completion code.
    Completion(u8),
    /// No conversation came about, or it broke.
    Power(PowerError),
}

impl TalkError {
    /// The same request may do in a moment.
    pub fn passes(&self) -> bool {
        match self {
            // Busy, timed out inside, the BMC itself is starting.
            TalkError::Completion(code) => matches!(code, 0xc0 | 0xc3 | 0xce | 0xd2),
            TalkError::Power(error) => {
                matches!(error, PowerError::Unreachable { .. } | PowerError::Timeout { .. })
            }
        }
    }

    pub fn at(self, address: &str) -> PowerError {
        match self {
            TalkError::Power(error) => error,
            TalkError::Completion(code) => {
                PowerError::Refused { address: address.to_owned(), detail: completion(code) }
            }
        }
    }
}

/// Whether the host has power.
pub(super) async fn status(talk: &mut dyn Talk) -> Result<PowerState, TalkError> {
    let answer = talk.ask(GET_STATUS).await?;
    let Some(state) = answer.first() else {
        let detail = "its answer about the power is empty".to_owned();
        return Err(TalkError::Power(PowerError::NotSpoken { address: talk.address().to_owned(), detail }));
    };
    Ok(if state & 1 == 1 { PowerState::On } else { PowerState::Off })
}

/// Orders the power to be changed. That the order was taken says nothing of the power.
pub(super) async fn order(talk: &mut dyn Talk, to: PowerState) -> Result<(), TalkError> {
    let request = match to {
        PowerState::Off => POWER_DOWN,
        PowerState::On => POWER_UP,
    };
    talk.ask(request).await.map(drop)
}

/// The system GUID; empty: this BMC can't tell.
pub(super) async fn identity(talk: &mut dyn Talk) -> Result<String, TalkError> {
    match talk.ask(GET_SYSTEM_GUID).await {
        Ok(answer) => Ok(<[u8; 16]>::try_from(&answer[..]).map(bmc::identity).unwrap_or_default()),
        // It does not know the command, or has nothing to tell.
        Err(TalkError::Completion(0xc1 | 0xc2 | 0xcb | 0xcc | 0xd6)) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn completion(code: u8) -> String {
    let meaning = match code {
        0xc0 => "it is busy",
        0xc1 | 0xc2 => "it does not know the command",
        0xc3 => "it took too long inside",
        0xc4 => "it has no room",
        0xcc => "it does not take this value",
        0xd2 => "it is starting",
        0xd4 => "the user may not do that: it needs the privilege OPERATOR",
        0xd5 => "it can't in its present state",
        0xd6 => "it is switched off there",
        _ => "for a reason of its own",
    };
    format!("{meaning} (completion code {code:#04x})")
}

/// How long changes of power are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Between two looks at the power.
    pub look: Duration,
    /// An order that has shown nothing for so long is given again: some BMCs lose one.
    pub again: Duration,
    /// After so long it has failed.
    pub read_back: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            look: Duration::from_millis(100),
            again: Duration::from_secs(3),
            read_back: Duration::from_secs(12),
        }
    }
}

/// Orders the power to be changed, and looks until the BMC reads it as asked. `before` is what it reads now.
pub(super) async fn switch(
    talk: &mut dyn Talk,
    before: PowerState,
    to: PowerState,
    limits: Limits,
) -> Result<(), PowerError> {
    let begun = tokio::time::Instant::now();
    let mut ordered = None;
    let mut trouble = None;
    let mut reads = before;
    while reads != to {
        if begun.elapsed() >= limits.read_back {
            let address = talk.address().to_owned();
            let silent = trouble.map(|error: TalkError| error.at(&address));
            return Err(silent.unwrap_or(PowerError::NotReadBack {
                address,
                reads,
                after: limits.read_back,
            }));
        }
        let due = ordered.is_none_or(|at: tokio::time::Instant| at.elapsed() >= limits.again);
        let looked = async {
            if due {
                order(talk, to).await?;
                ordered = Some(tokio::time::Instant::now());
            } else {
                tokio::time::sleep(limits.look).await;
            }
            status(talk).await
        };
        match looked.await {
            Ok(state) => {
                reads = state;
                trouble = None;
            }
            Err(error) if error.passes() => {
                trouble = Some(error);
                tokio::time::sleep(limits.look).await;
            }
            Err(error) => return Err(error.at(talk.address())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Answers status by a script, whose last line holds for ever, and takes every order.
    struct Scripted {
        status: VecDeque<Result<Vec<u8>, TalkError>>,
        order: Result<Vec<u8>, TalkError>,
        guid: Result<Vec<u8>, TalkError>,
        orders: Vec<u8>,
    }

    #[async_trait]
    impl Talk for Scripted {
        fn address(&self) -> &str {
            "b1:623"
        }

        async fn ask(&mut self, request: Request) -> Result<Vec<u8>, TalkError> {
            if request == GET_SYSTEM_GUID {
                return self.guid.clone();
            }
            if request == GET_STATUS {
                let next = if self.status.len() > 1 { self.status.pop_front() } else { None };
                return next.unwrap_or_else(|| self.status[0].clone());
            }
            self.orders.push(request.data[0]);
            self.order.clone()
        }
    }

    fn scripted(status: &[Result<&[u8], TalkError>]) -> Scripted {
        let status = status.iter().map(|answer| answer.clone().map(<[u8]>::to_vec)).collect();
        Scripted { status, order: Ok(vec![]), guid: Ok(vec![]), orders: vec![] }
    }

    fn silent() -> TalkError {
        TalkError::Power(PowerError::Unreachable { address: "b1:623".into() })
    }

    const ON: Result<&[u8], TalkError> = Ok(&[0x21, 0, 0x40]);
    const OFF: Result<&[u8], TalkError> = Ok(&[0x20, 0, 0x40]);

    #[tokio::test(start_paused = true)]
    async fn it_is_off_when_it_reads_so_and_not_before() {
        let mut talk = scripted(&[ON, ON, Err(silent()), ON, OFF]);
        switch(&mut talk, PowerState::On, PowerState::Off, Limits::default()).await.expect("off");
        assert_eq!(talk.status.len(), 1, "it has looked until it read off");
        assert_eq!(talk.orders, [0]);

        let mut talk = scripted(&[OFF]);
        switch(&mut talk, PowerState::Off, PowerState::Off, Limits::default()).await.expect("off already");
        assert_eq!(talk.orders, [] as [u8; 0], "nothing was ordered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bmc_that_takes_the_order_and_does_nothing_has_failed() {
        let begun = tokio::time::Instant::now();
        let mut talk = scripted(&[ON]);
        let error = switch(&mut talk, PowerState::On, PowerState::Off, Limits::default()).await.unwrap_err();
        assert!(matches!(error, PowerError::NotReadBack { reads: PowerState::On, .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(14));
        assert_eq!(talk.orders.len(), 4, "it was ordered again and again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bmc_that_falls_silent_after_the_order_has_not_read_off() {
        let mut talk = scripted(&[ON, Err(silent())]);
        let error = switch(&mut talk, PowerState::On, PowerState::Off, Limits::default()).await.unwrap_err();
        assert!(matches!(error, PowerError::Unreachable { .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_stands_ends_it_and_one_that_passes_does_not() {
        let mut talk = scripted(&[ON]);
        talk.order = Err(TalkError::Completion(0xd4));
        let error = switch(&mut talk, PowerState::On, PowerState::Off, Limits::default()).await.unwrap_err();
        assert!(error.to_string().contains("needs the privilege OPERATOR"), "{error}");
        assert_eq!(talk.orders.len(), 1);
        talk.order = Err(TalkError::Completion(0xc0));
        let error = switch(&mut talk, PowerState::On, PowerState::Off, Limits::default()).await.unwrap_err();
        assert!(error.to_string().contains("it is busy (completion code 0xc0)"), "{error}");
        assert!(talk.orders.len() > 10, "it was ordered until the time was over");
    }

    #[tokio::test]
    async fn a_guid_is_told_where_there_is_one() {
        let mut talk = scripted(&[ON]);
        talk.guid = Ok((0x10..0x20).collect());
        assert_eq!(identity(&mut talk).await.as_deref(), Ok("10111213-1415-1617-1819-1a1b1c1d1e1f"));
        for nothing in [Ok(vec![]), Ok(vec![0; 16]), Err(TalkError::Completion(0xc1))] {
            talk.guid = nothing;
            assert_eq!(identity(&mut talk).await.as_deref(), Ok(""));
        }
        talk.guid = Err(TalkError::Completion(0xd4));
        assert_eq!(identity(&mut talk).await, Err(TalkError::Completion(0xd4)));
        assert!(status(&mut scripted(&[Ok(&[])])).await.is_err());
    }
}
