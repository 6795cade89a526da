//! Which of the noted launches are kernels of the window, and for which part of it they are all there. Pure
//! arithmetic, in nanoseconds of CLOCK_REALTIME.

use std::collections::BTreeMap;

use super::wire::{Kernels, LONGEST, Word};

/// Time from the end of a kernel, by its event, to the start of the next one in its stream; and from the return of a
/// launch to the start of its kernel in an idle stream. Fitted on an H200 against the times that kernels took
/// themselves (%globaltimer), the same for 1 to 3 clients, kernels of 20 us to 1 ms, 10 to 90 % busy.
const AFTER_KERNEL: u64 = 3_600;
const AFTER_LAUNCH: u64 = 4_200;
/// Distance of an end from the window beyond which it is none.
const STRAY: u64 = 10_000_000_000;
/// Longest time by which a kernel ends before its launch by the clocks' error; any more is no time.
const ERROR: u64 = 1_000_000;

/// A launch of a kernel or a graph.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    /// When the engine's call had returned.
    pub launched: u64,
    /// Where, to tell streams apart.
    pub stream: usize,
    /// When it had ended; `None`: it still ran, or waited, when it was last looked at.
    pub end: Option<u64>,
}

/// A window and how it was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Number of the window as it was ordered.
    pub number: u64,
    /// The ordered time.
    pub ordered: (u64, u64),
    /// Time in which launches were noted.
    pub seen: (u64, u64),
}

impl Window {
    /// The kernels that ran in the window, as one frame can hold them. `failed`: so many launches have no event;
    /// where any has no time, nothing is covered.
    pub(super) fn kernels(&self, launches: &[Timed], failed: u64) -> Kernels {
        let (good, stray): (Vec<Timed>, Vec<Timed>) = launches.iter().partition(|launch| self.plausible(launch));
        let dropped = failed + stray.len() as u64;
        let (from, to) = (self.ordered.0.max(self.seen.0), self.ordered.1.min(self.seen.1));
        // A kernel is missing, and when it ran is not known.
        let to = if dropped > 0 { from } else { to.max(from) };
        let mut times = self.times(&good);
        times.retain(|(start, end)| *end > from && *start < to);
        times.sort_unstable();
        let mut kernels = Kernels { window: self.number, covered: (from, to), dropped, times };
        while let Some(excess) = excess(&kernels) {
            cut(&mut kernels, excess);
        }
        kernels
    }

    /// Kernels of a stream run one after the other: one begins when the one before it has ended, or when it is
    /// launched. Where earlier work is still queued at the first launch, that counts as running: it is.
    fn times(&self, launches: &[Timed]) -> Vec<(u64, u64)> {
        let ends = |launch: &Timed| launch.end.unwrap_or(self.last(launch.launched));
        let mut ordered = launches.to_vec();
        ordered.sort_by_key(|launch| (launch.stream, ends(launch), launch.launched));
        let mut before = BTreeMap::new();
        let time = |launch: Timed| {
            let end = ends(&launch);
            let after_kernel = before.insert(launch.stream, end).map_or(0, |end: u64| end + AFTER_KERNEL);
            (after_kernel.max(launch.launched + AFTER_LAUNCH).min(end), end)
        };
        ordered.into_iter().map(time).collect()
    }

    /// Time until which a kernel ran that has no end yet.
    fn last(&self, launched: u64) -> u64 {
        self.ordered.1.max(self.seen.1).max(launched)
    }

