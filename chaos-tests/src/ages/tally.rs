//! What was lived through, counted by name: printed by each life, and added up over all of them.

use std::collections::BTreeMap;
use std::fmt;

/// Figures of which the largest counts, not the sum.
const LARGEST: &str = "longest";
const SET_IN: &str = "  ";

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally(BTreeMap<String, f64>);

impl Tally {
    pub fn count(&mut self, what: &str) {
        self.note(what, 1.0);
    }

    pub fn note(&mut self, what: &str, figure: f64) {
        let known = self.0.entry(what.to_owned()).or_default();
        *known = if what.contains(LARGEST) { known.max(figure) } else { *known + figure };
    }

    pub fn of(&self, what: &str) -> f64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// What was counted, without what was measured in time.
    pub fn counts(&self) -> BTreeMap<&str, f64> {
        let timed = |what: &str| what.contains("hours") || what.contains("seconds") || what.contains(LARGEST);
        self.0
            .iter()
            .filter(|(what, _)| !timed(what))
            .map(|(what, figure)| (what.as_str(), *figure))
            .collect()
    }

    /// Takes in what another life has printed among other things.
    pub fn read(&mut self, printed: &str) {
        for line in printed.lines().filter_map(|line| line.strip_prefix(SET_IN)) {
            if let Some((what, figure)) = line.trim().rsplit_once(' ')
                && let Ok(figure) = figure.parse()
            {
                self.note(what.trim(), figure);
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, figure) in &self.0 {
            let decimals = if figure.fract() == 0.0 { 0 } else { 2 };
            writeln!(f, "{SET_IN}{what:<60}{figure:>14.decimals$}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        let mut one = Tally::default();
        one.count("deaths");
        one.note("longest recovery, s", 4.25);
        let mut all = Tally::default();
        all.read(&format!("a life\n{one}"));
        all.read(&one.to_string());
        assert_eq!((all.of("deaths"), all.of("longest recovery, s")), (2.0, 4.25));
    }
}
