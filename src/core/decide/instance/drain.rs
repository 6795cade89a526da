//! Lets an engine's requests end before it is taken out because a person wants it so. Its readiness is off from the
//! first moment; the fence waits for what is in flight, for `drain_timeout` at most. An engine that is faulty, or that
//! shows no requests, is not waited for.

use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::open_actions::Purpose;
use crate::decide::turn::Turn;
use crate::model::{Action, ActionId, EngineName, Fault, What};

impl Engine {
    /// Whether its requests are let end.
    pub(crate) fn drains(&self) -> bool {
        matches!(self.stage, Stage::Ending(Ending::Drain { .. }))
    }

    /// Reports once how many requests it still has, by a load that was read since the fence.
    pub(crate) fn note_drain(&mut self, turn: &mut Turn<'_>) {
        let Stage::Ending(Ending::Drain { since, emitted, .. }) = &mut self.stage else { return };
        let Some(left) = self.instance.figures.in_flight_since(*since).filter(|left| *left > 0.0) else { return };
        self.instance.note = Some(format!("draining: {left} requests in flight"));
        if !std::mem::replace(emitted, true) {
            let at_most = since.after(self.policy.drain_timeout).since(turn.now);
            turn.emit_of(&self.policy.name, What::Draining { requests: left, at_most });
        }
    }

    /// The fence ended, or there is no request left to wait for.
    fn drained(&mut self, turn: &mut Turn<'_>) {
        let Stage::Ending(Ending::Drain { since, emitted, .. }) = self.stage else { return };
        let left = self.instance.figures.in_flight_since(since);
        if emitted || left.is_none() && self.instance.process.ended.is_none() {
            turn.emit_of(&self.policy.name, What::Drained { took: turn.now.since(since), left });
        }
        self.instance.note = None;
    }
}

impl Domain {
    /// Whether a planned stop lets the engine's requests end first.
    pub(crate) fn may_drain(&self, engine: &Engine) -> bool {
        let faulty = |fault: Fault| self.scene.faults.contains_key(&(Some(engine.name().clone()), fault));
        engine.stage == Stage::Serving
            && engine.instance.process.ended.is_none()
            && !engine.policy.drain_timeout.is_zero()
            && engine.instance.figures.running().is_some()
            && ![Fault::Hang, Fault::EngineDied, Fault::OutsideMps].into_iter().any(faulty)
    }

    /// The first stage of a planned end.
    pub(crate) fn planned_end(&self, index: usize, turn: &mut Turn<'_>) -> Stage {
        let engine = &self.scene.engines[index];
        if !self.may_drain(engine) {
            return Stage::Ending(Ending::Look { since: turn.now });
        }
        let within = engine.policy.drain_timeout;
        let action = Action::Fence { engine: self.scene.member(engine.name()), within };
        let fence = turn.send(Purpose::Fence(engine.name().clone()), action, within);
        Stage::Ending(Ending::Drain { fence, since: turn.now, emitted: false })
    }

    /// The fence ended: its last request did, or their time is over. Nobody waits for that of an engine that went
    /// another way meanwhile.
    pub(crate) fn fence_ended(&mut self, id: ActionId, name: &EngineName, turn: &mut Turn<'_>) {
        let Some(index) = self.index_of(name) else { return };
        if matches!(self.scene.engines[index].stage, Stage::Ending(Ending::Drain { fence, .. }) if fence == id) {
            self.end_drain(index, turn);
        }
    }

    /// Goes on with an engine whose requests have ended, or whose time is over: to its end, or to that of its group.
    pub(crate) fn end_drain(&mut self, index: usize, turn: &mut Turn<'_>) {
        let stops = matches!(self.phase, Phase::Stopping(_));
        let engine = &mut self.scene.engines[index];
        engine.drained(turn);
        engine.stage = if stops { Stage::Fallen } else { Stage::Ending(Ending::Look { since: turn.now }) };
    }

    /// Takes a drain on: a process that ended has no requests.
    pub(crate) fn advance_drain(&mut self, index: usize, turn: &mut Turn<'_>) {
        let engine = &mut self.scene.engines[index];
        if engine.instance.process.ended.is_some() {
            return self.end_drain(index, turn);
        }
        engine.note_drain(turn);
    }
}
