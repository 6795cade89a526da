//! A quantity over the repeats of a run: its median and how far they lie apart. Finite by construction.

use serde::{Deserialize, Serialize};

use super::noise::Finest;
use super::thresholds::{NEAR, NO_DIFFERENCE};

/// Student's t for an interval of 95 %, by degrees of freedom from 1 on.
const STUDENT_T: [f64; 20] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086,
];

fn student_t(freedom: usize) -> f64 {
    STUDENT_T[freedom.clamp(1, STUDENT_T.len()) - 1]
}

/// A median and the least and the most of the runs; of a ratio its mean and the interval around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median, or the mean of a ratio.
    pub middle: f64,
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
    /// Runs behind it; of a ratio: pairs.
    pub runs: usize,
}

/// What a ratio to something else says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Surely over 1.
    More,
    /// Surely near to 1.
    NoDifference,
    /// The runs differ too much for a word.
    NotClear,
    /// Surely under 1.
    Less,
}

impl Spread {
    /// The mean of a ratio over repeats, and the interval that holds the true one in 95 of 100 studies: ratios vary by
    /// factors, so it is that of their logarithms by Student's t. It is no narrower than `finest` has it, where each
    /// ratio is made of so many single runs' worth of noise. `None`: one repeat says nothing of the others.
    pub(super) fn of_ratios(values: impl IntoIterator<Item = f64>, finest: Finest, worth: f64) -> Option<Spread> {
        let logs: Vec<f64> = values.into_iter().filter(|value| *value > 0.0).map(f64::ln).collect();
        let freedom = logs.len().checked_sub(1).filter(|freedom| *freedom > 0)?;
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / freedom as f64;
        let reach = |variance: f64, freedom: usize| student_t(freedom) * (variance / logs.len() as f64).sqrt();
        let least = finest.noise.map_or(0.0, |noise| reach(noise.variance * worth, noise.freedom));
        let reach = reach(variance, freedom).max(least).max(finest.edges);
        let [middle, low, high] = [mean, mean - reach, mean + reach].map(f64::exp);
        Spread { middle, low, high, runs: logs.len() }.finite()
    }

    /// The spread of what was measured; what is no number is left out. `None`: nothing is left.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Spread { middle: below + (above - below) / 2.0, low, high, runs: values.len() }.finite()
    }

    /// What it says as a ratio.
    pub fn verdict(&self) -> Verdict {
        match self {
            _ if self.middle > 1.0 + NO_DIFFERENCE && self.low > 1.0 => Verdict::More,
            _ if self.middle < 1.0 - NO_DIFFERENCE && self.high < 1.0 => Verdict::Less,
            _ if self.low > 1.0 - NEAR && self.high < 1.0 + NEAR => Verdict::NoDifference,
            _ => Verdict::NotClear,
        }
    }

    /// Itself, if all of it is finite.
    pub(super) fn finite(self) -> Option<Spread> {
        [self.middle, self.low, self.high].iter().all(|value| value.is_finite()).then_some(self)
    }
}
