//! A quantity over the repeats of a run: its median and how far they lie apart. Finite by construction.

use serde::{Deserialize, Serialize};

use super::thresholds::NO_DIFFERENCE;

/// A median, and the least and the most that the runs allow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub middle: f64,
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
    /// Runs behind it; of a ratio: behind the side that has fewer.
    pub runs: usize,
}

/// What a ratio to something else says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Surely over 1.
    More,
    /// Too near to 1, or its runs lie too far apart.
    NoDifference,
    /// Surely under 1.
    Less,
}

impl Spread {
    /// The spread of what was measured; what is no number is left out. `None`: nothing is left.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Spread { middle: below + (above - below) / 2.0, low, high, runs: values.len() }.finite()
    }

    /// How often this goes into `self`: its ends are the most unlike pairs, so it keeps clear of 1 only where the
    /// two don't overlap. `None` where that is no number.
    pub fn over(self, other: Spread) -> Option<Spread> {
        let [middle, low, high] = [self.middle / other.middle, self.low / other.high, self.high / other.low];
        Spread { middle, low, high, runs: self.runs.min(other.runs) }.finite()
    }

    /// The mean of several.
    pub fn mean(all: &[Spread]) -> Option<Spread> {
        let mean = |part: fn(&Spread) -> f64| all.iter().map(part).sum::<f64>() / all.len() as f64;
        let runs = all.iter().map(|one| one.runs).min()?;
        Spread { middle: mean(|one| one.middle), low: mean(|one| one.low), high: mean(|one| one.high), runs }.finite()
    }

    /// What it says as a ratio.
    pub fn verdict(&self) -> Verdict {
        match self {
            _ if self.middle > 1.0 + NO_DIFFERENCE && self.low > 1.0 => Verdict::More,
            _ if self.middle < 1.0 - NO_DIFFERENCE && self.high < 1.0 => Verdict::Less,
            _ => Verdict::NoDifference,
        }
    }

    /// Itself, if all of it is finite.
    pub(super) fn finite(self) -> Option<Spread> {
        [self.middle, self.low, self.high].iter().all(|value| value.is_finite()).then_some(self)
    }
}
