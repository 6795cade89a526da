//! One engine's kernels, and how fast it is alone and beside its siblings.

use std::time::Duration;

use crate::decide::facts::overlap::learnt::Learnt;
use crate::decide::facts::overlap::pace::Pace;
use crate::model::{Known, Moment, ProbeState};

/// One engine's, over all its incarnations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sharing {
    pub learnt: Learnt,
    pub kernel_busy: Duration,
}

/// One incarnation's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    pub pace: Pace,
    pub probe: Known<(ProbeState, Option<String>)>,
    pub slowdown: Known<f64>,
}

impl Sharing {
    /// The state with what is remembered of it.
    pub(crate) fn of(learnt: Learnt) -> Self {
        Sharing { learnt, ..Sharing::default() }
    }

    /// Baselines that must survive.
    pub(crate) fn learnt(&self) -> Learnt {
        self.learnt.clone()
    }

    /// A new incarnation begins, launched like that.
    pub(crate) fn launched(&mut self, start: crate::decide::facts::overlap::learnt::Start) {
        self.learnt.started(start);
    }

    /// Adds a window in which it had a kernel on the GPU for so long.
    pub(crate) fn saw(&mut self, busy: Duration) {
        self.kernel_busy = self.kernel_busy.saturating_add(busy);
    }
}

impl Beside {
    /// A load was read.
    pub(crate) fn read(&mut self, load: &crate::model::EngineLoad, now: Moment) {
        self.pace.saw(load, now);
    }

    /// Its kernel probe changed its state.
    pub(crate) fn probed(&mut self, state: ProbeState, why: Option<String>, now: Moment) {
        self.probe.saw((state, why), now);
    }
}
