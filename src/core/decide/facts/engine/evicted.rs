//! An engine whose client the MPS server ended: since when, and which death is of it.

use crate::decide::facts::died::Died;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::evicted::{ENDS_BY_ITSELF, OF_IT, TERMINATED};
use crate::decide::facts::said::{Run, RunState};
use crate::model::{Exit, Fault, Moment};

impl Engine {
    /// When the server ended its client in this incarnation, and that in words.
    pub(crate) fn evicted(&self) -> Option<(Moment, String)> {
        let by_fact = |run: &&Run| run.code == TERMINATED && run.standing == RunState::Confirmed;
        let run = self.instance.output.said.all().find(by_fact)?;
        let because = "the MPS server ended its client (CUDA error 810) and neither mpswarden nor an operator here ordered that: \
                       servers of driver r615 and later do so where device memory runs short"
            .to_owned();
        Some((self.instance.gpu.left.unwrap_or(run.first), because))
    }

    /// Time until which its end is waited for.
    pub(crate) fn eviction_due(&self) -> Option<Moment> {
        self.evicted().map(|(at, _)| at.after(ENDS_BY_ITSELF))
    }

    /// The same death, with its reason where the server had ended its client.
    pub(crate) fn explain_eviction(&self, died: Died) -> Died {
        let evicted = self.evicted().filter(|(at, _)| died.at.since(*at) <= OF_IT);
        match evicted {
            Some((at, because)) if died.fault == Fault::EngineDied => {
                Died { at, fault: Fault::Evicted, because: format!("{because}; {}", died.because) }
            }
            _ => died,
        }
    }

    /// Whether an end as this one is of it: no signal of another's.
    pub(crate) fn ended_by_eviction(&self, exit: Exit) -> bool {
        self.evicted().is_some() && !matches!(exit, Exit::Signal(9))
    }
}
