//! Where each engine of a group is to be, and one step towards it. An engine is taken out by the engine tier's safe
//! way, one at a time; it changes domains only once it is proven gone.

use crate::decide::domain::phase::{AfterStop, Phase};
use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::engine::goal::{Goal, Seat};
use crate::decide::facts::remembered::Rest;
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::goal::Next;
use crate::decide::group::Group;
use crate::decide::may::May;
use crate::decide::policy::{MpsUse, Quarantine};
use crate::decide::turn::Turn;
use crate::model::{EngineName, Slot};

impl Group {
    /// What isolation wants an engine of the group to be. `second_server`: whether its GPU takes one.
    pub(crate) fn isolation_wants(&self, engine: &EngineName, second_server: May) -> Goal {
        let isolated = Goal::Run(Seat { slot: Slot::Isolation, mps: MpsUse::Client });
        let outside = Goal::Run(Seat { slot: Slot::Main, mps: MpsUse::Outside });
        let parts = second_server.is_ok();
        let suspected = self.isolation.search().is_some_and(|search| search.apart.contains(engine));
        match self.main.scene.policy.isolation.quarantine {
            Quarantine::Apart if parts && self.isolation.is_guilty(engine) => isolated,
            Quarantine::Outside if parts && self.isolation.is_guilty(engine) => outside,
            _ if self.isolation.is_guilty(engine) => Goal::Rest(Rest::Guilty),
            _ if suspected && parts => isolated,
            _ if suspected => Goal::Rest(Rest::Apart),
            Quarantine::Apart | Quarantine::Outside | Quarantine::Stopped => Goal::Run(Seat::HOME),
        }
    }
}

impl Domain {
    /// Leads an engine of this domain to what isolation wants it to be, as far as that is this domain's work.
    /// `take_out`: whether it may be taken out for that.
    pub(crate) fn lead_to_place(&mut self, at: usize, wanted: Goal, take_out: May, turn: &mut Turn<'_>) {
        self.lead_to_its_rest(at, wanted, turn);
        self.scene.engines[at].wanted.seat = wanted.seat();
        let engine = &self.scene.engines[at];
        let moves = self.next(engine) == Next::Move && engine.stage.is_up();
        if moves && take_out.and(self.may_end(at)).is_ok() && matches!(self.phase, Phase::Running(_)) {
            self.take_out(at, turn);
        }
    }

    fn lead_to_its_rest(&mut self, at: usize, wanted: Goal, turn: &mut Turn<'_>) {
        let isolations = |rest: Rest| matches!(rest, Rest::Apart | Rest::Guilty);
        let rest = if let Goal::Rest(rest) = wanted { Some(rest) } else { None };
        match (self.scene.engines[at].wanted.rest, rest) {
            (None, Some(rest)) => self.give_rest(at, rest, turn),
            (Some(known), Some(rest)) if isolations(known) && known != rest => self.give_rest(at, rest, turn),
            (Some(known), None) if isolations(known) => self.end_rest(at, turn),
            _ => {}
        }
    }

    /// The domain that an engine of this one belongs to for now; all go home from one that is about to end.
    pub(crate) fn slot_for(&self, at: usize) -> Slot {
        let ends = self.down.after_stop == AfterStop::IsForgotten;
        if ends { Slot::Main } else { self.scene.engines[at].wanted.goal().seat().slot }
    }

    /// Whether no process of an engine is there, and none can come up.
    pub(crate) fn is_proven_gone(&self, at: usize) -> bool {
        let engine = &self.scene.engines[at];
        match &self.phase {
            Phase::Waiting | Phase::Stopped => !self.down.left_behind,
            Phase::Restart(restart) => {
                restart.old_is_gone() || matches!(engine.stage, Stage::Stopped | Stage::Quarantined)
            }
            Phase::Running(_) => matches!(engine.stage, Stage::Down { .. } | Stage::Stopped | Stage::Quarantined),
            Phase::InRestart | Phase::Stopping(_) => false,
        }
    }

    /// Whether no engine of this domain is on its way out or up: another may be taken out.
    pub(crate) fn is_at_rest(&self) -> bool {
        let still = |engine: &Engine| match engine.stage {
            Stage::Serving | Stage::Failing | Stage::Stopped | Stage::Quarantined | Stage::Left => true,
            Stage::Ending(Ending::Stuck { .. }) => true,
            Stage::Down { .. } => engine.died.is_some() || self.next(engine) == Next::Move,
            Stage::Launching(_) | Stage::Starting | Stage::Ending(_) | Stage::Fallen => false,
        };
        matches!(self.phase, Phase::Running(_)) && self.scene.engines.iter().all(still)
    }

    /// Takes in an engine of another domain that is proven gone, at its place in the configuration.
    pub(crate) fn take_in(&mut self, mut engine: Engine, turn: &mut Turn<'_>) {
        engine.instance.process.id = None;
        engine.stage = engine.at_rest().unwrap_or(match (&self.phase, &engine.stage) {
            (Phase::Restart(_) | Phase::InRestart, _) => Stage::Fallen,
            (Phase::Stopped | Phase::Stopping(_), _) => Stage::Left,
            (Phase::Waiting | Phase::Running(_), Stage::Down { due }) => Stage::Down { due: *due },
            (Phase::Waiting | Phase::Running(_), _) => Stage::Down { due: turn.now },
        });
        let order = |name: &EngineName| self.scene.policy.engines.iter().position(|policy| policy.name == *name);
        let rank = order(engine.name()).unwrap_or(usize::MAX);
        let at = self.scene.engines.partition_point(|known| order(known.name()).unwrap_or(usize::MAX) < rank);
        self.scene.engines.insert(at, engine);
        self.stir();
        turn.save();
    }
}
