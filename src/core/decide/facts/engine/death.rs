//! How an engine that is to run dies, by facts alone: its main process ended, it could not be started or is not ready
//! in its time, or its GPU processes are gone and it can't serve. What is done about it is decided elsewhere.

use crate::decide::facts::ServerFacts;
use crate::decide::facts::attached::Attachment;
use crate::decide::facts::died::Died;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::reading::Reading;
use crate::decide::facts::stage::Stage;
use crate::decide::policy::CleanEnd;
use crate::model::{Exit, Fault, Known, Moment};

impl Engine {
    /// The death of an incarnation that nothing was done about yet; `None`: it lives, or is not meant to.
    pub(crate) fn death(&self, server: &ServerFacts, reading: &Known<Reading>, now: Moment) -> Option<Died> {
        if self.is_to_rest() || self.has_done_its_work() || self.count_due().is_some_and(|due| now < due) {
            return None;
        }
        let died = match self.stage {
            Stage::Launching(_) => self.was_not_started(),
            Stage::Starting => self
                .ended_as(|exit| format!("it ended with {exit} before it served{}", self.instance.hint()))
                .or_else(|| self.is_overdue(server, reading, now)),
            Stage::Serving | Stage::Failing => self
                .ended_as(|exit| format!("its main process ended with {exit}"))
                .or_else(|| self.is_without_its_gpu_processes(reading, now)),
            Stage::Down { .. } | Stage::Ending(_) | Stage::Fallen => None,
            Stage::Quarantined | Stage::Stopped | Stage::Left => None,
        }?;
        Some(self.explained(died))
    }

    /// It served and ended in order by itself, and its policy takes that for the end of its work. What the server's
    /// fatal error ended is its whole group's.
    pub(crate) fn has_done_its_work(&self) -> bool {
        let ended = self.instance.process.ended.is_some_and(|(_, exit)| exit == Exit::Status(0));
        self.policy.on_clean_end == CleanEnd::Stop
            && matches!(self.stage, Stage::Serving | Stage::Failing)
            && ended
            && !self.outlived_its_gpu_process()
            && !self.is_to_rest()
    }

    /// The same death under the name of what ended it, where that is known.
    pub(crate) fn explained(&self, died: Died) -> Died {
        let exit = self.instance.process.ended.map(|(_, exit)| exit);
        self.explain_eviction(self.instance.shortage.explain(died, exit))
    }

    fn was_not_started(&self) -> Option<Died> {
        let (at, because) = self.instance.process.not_started.clone()?;
        Some(Died { at, fault: Fault::EngineDied, because })
    }

    fn ended_as(&self, because: impl Fn(Exit) -> String) -> Option<Died> {
        let (at, exit) = self.instance.process.ended?;
        Some(Died { at, fault: Fault::EngineDied, because: because(exit) })
    }

    fn is_overdue(&self, server: &ServerFacts, reading: &Known<Reading>, now: Moment) -> Option<Died> {
        let bound = self.policy.start_timeout;
        if !self.policy.is_asked() {
            return None;
        }
        if now.since(self.instance.process.started) < bound {
            return None;
        }
        let why = self.is_not_ready_for(server, reading, now)?;
        let because = format!("it did not get ready within {} s: {why}", bound.as_secs());
        Some(Died { at: now, fault: Fault::EngineDied, because })
    }

    fn is_without_its_gpu_processes(&self, reading: &Known<Reading>, now: Moment) -> Option<Died> {
        // Of one that can't be asked it is not known what it does without them.
        let lost = self.lost_its_gpu_processes(reading, now).filter(|_| self.policy.is_asked());
        let (at, because) = lost.filter(|_| self.died.is_none())?;
        Some(Died { at, fault: Fault::EngineDied, because })
    }

    /// Why an engine that starts is not ready, for people; `None`: it is.
    pub(crate) fn is_not_ready_for(
        &self,
        server: &ServerFacts,
        reading: &Known<Reading>,
        now: Moment,
    ) -> Option<&'static str> {
        match self.placed_since_healthy(server, reading, now) {
            Some(true) => None,
            Some(false) => Some(self.detached_note()),
            None if self.instance.probes.good_since.is_some() => {
                Some("it is healthy; whether it is attached is not known yet")
            }
            None => Some("its health endpoint does not answer 200 yet"),
        }
    }

    /// Where an engine that is not attached computes, for people.
    pub(crate) fn detached_note(&self) -> &'static str {
        match self.instance.gpu.watched.as_ref().map(|watched| &watched.attachment) {
            Some(Attachment::Outside(_)) => "it runs outside MPS: it is no client of this group's server",
            _ => "it is no client of this group's server, and not seen on the GPU",
        }
    }
}
