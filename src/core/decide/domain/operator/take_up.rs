//! Takes up an order that its plan allows. What it leads to is done by the restart, the engine tier and the stop.

use crate::decide::domain::phase::{AfterStop, Phase};
use crate::decide::domain::state::Domain;
use crate::decide::domain::teardown::Manner;
use crate::decide::facts::remembered::Rest;
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::turn::Turn;
use crate::model::{EngineKey, Reason, Request};

impl Domain {
    /// Does what the order's plan says. The caller has made that plan at this same moment, and steps the group
    /// afterwards.
    pub(crate) fn take_up(&mut self, request: &Request, turn: &mut Turn<'_>) {
        match request {
            // The watchdog ends with it: all domains are left as they are.
            Request::Stop => self.stop(Manner::InOrder, AfterStop::Stays, turn),
            Request::StopNow => self.stop(Manner::AtOnce, AfterStop::Stays, turn),
            Request::Restart { tier, .. } => self.begin_restart(*tier, Reason::Operator, turn.now, turn),
            Request::StopGroup(_) | Request::StopGroups => self.keep_down(turn),
            Request::StartGroup(_) | Request::StartGroups => self.start_now(turn),
            Request::StopEngine(key) => self.with_engine(key, |group, index| {
                group.give_rest(index, Rest::Stopped, turn);
            }),
            Request::Quarantine(key) => self.with_engine(key, |group, index| {
                group.give_rest(index, Rest::Quarantined, turn);
            }),
            Request::StartEngine(key) => self.with_engine(key, |group, index| {
                if !group.ask_for(index, turn) && !group.end_backoff_of(index, turn) {
                    group.end_rest(index, turn);
                }
            }),
            Request::Release(key) => self.with_engine(key, |group, index| group.end_rest(index, turn)),
            Request::Evict(key) => self.with_engine(key, |group, index| group.evict(index, turn)),
            // It is the group's.
            Request::Hold { .. } => {}
            Request::Resume { .. } => self.resume(turn),
        }
    }

    fn with_engine(&mut self, key: &EngineKey, work: impl FnOnce(&mut Domain, usize)) {
        if let Some(index) = self.index_of(&key.engine) {
            work(self, index);
        }
    }

    fn keep_down(&mut self, turn: &mut Turn<'_>) {
        if self.scene.is_apart() {
            // Its engines go back to the first side, which is what stays down.
            return self.stop(Manner::InOrder, AfterStop::IsForgotten, turn);
        }
        // Saved before the first signal: a watchdog that dies on the way comes back to a stopped group.
        self.down.kept_down = true;
        turn.save();
        self.stop(Manner::InOrder, AfterStop::Stays, turn);
    }

    /// Ends whatever keeps it from starting that is an operator's or time.
    fn start_now(&mut self, turn: &mut Turn<'_>) {
        match self.phase {
            Phase::Restart(_) | Phase::InRestart => self.end_backoff(turn),
            Phase::Running(_) => {
                for index in 0..self.scene.engines.len() {
                    self.end_backoff_of(index, turn);
                }
            }
            Phase::Waiting | Phase::Stopping(_) | Phase::Stopped => self.start_again(turn),
        }
    }

    /// Lets an engine start that waits for its time; false: it does not.
    fn end_backoff_of(&mut self, index: usize, turn: &Turn<'_>) -> bool {
        let engine = &mut self.scene.engines[index];
        let waits = matches!(self.phase, Phase::Running(_)) && engine.backs_off_until(turn.now).is_some();
        if waits {
            engine.stage = Stage::Down { due: turn.now };
        }
        waits
    }

    /// Has an engine started that others run and that is not there; false: it is none.
    fn ask_for(&mut self, index: usize, turn: &mut Turn<'_>) -> bool {
        let engine = &mut self.scene.engines[index];
        let asks = !engine.is_to_rest() && engine.is_absent() && engine.policy.custody.may_start();
        if asks {
            engine.theirs.owed = true;
            engine.stage = Stage::Down { due: turn.now };
            turn.save();
        }
        asks
    }

    fn start_again(&mut self, turn: &mut Turn<'_>) {
        self.down.kept_down = false;
        self.down.after_stop = AfterStop::Starts;
        turn.save();
        if matches!(self.phase, Phase::Stopped) {
            self.phase = Phase::Waiting;
        }
    }

    /// An engine may run again. One that is not proven gone is taken out first.
    pub(crate) fn end_rest(&mut self, index: usize, turn: &mut Turn<'_>) {
        let running = matches!(self.phase, Phase::Running(_));
        let engine = &mut self.scene.engines[index];
        if engine.wanted.rest.take().is_some_and(|rest| !matches!(rest, Rest::Stopped | Rest::Done)) {
            engine.failures.clear();
        }
        engine.instance.note = None;
        turn.save();
        match engine.stage {
            Stage::Stopped | Stage::Quarantined if running => engine.stage = Stage::Down { due: turn.now },
            Stage::Left if running => engine.stage = Stage::Ending(Ending::Look { since: turn.now }),
            Stage::Down { .. }
            | Stage::Launching(_)
            | Stage::Starting
            | Stage::Serving
            | Stage::Failing
            | Stage::Ending(_)
            | Stage::Fallen
            | Stage::Quarantined
            | Stage::Stopped
            | Stage::Left => {}
        }
        if running {
            // A dead one that was only observed: starting it is no more its failure.
            engine.died = None;
        }
    }
}
