//! How far apart single runs of a load lie, judged by all of its arrangements together. Pure.
//!
//! Three repeats of one ratio agree by luck now and then, while the runs behind them differ widely. All arrangements of a
//! load together rarely do.

use std::collections::BTreeMap;

/// One figure of each repeat.
pub(super) type ByRepeat = BTreeMap<u32, f64>;

/// What a single run's rate is off by, as a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Noise {
    /// Variance of the logarithm.
    pub variance: f64,
    /// Degrees of freedom behind it.
    pub freedom: usize,
}

/// How finely a ratio can be told at best, whatever its own repeats say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finest {
    /// Noise of the single runs behind it.
    pub noise: Option<Noise>,
    /// What the edges of their windows may move it by, as a share of it.
    pub edges: f64,
}

impl Noise {
    /// What single runs of an arrangement differ by from its mean, over all arrangements. `None`: none has repeats.
    pub(super) fn of_runs(arrangements: &[ByRepeat]) -> Option<Noise> {
        let (mut squares, mut freedom) = (0.0, 0);
        for rates in arrangements.iter().filter(|rates| rates.len() > 1) {
            let logs: Vec<f64> = rates.values().map(|rate| rate.ln()).collect();
            squares += logs.iter().map(|log| (log - mean(&logs)).powi(2)).sum::<f64>();
            freedom += logs.len() - 1;
        }
        let variance = squares / freedom as f64;
        (freedom > 0 && variance.is_finite()).then_some(Noise { variance, freedom })
    }

    /// What is left of the rates of several arrangements that take turns when that of the arrangement and that of the
    /// repeat are taken away: what slows all runs of a repeat is no noise. `None`: too few of them have repeats in
    /// common.
    pub(super) fn of_turns(arrangements: &[ByRepeat]) -> Option<Noise> {
        let repeated: Vec<&ByRepeat> = arrangements.iter().filter(|rates| rates.len() > 1).collect();
        let common = |repeat: &&u32| repeated.iter().all(|rates| rates.contains_key(repeat));
        let repeats: Vec<u32> = repeated.first()?.keys().filter(common).copied().collect();
        let freedom = repeated.len().checked_sub(1)? * repeats.len().checked_sub(1)?;
        let logs = |rates: &&ByRepeat| repeats.iter().filter_map(|repeat| Some(rates.get(repeat)?.ln())).collect();
        let logs: Vec<Vec<f64>> = repeated.iter().map(logs).collect();
        let of_arrangements: Vec<f64> = logs.iter().map(|row| mean(row)).collect();
        let of_repeats: Vec<f64> =
            (0..repeats.len()).map(|at| mean(&logs.iter().map(|row| row[at]).collect::<Vec<_>>())).collect();
        let of_all = mean(&of_repeats);
        let left = logs.iter().zip(&of_arrangements).flat_map(|(row, arrangement)| {
            row.iter().zip(&of_repeats).map(move |(log, repeat)| (log - arrangement - repeat + of_all).powi(2))
        });
        let variance = left.sum::<f64>() / freedom as f64;
        (freedom > 0 && variance.is_finite()).then_some(Noise { variance, freedom })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rates(all: &[f64]) -> ByRepeat {
        all.iter().enumerate().map(|(repeat, rate)| (repeat as u32, *rate)).collect()
    }

    #[test]
    fn what_slows_every_run_of_a_repeat_is_no_noise() {
        let noise = Noise::of_turns(&[rates(&[1000.0, 700.0, 500.0]), rates(&[100.0, 70.0, 50.0])]).unwrap();
        assert!(noise.variance < 1e-20 && noise.freedom == 2, "{noise:?}");
    }

    #[test]
    fn noise_is_that_of_all_arrangements_in_the_repeats_that_they_have_in_common() {
        // Logarithms of mean 0 by arrangement and repeat, by hand: +-0.1, +-0.1, 0 twice.
        let (up, down) = (0.1_f64.exp(), (-0.1_f64).exp());
        let noise = Noise::of_turns(&[rates(&[up, down, 1.0]), rates(&[down, up, 1.0, 7.0]), rates(&[5.0])]).unwrap();
        assert!((noise.variance - 0.04 / 2.0).abs() < 1e-12 && noise.freedom == 2, "{noise:?}");
        let runs = Noise::of_runs(&[rates(&[up, down, 1.0]), rates(&[1.0, 1.0]), rates(&[5.0])]).unwrap();
        assert!((runs.variance - 0.02 / 3.0).abs() < 1e-12 && runs.freedom == 3, "{runs:?}");
        for few in [vec![], vec![rates(&[1.0, 2.0])], vec![rates(&[1.0]), rates(&[2.0])]] {
            assert_eq!(Noise::of_turns(&few), None);
            assert_eq!(Noise::of_runs(&few).is_some(), few.iter().any(|rates| rates.len() > 1));
        }
    }
}
