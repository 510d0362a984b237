//! Who shall vote: when a dead voter's place is given to a standby. Pure; the leader's controller brings what
//! it has heard, and carries the answer out.
//!
//! A voter is dead when both its Raft and its agent were silent for the whole time that people have set. It is
//! no use to replace one where the rest is no quorum (Raft could not even decide it), and wrong where many
//! are silent at once: that is our network, and they are alive on its other side.

use std::time::Duration;

use crate::name::Name;

/// Who was silent for longer counts among the silent when it is asked whether it is our network.
pub const SILENT: Duration = Duration::from_secs(3);

/// A coordinator, as the leader knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub node: Name,
    pub votes: bool,
    /// May take a dead voter's place: people have made it a standby.
    pub standby: bool,
    /// For how long neither its Raft nor its agent was heard: the shorter silence of the two. The leader's
    /// own is zero.
    pub silent_for: Duration,
    /// It has everything, or nearly: it could vote at once.
    pub caught_up: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody is dead, or nobody is to be replaced.
    Keep,
    Replace {
        dead: Name,
        by: Name,
    },
    /// One should be replaced, and is not, for this reason.
    Held(String),
}

/// Whether a voter is to be replaced, and by whom. `after`: None where people have switched it off.
/// `silent_nodes` of `all_nodes` are silent, whether they vote or not.
pub fn replacement(
    seats: &[Seat],
    after: Option<Duration>,
    silent_nodes: usize,
    all_nodes: usize,
) -> Verdict {
    let Some(after) = after else { return Verdict::Keep };
    let dead = seats.iter().filter(|seat| seat.votes && seat.silent_for >= after);
    let Some(dead) = dead.max_by_key(|seat| (seat.silent_for, std::cmp::Reverse(&seat.node))) else {
        return Verdict::Keep;
    };
    let held = |why: String| Verdict::Held(format!("voter {} is silent, and is kept: {why}", dead.node));
    let voters = seats.iter().filter(|seat| seat.votes).count();
    let heard = seats.iter().filter(|seat| seat.votes && seat.silent_for < SILENT).count();
    if heard * 2 <= voters {
        return held(format!("only {heard} of {voters} voters are heard, which is no quorum"));
    }
    if silent_nodes >= 2 && silent_nodes * 3 >= all_nodes {
        let many =
            format!("{silent_nodes} of {all_nodes} nodes are silent, which looks like our own network");
        return held(many);
    }
    let standbys = seats.iter().filter(|seat| !seat.votes && seat.standby);
    let ready = standbys.filter(|seat| seat.silent_for < SILENT && seat.caught_up);
    match ready.min_by_key(|seat| (seat.silent_for, &seat.node)) {
        Some(standby) => Verdict::Replace { dead: dead.node.clone(), by: standby.node.clone() },
        None => held("there is no standby that could vote".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "hv1" votes and is heard; "hv2:20" votes and is silent for 20 s; "(hv4)" is a standby; "(hv4:9)" a silent
    /// one; "(hv4~)" one that lags; "[hv5]" neither votes nor is a standby.
    fn seats(text: &str) -> Vec<Seat> {
        let seat = |word: &str| {
            let bare = word.trim_matches(|c| "()[]".contains(c));
            let (bare, caught_up) = bare.strip_suffix('~').map_or((bare, true), |bare| (bare, false));
            let (node, silent) = bare.split_once(':').unwrap_or((bare, "0"));
            Seat {
                node: node.parse().unwrap(),
                votes: word.starts_with('h'),
                standby: word.starts_with('('),
                silent_for: Duration::from_secs(silent.parse().unwrap()),
                caught_up,
            }
        };
        text.split_whitespace().map(seat).collect()
    }

    /// "hv2 > hv4", "keep", or a part of why it is held.
    fn verdict(text: &str, after: Option<u64>, more_silent: usize, more_nodes: usize) -> String {
        let seats = seats(text);
        let silent = seats.iter().filter(|s| s.silent_for >= SILENT).count() + more_silent;
        let after = after.map(Duration::from_secs);
        match replacement(&seats, after, silent, seats.len() + more_nodes) {
            Verdict::Keep => "keep".to_owned(),
            Verdict::Replace { dead, by } => format!("{dead} > {by}"),
            Verdict::Held(why) => why,
        }
    }

    #[test]
    fn a_dead_voter_is_replaced_by_a_standby_that_could_vote() {
        for (seats, expected) in [
            ("hv1 hv2 hv3", "keep"),
            ("hv1 hv2 hv3:14 (hv4)", "keep"),
            ("hv1 hv2 hv3:15 (hv4)", "hv3 > hv4"),
            ("hv1 hv2 hv3:15 (hv5) (hv4)", "hv3 > hv4"),
            ("hv1 hv2 hv3:15 (hv4:4) (hv5)", "hv3 > hv5"),
            ("hv1 hv2 hv3:15 (hv4~) (hv5)", "hv3 > hv5"),
            // A learner that is about to vote by somebody's wish is nobody's standby.
            ("hv1 hv2 hv3:15 [hv4]", "no standby"),
            ("hv1 hv2 hv3:15", "no standby"),
            ("hv1 hv2 hv3:15 (hv4~)", "no standby"),
            // A silent standby is no dead voter.
            ("hv1 hv2 hv3 (hv4:99)", "keep"),
        ] {
            let said = verdict(seats, Some(15), 0, 5);
            assert!(said.contains(expected), "{seats}: {said}, not {expected}");
        }
    }

    #[test]
    fn one_at_a_time_never_below_a_quorum_and_never_for_our_own_network() {
        for (seats, more_silent, more_nodes, expected) in [
            // Two of four voters are no quorum.
            ("hv1 hv2 hv3:20 hv4:20 (hv5)", 0, 6, "no quorum"),
            ("hv1 hv2:20 hv3:20 (hv5)", 0, 6, "no quorum"),
            // A voter that has just fallen silent counts as well.
            ("hv1 hv2:3 hv3:20 (hv5)", 0, 6, "no quorum"),
            // Two of five are a quorum short of nothing, but a third of all nodes.
            ("hv1 hv2 hv3 hv4:20 hv5:20 (hv6)", 0, 0, "our own network"),
            ("hv1 hv2 hv3 hv4:20 hv5:21 (hv6)", 0, 6, "hv5 > hv6"),
            ("hv1 hv2 hv3 hv4:20 hv5:20 (hv6)", 0, 6, "hv4 > hv6"),
            // One voter and hypervisors that are silent with it.
            ("hv1 hv2 hv3:20 (hv4)", 1, 2, "our own network"),
            ("hv1 hv2 hv3:20 (hv4)", 1, 9, "hv3 > hv4"),
            // One alone is no third, however few there are.
            ("hv1 hv2 hv3:20 (hv4)", 0, 0, "hv3 > hv4"),
        ] {
            let said = verdict(seats, Some(15), more_silent, more_nodes);
            assert!(said.contains(expected), "{seats} +{more_silent}/{more_nodes}: {said}, not {expected}");
        }
    }

    #[test]
    fn people_may_switch_it_off_or_wait_longer() {
        assert_eq!(verdict("hv1 hv2 hv3:9999 (hv4)", None, 0, 0), "keep");
        assert_eq!(verdict("hv1 hv2 hv3:60 (hv4)", Some(300), 0, 0), "keep");
        assert_eq!(verdict("hv1 hv2 hv3:300 (hv4)", Some(300), 0, 0), "hv3 > hv4");
    }
}
