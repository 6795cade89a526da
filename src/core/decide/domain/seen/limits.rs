//! Holds what is read of a domain's engines against their limits.

use crate::decide::detect::Finding;
use crate::decide::facts::GpuFacts;
use crate::decide::facts::reading::Reading;
use crate::decide::facts::scene::Scene;
use crate::model::{EngineName, Moment, MpsEnvironment, ProcessId};

impl Scene {
    /// Holds what NVML shows of each engine against its limit.
    pub(crate) fn note_limits(&mut self, gpu: &GpuFacts, now: Moment) {
        for engine in self.engines.iter_mut().filter(|engine| engine.alive()) {
            // A limit counts on each GPU by itself.
            let over = gpu.each().filter_map(|gpu| engine.over_limit(gpu.reading.last()?)).max();
            engine.instance.limits.read(over, now);
        }
    }

    /// The settings of an engine's processes, and those that show them no more. An observation of an older incarnation
    /// is of no interest.
    pub(crate) fn environment(
        &mut self,
        name: &EngineName,
        processes: Vec<MpsEnvironment>,
        overwritten: Vec<ProcessId>,
        now: Moment,
    ) {
        if let Some(engine) = self.engine_mut(name).filter(|engine| engine.instance.process.id.is_some()) {
            engine.instance.limits.saw_settings(processes, overwritten, now);
        }
    }

    /// Faults that a restart was tried for and that are still there: no other restart is tried for them.
    pub(crate) fn note_unmended(&mut self, found: &[Finding], now: Moment) {
        for finding in found {
            if let Some(engine) = finding.engine.as_ref().and_then(|name| self.engine_mut(name)) {
                engine.tried.still_there(finding.fault, now);
            }
        }
    }

    /// Whether the process is a client, of this server or of another, as far as is known.
    pub(crate) fn uses_the_gpu(&self, process: ProcessId, reading: Option<&Reading>) -> bool {
        let is_client = self.server.clients.last().is_some_and(|clients| clients.contains(&process.pid));
        is_client || reading.is_some_and(|reading| reading.lists(process.pid))
    }
}
