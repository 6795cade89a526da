//! Which of the recorded times are kernels of the window, and for which part of it they are all there. Pure
//! arithmetic, in nanoseconds of CLOCK_REALTIME.

use super::wire::{Kernels, LONGEST, Word};

/// A record from outside the recording by more than this is of another window, or of nothing.
const STRAY: u64 = 1_000_000_000;

/// A window and its recording.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// As it was ordered.
    pub number: u64,
    /// The ordered time.
    pub ordered: (u64, u64),
    /// From when to when kernels were recorded.
    pub recorded: (u64, u64),
}

impl Window {
    /// An answer that covers nothing.
    pub fn nothing(number: u64, from: u64) -> Kernels {
        Kernels { window: number, covered: (from, from), ..Kernels::default() }
    }

    /// The kernels that ran in the window, as one frame can hold them. `complete`: CUPTI dropped none.
    pub fn kernels(&self, times: Vec<(u64, u64)>, complete: bool) -> Kernels {
        let all = times.len();
        let mut times: Vec<_> = times.into_iter().filter(|time| self.plausible(*time)).collect();
        times.sort_unstable();
        let dropped = (all - times.len()) as u64;
        let covered = if complete { self.covered(&times) } else { (self.ordered.0, self.ordered.0) };
        times.retain(|(start, end)| *end > covered.0 && *start < covered.1);
        let mut kernels = Kernels { window: self.number, covered, dropped, times };
        while let Some(excess) = excess(&kernels) {
            cut(&mut kernels, excess);
        }
        kernels
    }

    fn plausible(&self, (start, end): (u64, u64)) -> bool {
        let (from, to) = (self.recorded.0.saturating_sub(STRAY), self.recorded.1.saturating_add(STRAY));
        from <= start && start <= end && end <= to
    }

    /// A kernel that was launched before the recording is not there, though it ran into it; nor are those that
    /// waited behind it. So where a client's first kernel begins within the window, nothing is known before it.
    fn covered(&self, times: &[(u64, u64)]) -> (u64, u64) {
        let (from, to) = (self.ordered.0.max(self.recorded.0), self.ordered.1.min(self.recorded.1));
        let first = times.first().map(|(start, _)| *start).filter(|start| *start < to);
        let from = from.max(first.unwrap_or(from));
        if from < to { (from, to) } else { (from, from) }
    }
}

/// How many bytes a frame's body is too long.
fn excess(kernels: &Kernels) -> Option<usize> {
    // Less than 20 bytes each: no need to look.
    let fits = kernels.times.len() < LONGEST / 20 - 10;
    let length = || Word::Kernels(kernels.clone()).frame().len() - 4;
    if fits { None } else { length().checked_sub(LONGEST).filter(|excess| *excess > 0) }
}

/// Leaves the last ones out, and ends what is covered where they begin.
fn cut(kernels: &mut Kernels, excess: usize) {
    let keep = kernels.times.len().saturating_sub(excess / 20 + 100);
    let end = kernels.times.get(keep).map_or(kernels.covered.0, |(start, _)| *start);
    kernels.times.truncate(keep);
    kernels.covered.1 = end.clamp(kernels.covered.0, kernels.covered.1);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { number: 7, ordered: (10_000, 20_000), recorded: (9_000, 22_000) };

    #[test]
    fn a_kernel_belongs_to_the_window_where_any_of_it_ran_there() {
        let times = vec![(19_000, 21_500), (9_500, 10_500), (9_100, 10_000), (20_000, 21_000), (12_000, 12_000)];
        let kernels = WINDOW.kernels(times, true);
        assert_eq!(kernels.covered, (10_000, 20_000));
        assert_eq!(kernels.times, [(9_500, 10_500), (12_000, 12_000), (19_000, 21_500)]);
        assert_eq!((kernels.window, kernels.dropped), (7, 0));
    }

    #[test]
    fn a_window_without_kernels_is_covered_as_one_without_kernels() {
        assert_eq!(WINDOW.kernels(Vec::new(), true).covered, (10_000, 20_000));
        assert_eq!(WINDOW.kernels(vec![(20_500, 21_000)], true).covered, (10_000, 20_000));
    }

    #[test]
    fn nothing_is_known_before_a_first_kernel_that_came_late() {
        assert_eq!(WINDOW.kernels(vec![(12_000, 13_000)], true).covered, (12_000, 20_000));
    }

    #[test]
    fn what_was_not_recorded_is_not_covered() {
        let late = Window { recorded: (11_000, 22_000), ..WINDOW };
        assert_eq!(late.kernels(Vec::new(), true).covered, (11_000, 20_000));
        let too_late = Window { recorded: (21_000, 22_000), ..WINDOW };
        let kernels = too_late.kernels(vec![(21_000, 21_500)], true);
        assert!(kernels.covered.0 == kernels.covered.1 && kernels.times.is_empty());
    }

    #[test]
    fn records_without_times_or_with_those_of_elsewhere_are_counted_and_left_out() {
        let far = 22_000 + STRAY + 1;
        let times = vec![(0, 0), (11_000, 0), (11_000, far), (9_000, 9_500), (13_000, 12_999), (14_000, 15_000)];
        let kernels = Window { recorded: (9_000, 22_000), ..WINDOW }.kernels(times, true);
        // The clock of these tests begins within a second of 0: (0, 0) is a plausible time here.
        assert_eq!((kernels.dropped, kernels.times), (3, vec![(14_000, 15_000)]));
        assert_eq!(kernels.covered, (10_000, 20_000));
    }

    #[test]
    fn where_cupti_dropped_records_nothing_is_covered() {
        let kernels = WINDOW.kernels(vec![(11_000, 12_000)], false);
        assert!(kernels.covered.0 == kernels.covered.1 && kernels.times.is_empty());
    }

    #[test]
    fn more_kernels_than_a_frame_holds_end_what_is_covered_at_the_last_that_fits() {
        let from = 1_790_000_000_000_000_000;
        let ordered = (from, from + 1_000_000_000);
        let window = Window { number: 1, ordered, recorded: (from - 50_000_000, from + 1_010_000_000) };
        let times: Vec<_> = (0..400_000).map(|at| (from + at * 2_500, from + at * 2_500 + 2_400)).collect();
        let kernels = window.kernels(times.clone(), true);
        let count = kernels.times.len();
        assert!(Word::Kernels(kernels.clone()).frame().len() - 4 <= LONGEST);
        assert!(count > 100_000 && kernels.times == times[..count]);
        assert_eq!(kernels.covered, (from, times[count].0));
    }
}
