//! The guard's judgement: armed or not, until when the host's lease goes, and whether it is time to strike. Pure: the time
//! comes in as an argument. The simulator runs exactly this.

use std::time::Duration;

use super::{Answer, Ask, Kind, STRIKE_AFTER, SinceBoot, WATCHDOG_TIMEOUT};
use crate::agent::lease::LEASE;

/// Longer than a daemon takes to see that the guard answers again.
const TAKE_OVER_GRACE: Duration = Duration::from_secs(3);

/// What it can rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub kind: Kind,
    pub device: String,
}

impl Terms {
    /// A process alone.
    pub fn process() -> Self {
        Terms { kind: Kind::Process, device: String::new() }
    }

    /// The guard's own strike comes so long after the lease's end: early enough for a watchdog to reset the host in time if
    /// the strike does not succeed, or the guard has frozen just before it.
    fn own_strike(&self) -> Duration {
        match self.kind {
            Kind::Device | Kind::Softdog => STRIKE_AFTER - WATCHDOG_TIMEOUT,
            Kind::Process => STRIKE_AFTER,
        }
    }
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Nothing: it is not armed.
    Rest,
    /// Armed, and the lease is alive or has not been over for long.
    Watch,
    /// Every guest of this host is to end.
    Strike,
}

#[derive(Clone, Debug)]
pub struct Watch {
    terms: Terms,
    /// Armed: the end of the last lease that it was told of.
    until: Option<SinceBoot>,
    stopping: bool,
}

impl Watch {
    /// It is not armed.
    pub fn new(terms: Terms) -> Self {
        Watch { terms, until: None, stopping: false }
    }

    /// Goes on from what a guard before this one on the same host, since the same boot, has left. Where its time is over, the
    /// daemon, which may have had a lease all the while, has a moment to say so.
    pub fn take_over(terms: Terms, armed: Option<SinceBoot>, now: SinceBoot) -> Self {
        let earliest = (now + TAKE_OVER_GRACE).saturating_sub(terms.own_strike());
        Watch { terms, until: armed.map(|until| until.max(earliest)), stopping: false }
    }

    /// The end of the last lease; None: it is not armed.
    pub fn armed_until(&self) -> Option<SinceBoot> {
        self.until
    }

    /// Takes what the daemon asks. Nobody has a lease for longer than [`LEASE`] from now, and none gets shorter.
    pub fn take(&mut self, ask: Ask, now: SinceBoot) {
        let lease = |until: SinceBoot| until.min(now + LEASE);
        match ask {
            Ask::Look => {}
            // A lease that is over arms nobody: it would strike without having guarded. Nor is one armed that is to end.
            Ask::Arm { until } if self.until.is_none() && (until <= now || self.stopping) => {}
            Ask::Arm { until } => self.until = self.until.max(Some(lease(until))),
            Ask::Pet { until } => self.until = self.until.map(|known| known.max(lease(until))),
            Ask::Disarm => self.until = None,
        }
    }

    /// The same on other terms: with a watchdog, or without.
    pub fn with(&self, terms: Terms) -> Self {
        Watch { terms, ..self.clone() }
    }

    /// It ends when it is disarmed.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    pub fn deed(&self, now: SinceBoot) -> Deed {
        match self.until {
            None => Deed::Rest,
            Some(until) if now < until + self.terms.own_strike() => Deed::Watch,
            Some(_) => Deed::Strike,
        }
    }

    pub fn answer(&self, now: SinceBoot) -> Answer {
        Answer {
            armed: self.until.is_some(),
            striking: self.deed(now) == Deed::Strike,
            stopping: self.stopping,
            kind: self.terms.kind,
            device: self.terms.device.clone(),
            strike_after: STRIKE_AFTER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> SinceBoot {
        Duration::from_millis(millis)
    }

    fn armed(terms: Terms) -> Watch {
        let mut watch = Watch::new(terms);
        watch.take(Ask::Arm { until: ms(102_500) }, ms(100_000));
        watch
    }

    #[test]
    fn it_strikes_when_the_lease_has_been_over_for_long_and_not_before() {
        let mut watch = armed(Terms::process());
        assert_eq!(watch.deed(ms(100_000)), Deed::Watch);
        assert_eq!(watch.deed(ms(112_499)), Deed::Watch);
        assert_eq!(watch.deed(ms(112_500)), Deed::Strike);
        assert_eq!(watch.deed(ms(999_000)), Deed::Strike, "and goes on");
        watch.take(Ask::Pet { until: ms(1_001_000) }, ms(999_000));
        assert_eq!(watch.deed(ms(999_000)), Deed::Watch, "until there is a lease again");
    }

    #[test]
    fn before_a_watchdog_it_strikes_so_early_that_the_watchdog_comes_in_time() {
        let watch = armed(Terms { kind: Kind::Device, device: "iTCO_wdt".into() });
        // Frozen at the last moment at which it pets, its host is reset just in time.
        let last_pet = ms(108_499);
        assert_eq!((watch.deed(last_pet), watch.deed(ms(108_500))), (Deed::Watch, Deed::Strike));
        assert!(last_pet + WATCHDOG_TIMEOUT <= ms(102_500) + STRIKE_AFTER);
    }

    #[test]
    fn one_that_is_not_armed_never_strikes() {
        let mut watch = Watch::new(Terms::process());
        assert_eq!(watch.deed(ms(999_000)), Deed::Rest);
        watch.take(Ask::Pet { until: ms(1_000_000) }, ms(999_000));
        watch.take(Ask::Look, ms(999_000));
        assert_eq!(watch.deed(ms(2_000_000)), Deed::Rest, "petting arms nobody");
        watch.take(Ask::Arm { until: ms(1_999_999) }, ms(2_000_000));
        assert_eq!(watch.deed(ms(2_100_000)), Deed::Rest, "nor does a lease that is over");
        let mut watch = armed(Terms::process());
        watch.take(Ask::Disarm, ms(101_000));
        assert_eq!(watch.deed(ms(999_000)), Deed::Rest);
    }

    #[test]
    fn no_word_gives_more_than_a_lease_or_takes_one_away() {
        let mut watch = armed(Terms::process());
        watch.take(Ask::Pet { until: ms(500_000) }, ms(101_000));
        assert_eq!(watch.armed_until(), Some(ms(103_500)));
        watch.take(Ask::Arm { until: ms(101_500) }, ms(101_100));
        assert_eq!(watch.armed_until(), Some(ms(103_500)));
    }

    #[test]
    fn the_next_process_goes_on_where_it_was_left() {
        let before = armed(Terms::process());
        let after = |now| Watch::take_over(Terms::process(), before.armed_until(), ms(now));
        let watch = after(105_000);
        assert_eq!((watch.deed(ms(112_499)), watch.deed(ms(112_500))), (Deed::Watch, Deed::Strike));
        // Its time was over while there was no guard: the daemon is given a moment, and no more.
        let watch = after(120_000);
        assert_eq!((watch.deed(ms(122_999)), watch.deed(ms(123_000))), (Deed::Watch, Deed::Strike));
        assert_eq!(Watch::take_over(Terms::process(), None, ms(9)).deed(ms(999_999)), Deed::Rest);
    }
}
