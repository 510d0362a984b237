//! What a decision knows besides the world: who asks, when, and a source of fresh identities.

use crate::name::Uid;
use crate::time::Timestamp;

/// Given to every decision. Made by the coordinator's decision lane; a test makes its own.
#[derive(Clone, Debug)]
pub struct Context {
    /// The leader's wall clock.
    pub now: Timestamp,
    /// Who asks: "admin/root", "node/hv1", "token/ci", "pvc" for the cluster itself.
    pub actor: String,
    seed: [u64; 2],
    drawn: u64,
}

impl Context {
    /// `seed` must be random in life; the same seed draws the same identities.
    pub fn new(now: Timestamp, actor: impl Into<String>, seed: [u64; 2]) -> Self {
        Context { now, actor: actor.into(), seed, drawn: 0 }
    }

    /// 64 bits that follow from the seed and the number of draws so far.
    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        // splitmix64 (Steele, Lea, Flood 2014) over both halves of the seed: spreads, hides nothing.
        let mut z = self.seed[0]
            ^ self.seed[1].rotate_left(32).wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn draw_uid(&mut self) -> Uid {
        let high = u128::from(self.draw() ^ self.seed[0]);
        let low = u128::from(self.draw() ^ self.seed[1]);
        Uid::from_random(high << 64 | low)
    }
}
