//! All chance of a simulation. Each part has dice of its own, so that one that rolls more often than
//! before does not change what befalls the others.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Clones roll the same dice.
#[derive(Clone)]
pub struct Dice(Arc<Mutex<Rolling>>);

struct Rolling {
    random: StdRng,
    rolls: u64,
}

impl Dice {
    /// The same seed and purpose roll the same numbers, always.
    pub fn new(seed: u64, purpose: &str) -> Dice {
        // FNV-1a: tells purposes apart, nothing more.
        let mixed = purpose.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Dice(Arc::new(Mutex::new(Rolling { random: StdRng::seed_from_u64(mixed), rolls: 0 })))
    }

    /// 0 to `sides` - 1.
    pub fn roll(&self, sides: u64) -> u64 {
        self.0.lock().next().random_range(0..sides.max(1))
    }

    pub fn per_mille(&self, chance: u64) -> bool {
        self.roll(1000) < chance
    }

    /// One of them; None of none.
    pub fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.roll(of.len() as u64) as usize)
    }

    /// About half of them.
    pub fn some<T: Copy>(&self, of: &[T]) -> Vec<T> {
        of.iter().copied().filter(|_| self.per_mille(500)).collect()
    }

    /// Milliseconds from `least` to `most`, both included.
    pub fn millis(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.0.lock().next().random_range(least..=most))
    }

    pub fn bits(&self) -> u64 {
        self.0.lock().next().random()
    }

    /// How often they were rolled.
    pub fn rolls(&self) -> u64 {
        self.0.lock().rolls
    }
}

impl Rolling {
    fn next(&mut self) -> &mut StdRng {
        self.rolls += 1;
        &mut self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_keep_apart_and_seeds_repeat() {
        let rolls = |seed, purpose| {
            let dice = Dice::new(seed, purpose);
            (0..8).map(|_| dice.bits()).collect::<Vec<_>>()
        };
        assert_eq!(rolls(1, "network"), rolls(1, "network"));
        assert_ne!(rolls(1, "network"), rolls(1, "faults"));
        assert_ne!(rolls(1, "network"), rolls(2, "network"));
    }
}
