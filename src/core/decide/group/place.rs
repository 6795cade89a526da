//! Where each engine of a group is to be, and one step towards it. An engine is taken out by the engine tier's safe
//! way, one at a time; it changes domains only once it is proven gone.

use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::remembered::Rest;
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::group::Group;
use crate::decide::may::May;
use crate::decide::policy::Quarantine;
use crate::decide::turn::Turn;
use crate::model::EngineName;

/// Where an engine is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// With the others.
    Home,
    /// In the second domain.
    Apart,
    /// At home, and started outside MPS.
    Outside,
    /// Without a process.
    Resting(Rest),
}

/// What an engine does on the side that takes it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// It runs there.
    ToRun,
    /// It waits there until it can go where it is to be.
    InPassing,
}

impl Place {
    fn rest(self) -> Option<Rest> {
        match self {
            Place::Resting(rest) => Some(rest),
            Place::Home | Place::Apart | Place::Outside => None,
        }
    }
}

impl Group {
    /// Where an engine of the group is to be. `second_server`: whether its GPU takes one.
    pub(crate) fn place_for(&self, engine: &EngineName, second_server: May) -> Place {
        let parts = second_server.is_ok();
        let suspected = self.isolation.search().is_some_and(|search| search.apart.contains(engine));
        match self.main.scene.policy.isolation.quarantine {
            Quarantine::Apart if parts && self.isolation.is_guilty(engine) => Place::Apart,
            Quarantine::Outside if parts && self.isolation.is_guilty(engine) => Place::Outside,
            _ if self.isolation.is_guilty(engine) => Place::Resting(Rest::Guilty),
            _ if suspected && parts => Place::Apart,
            _ if suspected => Place::Resting(Rest::Apart),
            Quarantine::Apart | Quarantine::Outside | Quarantine::Stopped => Place::Home,
        }
    }
}

impl Domain {
    /// Leads an engine of this side to its place, as far as that is this side's work; says whether it may go over
    /// now. `take_out`: whether it may be taken out for that.
    pub(crate) fn lead_to_place(&mut self, at: usize, place: Place, take_out: May, turn: &mut Turn<'_>) -> bool {
        self.lead_to_its_rest(at, place, turn);
        let apart = self.scene.is_apart();
        let engine = &mut self.scene.engines[at];
        engine.goes_outside = place == Place::Outside;
        let wrong_side = apart != (place == Place::Apart);
        let wrong_way = engine.goes_outside != engine.instance.outside && engine.alive();
        engine.moves = wrong_side || wrong_way;
        let served = engine.stage.is_up();
        if engine.moves && served && take_out.is_ok() && matches!(self.phase, Phase::Running(_)) {
            self.take_out(at, turn);
        }
        wrong_side && self.is_proven_gone(at)
    }

    fn lead_to_its_rest(&mut self, at: usize, place: Place, turn: &mut Turn<'_>) {
        let ours = |rest: Rest| matches!(rest, Rest::Apart | Rest::Guilty);
        match (self.scene.engines[at].rest, place.rest()) {
            (None, Some(rest)) => self.give_rest(at, rest, turn),
            (Some(known), Some(rest)) if ours(known) && known != rest => self.give_rest(at, rest, turn),
            (Some(known), None) if ours(known) => self.end_rest(at, turn),
            _ => {}
        }
    }

    /// Whether no process of an engine is there, and none can come up.
    fn is_proven_gone(&self, at: usize) -> bool {
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

    /// Whether nobody of this side is on his way out or up: another may be taken out.
    pub(crate) fn is_at_rest(&self) -> bool {
        let still = |engine: &Engine| match engine.stage {
            Stage::Serving | Stage::Failing | Stage::Stopped | Stage::Quarantined | Stage::Left => true,
            Stage::Ending(Ending::Stuck { .. }) => true,
            Stage::Down { .. } => engine.died.is_some() || engine.moves,
            Stage::Launching(_) | Stage::Starting | Stage::Ending(_) | Stage::Fallen => false,
        };
        matches!(self.phase, Phase::Running(_)) && self.scene.engines.iter().all(still)
    }

    /// Takes in an engine of the other side that is proven gone, at its place in the configuration.
    pub(crate) fn take_in(&mut self, mut engine: Engine, stay: Stay, turn: &mut Turn<'_>) {
        engine.instance.process.id = None;
        engine.moves = stay == Stay::InPassing;
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
