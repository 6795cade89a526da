//! When faults begin and end: the difference between what is found now and what was there before.

use crate::decide::detect::{self, Finding};
use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::ladder::is_of_the_gpu;
use crate::decide::turn::Turn;
use crate::model::{Fault, SuppressedAction, Tier, What};

impl Domain {
    /// Emits faults that began and ended, and gives those that are there.
    pub(crate) fn note_faults(&mut self, turn: &mut Turn<'_>) -> Vec<Finding> {
        if matches!(self.phase, Phase::Stopping(_) | Phase::Stopped) {
            return Vec::new();
        }
        let mut found = detect::findings(&self.scene, self.waiting_for_active(), turn.gpu, turn.now);
        if matches!(self.phase, Phase::Running(_)) && self.most_urgent(&found, turn).is_none() {
            let hit = |finding: &Finding| {
                let engine = finding.engine.as_ref().and_then(|name| self.scene.engine(name));
                engine.is_some_and(|engine| self.scene.may_be_hit_in_part() && self.scene.was_hit(engine, turn.now))
            };
            let awaits = self.scene.awaits_names(turn.now);
            found.extend(detect::deaths(&self.scene, turn.gpu, turn.now).into_iter().filter(|it| !awaits && !hit(it)));
        }
        for finding in &found {
            let key = (finding.engine.clone(), finding.fault);
            if self.scene.faults.contains_key(&key) {
                continue;
            }
            self.scene.faults.insert(key, turn.now);
            self.tell_fault(finding, turn);
            self.open_case(finding, turn);
        }
        self.end_faults(&found, turn);
        found
    }

    fn tell_fault(&self, finding: &Finding, turn: &mut Turn<'_>) {
        let what = What::FaultBegan {
            fault: finding.fault,
            evidence_at: finding.evidence_at,
            because: finding.because.clone(),
        };
        match &finding.engine {
            Some(engine) => turn.emit_of(engine, what),
            None => turn.emit(what),
        }
        self.tell_suppressed(finding, turn);
    }

    /// Emits what would be done about a fault, where it is not done.
    pub(crate) fn tell_suppressed(&self, finding: &Finding, turn: &mut Turn<'_>) {
        // Of an engine that died the engine tier emits it, where no fault of the whole group explains it.
        let engine = finding.engine.as_ref().and_then(|name| self.scene.engine(name));
        let death = |engine: &Engine| engine.death(&self.scene.server, &turn.gpu.reading, turn.now);
        let died = engine.and_then(|engine| death(engine).or_else(|| engine.died.clone()));
        let told_there = died.is_some_and(|died| died.fault == finding.fault);
        let tier = self.tier_now(finding, turn).filter(|_| !told_there);
        let may = |tier| self.scene.may_restart(tier, finding.engine.as_ref(), finding.fault, turn.hold);
        if let Some((tier, Err(reason))) = tier.map(|tier| (tier, may(tier))) {
            let action = match tier {
                Tier::Daemon if is_of_the_gpu(finding.fault) => SuppressedAction::StopGroup,
                Tier::Engine => SuppressedAction::RestartEngine,
                Tier::Clients => SuppressedAction::RestartClients,
                Tier::Daemon => SuppressedAction::RestartDaemon,
            };
            let what = What::Suppressed { action, reason, detail: finding.because.clone() };
            match &finding.engine {
                Some(engine) => turn.emit_of(engine, what),
                None => turn.emit(what),
            }
        }
    }

    pub(crate) fn end_faults(&mut self, found: &[Finding], turn: &mut Turn<'_>) {
        let there =
            |key: &(Option<_>, _)| found.iter().any(|finding| finding.engine == key.0 && finding.fault == key.1);
        let over: Vec<_> = self.scene.faults.keys().filter(|key| !there(key)).cloned().collect();
        for key in over {
            let since = self.scene.faults.remove(&key).unwrap_or(turn.now);
            if key == (None, Fault::GpuFault) && matches!(self.phase, Phase::Running(_)) {
                // It healed by itself: what was to be learnt of it was learnt.
                self.close_case(turn);
            }
            let what = What::FaultEnded { fault: key.1, lasted: turn.now.since(since) };
            match &key.0 {
                Some(engine) => turn.emit_of(engine, what),
                None => turn.emit(what),
            }
        }
    }

    /// The finding that asks for the most, of those that may be acted on now; `None`: nothing for the whole group.
    pub(crate) fn most_urgent<'a>(&self, found: &'a [Finding], turn: &Turn<'_>) -> Option<(&'a Finding, Tier)> {
        found
            .iter()
            .filter_map(|finding| self.tier_now(finding, turn).map(|tier| (finding, tier)))
            .filter(|(finding, tier)| *tier > Tier::Engine && self.may_end_for(finding.fault, turn.now).is_ok())
            .filter(|(finding, tier)| self.scene.may_restart(*tier, None, finding.fault, turn.hold).is_ok())
            .max_by_key(|(_, tier)| *tier)
    }

    /// How far a finding makes the watchdog go now; `None`: nothing is restarted for it.
    pub(crate) fn tier_now(&self, finding: &Finding, turn: &Turn<'_>) -> Option<Tier> {
        finding.tier().filter(|_| self.may_mend(finding, turn.gpu, turn.now).is_ok())
    }
}
