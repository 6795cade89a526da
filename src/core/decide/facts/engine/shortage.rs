//! Whether an engine is at the end of its memory, and the word on its end that is still to come.

use std::time::Duration;

use crate::decide::facts::engine::Engine;
use crate::decide::facts::reading::Reading;
use crate::model::Moment;

impl Engine {
    /// Whether NVML shows it at the end of the device memory that it may have.
    pub(crate) fn is_out_of_memory(&self, reading: &Reading) -> bool {
        let room = self.device_memory_and_end(reading).filter(|(held, _)| *held > 0);
        room.is_some_and(|(held, end)| end.saturating_sub(held) as f64 <= AT_ITS_LIMIT * end as f64)
    }

    /// It ended, and its cgroup has not been asked yet whether the OOM killer took it: until then.
    pub(crate) fn count_due(&self) -> Option<Moment> {
        let (at, _) = self.instance.process.ended.filter(|_| self.stage.is_up())?;
        let counts = &self.instance.shortage.oom_kills;
        (counts.last().is_some() && counts.since(at).is_none()).then(|| at.after(COUNT_BOUND))
    }

    /// Word that came after its end may be the reason for it.
    pub(crate) fn explain_its_end(&mut self) {
        let Some((_, exit)) = self.instance.process.ended else { return };
        if let Some(died) = self.died.take() {
            let died = self.instance.shortage.explain(died, Some(exit));
            self.instance.note = Some(died.because.clone());
            self.died = Some(died);
        }
    }
}

/// The count of an engine's cgroup comes with the next look at its processes, which its end makes due. No
/// restart waits longer for it.
const COUNT_BOUND: Duration = Duration::from_millis(20);

/// Share of its limit below whose room an engine is at its limit: allocators take memory in large pieces.
const AT_ITS_LIMIT: f64 = 0.05;
