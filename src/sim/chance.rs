//! Randomness from a seed, so that a story can be told again (splitmix64). Decides nothing.

use std::time::Duration;

/// A stream of random values.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream that belongs to a seed.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// Any value.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `count - 1`; 0 where there is nothing to choose from.
    pub fn below(&mut self, count: usize) -> usize {
        (self.draw() % count.max(1) as u64) as usize
    }

    /// A number from 0 to 1, without the 1.
    pub fn share(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something comes about that does so in this share of all cases.
    pub fn of(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// A time between two numbers of milliseconds, to the microsecond.
    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        let span = (most - least) * 1000 + 1;
        Duration::from_micros(least * 1000 + self.draw() % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_tells_the_same_story_again() {
        let tell = || {
            let mut chance = Chance::new(7);
            (0..4).map(|_| chance.draw()).collect::<Vec<_>>()
        };
        assert_eq!(tell(), tell());
    }

    #[test]
    fn a_share_is_met_in_the_long_run() {
        let mut chance = Chance::new(3);
        let met = (0..10_000).filter(|_| chance.of(0.2)).count();
        assert!((1800..2200).contains(&met), "{met}");
    }

    #[test]
    fn times_stay_within_their_bounds() {
        let mut chance = Chance::new(1);
        for _ in 0..1000 {
            let time = chance.millis(86, 127);
            assert!(time >= Duration::from_millis(86) && time <= Duration::from_millis(127));
        }
    }
}
