//! An engine that has lost its GPU processes while its main process lives on.

use std::time::Duration;

use crate::decide::facts::engine::Engine;
use crate::decide::facts::gpu_process::{ENDS, LEAVES};
use crate::decide::facts::reading::{READING_FRESH, Reading};
use crate::model::{Health, Known, Moment};

impl Engine {
    /// Nobody listens on its port any more, by what was seen since `moment`.
    pub(crate) fn refuses_since(&self, moment: Moment) -> bool {
        self.instance.probes.last.since(moment) == Some(&Health::Refused)
            || self.instance.progress.passage.listens_since(moment) == Some(false)
    }

    /// Its GPU process has ended and its port is closed: nothing is left that could end in order.
    pub(crate) fn is_hollow(&self) -> bool {
        self.instance.gpu.processes.gone().is_some_and(|gone| self.refuses_since(gone))
    }

    /// Its main process still answered after its GPU process had ended: so that one did not end because it was asked
    /// to.
    pub(crate) fn outlived_its_gpu_process(&self) -> bool {
        self.outlived_its_gpu_process_by(Duration::ZERO)
    }

    /// Whether it still answered so long after its GPU process had ended: one that is asked to end may answer for a moment
    /// more.
    pub(crate) fn outlived_its_gpu_process_by(&self, time: Duration) -> bool {
        let Some(gone) = self.instance.gpu.processes.gone().into_iter().chain(self.instance.gpu.left).min() else {
            return false;
        };
        self.instance.progress.answers.spoke().is_some_and(|spoke| spoke > gone.after(time))
    }

    /// Why it is dead though its main process lives: all its GPU processes have ended and none has come.
    pub(crate) fn lost_its_gpu_processes(&self, reading: &Known<Reading>, now: Moment) -> Option<(Moment, String)> {
        let gone = self.instance.gpu.processes.gone()?;
        let served = self.stage.has_served() && self.instance.process.ended.is_none();
        let tree = self.instance.tree.all.since(gone)?;
        let main = self.instance.process.id.filter(|main| served && tree.contains(main))?;
        // Another may have come that runs outside MPS: where NVML is fresh, it must have looked since.
        let on_gpu = |reading: &Reading| tree.iter().any(|process| reading.lists(process.pid));
        if reading.fresh(READING_FRESH, now).is_some() && reading.since(gone).is_none_or(on_gpu) {
            return None;
        }
        let unaware = self.instance.probes.last.since(gone.after(NOTICES)) == Some(&Health::Ok);
        let patience = if self.refuses_since(gone) { LEAVES } else { ENDS };
        if !unaware && now.since(gone) < patience {
            return None;
        }
        let pids: Vec<String> = self.instance.gpu.processes.seen.iter().map(ToString::to_string).collect();
        let says = match (unaware, self.refuses_since(gone)) {
            (true, _) => "calls itself healthy",
            (false, true) => "listens no more and does not end",
            (false, false) => "does not end",
        };
        let because =
            format!("its GPU process {} ended and its main process {main} lives on and {says}", pids.join(", "));
        Some((gone, because))
    }
}

/// Time within which a main process notices the end of its GPU process: it ends too, within 150 ms or so, or says 500.
/// One that calls itself healthy after this time has not noticed.
const NOTICES: Duration = Duration::from_millis(200);
