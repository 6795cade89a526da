//! Whether a GPU's SMs are all taken, and since when, by the activity that NVML's readings show. What follows from it
//! is decided elsewhere.

use super::reading::READING_FRESH;
use crate::model::{Known, Moment};

/// Share over which the GPU is taken: share of time in which an SM had a warp, over all SMs.
const TAKEN: f64 = 0.9;

/// The SMs of one GPU.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    /// Time since which each reading that showed their activity showed them taken.
    pub since: Option<Moment>,
    /// The share of them that was active when a reading last showed them taken.
    pub share: Known<f64>,
}

impl Taken {
    /// Several GPUs as one: they are taken while each of them is.
    pub(crate) fn of_all<'a>(all: impl Iterator<Item = &'a Taken>) -> Taken {
        let all: Vec<&Taken> = all.collect();
        let since =
            all.iter().map(|taken| taken.since).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        let share = all.iter().map(|taken| taken.share.at()).collect::<Option<Vec<_>>>();
        let oldest = all.iter().min_by_key(|taken| taken.share.at()).filter(|_| share.is_some());
        Taken { since, share: oldest.map(|taken| taken.share.clone()).unwrap_or_default() }
    }

    /// A reading: one without activity says nothing, and a time without any is no proof that they were taken all along.
    pub(crate) fn saw(&mut self, sm_active: Option<f64>, now: Moment) {
        match sm_active {
            None => {}
            Some(active) if active >= TAKEN => {
                let all_along = self.since.filter(|_| self.share.fresh(READING_FRESH, now).is_some());
                self.since = Some(all_along.unwrap_or(now));
                self.share.saw(active, now);
            }
            Some(_) => self.since = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(second))
    }

    /// Time since which they are taken, after readings a second apart.
    fn since(readings: &[Option<f64>]) -> Option<Moment> {
        let mut taken = Taken::default();
        (0..).zip(readings).for_each(|(second, active)| taken.saw(*active, at(second)));
        taken.since
    }

    #[test]
    fn a_reading_without_activity_neither_frees_a_taken_gpu_nor_proves_it_taken() {
        assert_eq!(since(&[Some(0.5), Some(0.98), None, Some(0.97)]), Some(at(1)));
        assert_eq!(since(&[Some(0.98), None, Some(0.5)]), None);
        assert_eq!(since(&[None]), None);
    }

    #[test]
    fn a_time_without_activity_is_unknown_and_the_clock_starts_anew() {
        assert_eq!(since(&[Some(0.98), None, None, None, Some(0.98)]), Some(at(4)));
    }
}