    fn plausible(&self, launch: &Timed) -> bool {
        let (from, to) = (self.ordered.0.saturating_sub(STRAY), self.ordered.1.saturating_add(STRAY));
        let inside = |time: u64| from <= time && time <= to;
        inside(launch.launched) && launch.end.is_none_or(|end| inside(end) && end + ERROR >= launch.launched)
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

    const NOW: u64 = 1_790_000_000_000_000_000;
    const MICRO: u64 = 1_000;
    const MILLI: u64 = 1_000_000;
    const WINDOW: Window =
        Window { number: 7, ordered: (NOW, NOW + 50 * MILLI), seen: (NOW - 30 * MILLI, NOW + 51 * MILLI) };

    fn at(micros: i64) -> u64 {
        NOW.saturating_add_signed(micros * 1000)
    }

    /// A launch in the first stream; microseconds from the window's beginning.
    fn launch(launched: i64, end: i64) -> Timed {
        Timed { launched: at(launched), stream: 1, end: Some(at(end)) }
    }

    #[test]
    fn a_kernel_begins_soon_after_its_launch_or_after_the_one_before_it_in_its_stream() {
        let other = Timed { stream: 2, ..launch(25, 60) };
        let kernels = WINDOW.kernels(&[launch(10, 40), launch(20, 70), other, launch(500, 520)], 0);
        let idle = |launched| at(launched) + AFTER_LAUNCH;
        let queued = (at(40) + AFTER_KERNEL, at(70));
        assert_eq!(kernels.times, [(idle(10), at(40)), (idle(25), at(60)), queued, (idle(500), at(520))]);
    }

    #[test]
    fn launches_of_several_threads_are_ordered_by_their_ends() {
        let kernels = WINDOW.kernels(&[launch(12, 90), launch(10, 50)], 0);
        assert_eq!(kernels.times, [(at(10) + AFTER_LAUNCH, at(50)), (at(50) + AFTER_KERNEL, at(90))]);
    }

    #[test]
    fn a_kernel_shorter_than_a_launch_takes_has_no_length_and_not_a_negative_one() {
        assert_eq!(WINDOW.kernels(&[launch(10, 12)], 0).times, [(at(12), at(12))]);
    }

    #[test]
    fn a_kernel_belongs_to_the_window_where_any_of_it_ran_there() {
        let launches = [launch(-500, 0), launch(-400, 300), launch(49_000, 60_000), launch(50_001, 60_500)];
        let kernels = WINDOW.kernels(&launches, 0);
        assert_eq!((kernels.window, kernels.covered, kernels.dropped), (7, WINDOW.ordered, 0));
        assert_eq!(kernels.times, [(at(0) + AFTER_KERNEL, at(300)), (at(49_000) + AFTER_LAUNCH, at(60_000))]);
    }

    #[test]
    fn what_was_queued_before_the_window_runs_until_the_first_event_of_its_stream() {
        let kernels = WINDOW.kernels(&[launch(-29_000, 20_000), launch(-28_000, 21_000)], 0);
        let first = (at(-29_000) + AFTER_LAUNCH, at(20_000));
        assert_eq!(kernels.times, [first, (at(20_000) + AFTER_KERNEL, at(21_000))]);
    }

    #[test]
    fn a_kernel_without_an_end_runs_on_over_the_window() {
        let endless = Timed { end: None, ..launch(40_000, 0) };
        assert_eq!(WINDOW.kernels(&[endless], 0).times, [(at(40_000) + AFTER_LAUNCH, NOW + 51 * MILLI)]);
    }

    #[test]
    fn a_window_without_kernels_is_covered_and_so_is_one_whose_first_kernel_came_late() {
        assert_eq!(WINDOW.kernels(&[], 0).covered, WINDOW.ordered);
        assert_eq!(WINDOW.kernels(&[launch(30_000, 31_000)], 0).covered, WINDOW.ordered);
    }

    #[test]
    fn when_launches_were_not_noted_is_not_covered() {
        let late = Window { seen: (NOW + MILLI, NOW + 30 * MILLI), ..WINDOW };
        assert_eq!(late.kernels(&[], 0).covered, late.seen);
        let too_late = Window { seen: (NOW + 60 * MILLI, NOW + 61 * MILLI), ..WINDOW };
        let kernels = too_late.kernels(&[launch(60_000, 60_010)], 0);
        assert!(kernels.covered.0 == kernels.covered.1 && kernels.times.is_empty());
    }

    #[test]
    fn where_a_launch_has_no_time_nothing_is_covered() {
        let backwards = launch(10_000, 8_000);
        let nowhere = Timed { end: Some(5), ..launch(0, 0) };
        let kernels = WINDOW.kernels(&[backwards, nowhere, launch(1, 20)], 3);
        assert_eq!((kernels.dropped, kernels.times.len()), (5, 0));
        assert_eq!(kernels.covered, (NOW, NOW));
    }

    #[test]
    fn more_kernels_than_a_frame_holds_end_what_is_covered_at_the_last_that_fits() {
        let window = Window { ordered: (NOW, NOW + 1000 * MILLI), seen: (NOW - MILLI, NOW + 1001 * MILLI), ..WINDOW };
        let ends = (0..300_000).map(|number| NOW + number * 3 * MICRO);
        let launches: Vec<_> =
            ends.map(|end| Timed { launched: end, stream: end as usize, end: Some(end + 6 * MICRO) }).collect();
        let kernels = window.kernels(&launches, 0);
        let count = kernels.times.len();
        assert!(Word::Kernels(kernels.clone()).frame().len() - 4 <= LONGEST);
        assert!(count > 50_000 && count < launches.len());
        assert_eq!(kernels.covered, (NOW, launches[count].launched + AFTER_LAUNCH));
    }
}
