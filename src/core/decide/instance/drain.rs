//! Lets an engine's requests end before it is taken out because somebody wants it so. Its readiness is off from the
//! first moment; what is in flight has `drain_timeout`. An engine that is faulty, or that shows no requests, is not
//! waited for.

use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::turn::Turn;
use crate::model::{Fault, Moment, What};

impl Engine {
    /// Whether its requests are let end.
    pub(crate) fn drains(&self) -> bool {
        matches!(self.stage, Stage::Ending(Ending::Drain { .. }))
    }

    /// When a drain is over at the latest.
    pub(crate) fn drain_until(&self) -> Option<Moment> {
        if let Stage::Ending(Ending::Drain { until, .. }) = self.stage { Some(until) } else { None }
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
    pub(crate) fn planned_end(&self, place: usize, now: Moment) -> Stage {
        let engine = &self.scene.engines[place];
        Stage::Ending(if self.may_drain(engine) {
            Ending::Drain { since: now, until: now.after(engine.policy.drain_timeout), told: false }
        } else {
            Ending::Look { since: now }
        })
    }

    /// Whether the engine's requests have ended, by a load that was read since the fence, or their time is over.
    pub(crate) fn drained(&mut self, place: usize, turn: &mut Turn<'_>) -> bool {
        let engine = &mut self.scene.engines[place];
        let Stage::Ending(Ending::Drain { since, until, told }) = &mut engine.stage else { return true };
        let left = engine.instance.figures.in_flight_since(*since);
        let none_left = left.is_some_and(|left| left <= 0.0);
        if none_left || engine.instance.process.ended.is_some() || *until <= turn.now {
            if *told || left.is_none() && engine.instance.process.ended.is_none() {
                let what = What::Drained { took: turn.now.since(*since), left };
                turn.emit_of(&engine.policy.name, what);
            }
            engine.instance.note = None;
            return true;
        }
        if let Some(left) = left {
            engine.instance.note = Some(format!("draining: {left} requests in flight"));
            if !std::mem::replace(told, true) {
                let what = What::Draining { requests: left, at_most: until.since(turn.now) };
                turn.emit_of(&engine.policy.name, what);
            }
        }
        false
    }
}
