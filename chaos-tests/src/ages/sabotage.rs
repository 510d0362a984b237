//! Rules that are broken on purpose in the ages' leaders and agents, to see that the checks notice.

use crate::witness::Rule;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// A new leader goes by what it heard when it led before: it gives nobody the full grace.
    NotArmed,
    /// A heartbeat is acknowledged while its node is being fenced.
    LeaseWhileFenced,
    /// Guests are started elsewhere as soon as a fence is begun.
    NoProof,
    /// The leader's grace is shorter than the nodes' leases.
    ShortGrace,
    /// Whoever believes to lead acknowledges heartbeats, with a quorum or without.
    NoQuorumAsked,
}

impl Sabotage {
    pub const ALL: [Sabotage; 5] = [
        Sabotage::NotArmed,
        Sabotage::LeaseWhileFenced,
        Sabotage::NoProof,
        Sabotage::ShortGrace,
        Sabotage::NoQuorumAsked,
    ];

    /// One of these rules is seen to be broken.
    pub fn breaks(self) -> &'static [Rule] {
        match self {
            Sabotage::NotArmed => &[Rule::GraceOutlastsLease, Rule::NoFalseFence],
            Sabotage::LeaseWhileFenced => &[Rule::NoFalseFence],
            Sabotage::NoProof => &[Rule::OneWriter],
            Sabotage::ShortGrace => &[Rule::GraceOutlastsLease],
            Sabotage::NoQuorumAsked => &[Rule::GraceOutlastsLease, Rule::NoFalseFence],
        }
    }
}
