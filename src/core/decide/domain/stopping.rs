//! A stop: in order, engines from the last to the first and then the daemon, or everything at once.

use crate::decide::domain::phase::{AfterStop, Phase};
use crate::decide::domain::state::Domain;
use crate::decide::domain::teardown::{Manner, Target, Teardown, TeardownProgress};
use crate::decide::facts::engine::Engine;
use crate::decide::facts::remembered::Rest;
use crate::decide::facts::rest::stage_of;
use crate::decide::facts::stage::Stage;
use crate::decide::turn::Turn;
use crate::model::{ActionId, Outcome, What};

impl Domain {
    /// Somebody wants the group to end, and `after_stop` to become of it then.
    pub(crate) fn stop(&mut self, manner: Manner, after_stop: AfterStop, turn: &mut Turn<'_>) {
        self.down.after_stop = after_stop;
        match &mut self.phase {
            Phase::Waiting => self.stopped(turn),
            Phase::Stopped => {}
            Phase::Stopping(teardown) if teardown.manner() == Manner::AtOnce || manner == Manner::InOrder => {}
            Phase::Stopping(_) | Phase::Restart(_) | Phase::InRestart | Phase::Running(_)
                if manner == Manner::AtOnce =>
            {
                self.stop_at_once(turn);
            }
            Phase::Stopping(_) | Phase::Restart(_) | Phase::InRestart | Phase::Running(_) => {
                let drains = self.drains_before_a_stop(turn);
                self.fence(turn);
                for (index, stage) in drains {
                    self.scene.engines[index].stage = stage;
                }
                self.phase = Phase::Stopping(Teardown::begin(Manner::InOrder, &self.scene.target(), turn));
            }
        }
    }

    /// Engines whose requests are let end first, all at the same time.
    fn drains_before_a_stop(&self, turn: &mut Turn<'_>) -> Vec<(usize, Stage)> {
        let drains = |index: &usize| self.may_drain(&self.scene.engines[*index]);
        (0..self.scene.engines.len()).filter(drains).map(|index| (index, self.planned_end(index, turn))).collect()
    }

    fn fence(&mut self, turn: &mut Turn<'_>) {
        self.supersede(turn);
        let daemon = self.scene.policy.custody;
        for engine in &mut self.scene.engines {
            if engine.ends_with_a_stop(daemon) {
                engine.owe_its_start();
            }
            if !matches!(engine.stage, Stage::Quarantined | Stage::Stopped) {
                engine.stage = Stage::Fallen;
            }
            engine.died = None;
        }
        self.rolling = None;
        if self.scene.is_apart() {
            // Its group goes on: what it reported is over.
            self.end_faults(&[], turn);
        }
        self.scene.faults.clear();
    }

    pub(crate) fn stop_at_once(&mut self, turn: &mut Turn<'_>) {
        self.fence(turn);
        self.phase = Phase::Stopping(Teardown::begin(Manner::AtOnce, &self.scene.target(), turn));
    }

    /// Goes on once requests in flight and earlier actions have ended.
    pub(crate) fn advance_stopping(&mut self, turn: &mut Turn<'_>) {
        let quiet = matches!(&self.phase, Phase::Stopping(teardown) if teardown.waits_for_quiet());
        if quiet && !self.all_drained(turn) {
            return;
        }
        self.with_teardown(turn, |teardown, target, turn| teardown.advance(target, turn));
    }

    /// An action of the stop ended. What failed is reported; the stop goes on, the daemon's KILL comes last.
    pub(crate) fn stopping_finished(&mut self, id: ActionId, outcome: Outcome, turn: &mut Turn<'_>) {
        self.with_teardown(turn, |teardown, target, turn| teardown.finished(id, outcome, target, turn));
    }

    /// Runs `work` on the teardown, if the group is being stopped, and does what follows from its progress.
    fn with_teardown(
        &mut self,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Teardown, &Target<'_>, &mut Turn<'_>) -> TeardownProgress,
    ) {
        let Domain { phase: Phase::Stopping(teardown), scene, .. } = self else { return };
        let progress = work(teardown, &scene.target(), turn);
        let manner = teardown.manner();
        self.down.left_behind |= teardown.left_behind();
        match progress {
            // It goes on without the watchdog.
            TeardownProgress::EnginesEnded if self.scene.policy.custody.is_others() => self.stopped(turn),
            TeardownProgress::EnginesEnded => {
                self.phase = Phase::Stopping(Teardown::of_the_control(manner, &self.scene.target(), turn));
            }
            TeardownProgress::ControlEnded => self.stopped(turn),
            TeardownProgress::Working | TeardownProgress::Killed(_) => {}
            TeardownProgress::Obstructed(_) | TeardownProgress::NothingLives => {}
        }
    }

    fn all_drained(&mut self, turn: &mut Turn<'_>) -> bool {
        for index in 0..self.scene.engines.len() {
            if self.scene.engines[index].drains() {
                self.advance_drain(index, turn);
            }
        }
        !self.scene.engines.iter().any(Engine::drains)
    }

    /// The end: an operator ended the group, so nothing of it is held against its next start. Engines that an operator
    /// stopped or took out for good stay stopped over it.
    fn stopped(&mut self, turn: &mut Turn<'_>) {
        self.phase = if self.down.after_stop == AfterStop::Starts { Phase::Waiting } else { Phase::Stopped };
        self.scene.control = crate::decide::facts::ControlFacts::default();
        self.scene.server = crate::decide::facts::ServerFacts::default();
        self.budget.attempts.clear();
        self.forget_leavers();
        for engine in &mut self.scene.engines {
            engine.failures.clear();
            engine.instance.process.id = None;
            engine.wanted.rest = engine.wanted.rest.filter(|rest| !matches!(rest, Rest::CrashLoop | Rest::Done));
            engine.stage = engine.wanted.rest.map(stage_of).unwrap_or(Stage::Left);
        }
        turn.save();
        if !self.scene.is_apart() {
            turn.emit(What::Stopped);
        }
    }
}
