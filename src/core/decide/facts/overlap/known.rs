//! What is known of how a group's engines share their GPU.

use std::time::Duration;

use crate::decide::facts::figures::LOAD_FRESH;
use crate::decide::facts::overlap::advice::Spells;
use crate::decide::facts::overlap::counts::Counts;
use crate::decide::facts::overlap::solo::{Alone, Solo};
use crate::model::{Known, Moment, OverlapStatus, OverlapWindow};

/// The gain is computed so often at most.
const WEIGHED_EVERY: Duration = Duration::from_secs(1);

/// One group's. All but who is alone here is kept by its first side, for both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlap {
    counts: Counts,
    /// The gain of late, when it was known.
    pub gain: Known<f64>,
    pub weighed: Option<Moment>,
    pub spells: Spells,
    pub solo: Option<Solo>,
    pub saved: Option<Moment>,
}

impl Overlap {
    /// A window of the kernel probe.
    pub(crate) fn saw(&mut self, window: &OverlapWindow, now: Moment) {
        self.counts.saw(window, now);
    }

    /// It is time to weigh again.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        self.weighed.is_none_or(|weighed| now.since(weighed) >= WEIGHED_EVERY)
    }

    /// Who is alone with its work, if it is an engine of this side.
    pub(crate) fn alone(&mut self, alone: Option<&Alone>, now: Moment) {
        let before = self.solo.take();
        self.solo = alone.map(|alone| Solo::goes_on(before, alone, now));
    }

    pub(crate) fn status(&self, engines: usize, now: Moment) -> OverlapStatus {
        OverlapStatus {
            windows: self.counts.windows,
            sampled: self.counts.sampled,
            by_clients: self.counts.by_clients(engines),
            last_window: self.counts.last,
            gain: self.gain.fresh(LOAD_FRESH, now).copied(),
            advice: self.spells.given(),
        }
    }
}
