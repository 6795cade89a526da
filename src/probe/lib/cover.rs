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
