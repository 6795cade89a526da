//! A changed configuration, in place: what is new is started, what is gone is taken out and forgotten, what is
//! started in another way rolls, and everything else stays as it is.

use std::collections::BTreeSet;

use crate::decide::domain::phase::{AfterStop, Phase};
use crate::decide::domain::state::Domain;
use crate::decide::domain::teardown::Manner;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::engine::goal::Listed;
use crate::decide::facts::remembered::{EngineMemory, Rest};
use crate::decide::facts::stage::Stage;
use crate::decide::policy::{EnginePolicy, GroupPolicy};
use crate::decide::turn::Turn;
use crate::model::{EngineKey, EngineName};

/// How a changed configuration starts an engine that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HowStarted {
    /// The engine is started in the same way: its process may stay.
    AsBefore,
    /// The engine is started in another way: it needs a new process.
    Changed,
}

impl Domain {
    /// Takes up a changed policy. The GPU stays: the caller promises that a group never moves. `elsewhere` are
    /// engines that its other side has.
    pub(crate) fn change(
        &mut self,
        policy: GroupPolicy,
        rolls: &BTreeSet<EngineKey>,
        elsewhere: &[EngineName],
        turn: &mut Turn<'_>,
    ) {
        if self.down.after_stop == AfterStop::IsForgotten {
            // It had left the configuration and is back before it was gone: once it is stopped it starts again.
            self.down.after_stop = if self.down.kept_down { AfterStop::Stays } else { AfterStop::Starts };
        }
        let mut old = std::mem::take(&mut self.scene.engines);
        let mut take = |name: &_| old.iter().position(|engine| engine.name() == name).map(|index| old.remove(index));
        let group = policy.name.clone();
        for engine in policy.engines.iter().filter(|engine| !elsewhere.contains(&engine.name)) {
            let rolls = rolls.contains(&EngineKey::new(&group, &engine.name));
            let start = if rolls { HowStarted::Changed } else { HowStarted::AsBefore };
            let changed = match take(&engine.name) {
                Some(known) => changed(known, engine.clone(), start),
                None => self.newcomer(engine.clone(), turn),
            };
            self.scene.engines.push(changed);
        }
        for mut engine in old {
            engine.wanted.listed = Listed::Removed;
            self.scene.engines.push(engine);
        }
        self.scene.policy = GroupPolicy { gpus: self.scene.policy.gpus.clone(), ..policy };
        self.give_another_chance(rolls, turn);
        if matches!(self.phase, Phase::Waiting | Phase::Stopped) {
            self.forget_leavers();
        }
        turn.save();
    }

    /// The configuration has the group no more: it is stopped in order, then forgotten.
    pub(crate) fn leave(&mut self, turn: &mut Turn<'_>) {
        if self.down.after_stop != AfterStop::IsForgotten {
            self.stop(Manner::InOrder, AfterStop::IsForgotten, turn);
        }
    }

    /// Whether it has left the configuration and nothing of it is left. One that left something behind is kept:
    /// should its name come back, that must be proven gone before anything starts.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.down.after_stop == AfterStop::IsForgotten && matches!(self.phase, Phase::Stopped) && !self.down.left_behind
    }

    /// Forgets engines that have left the configuration, in a group that has no process. Where something was left
    /// behind it may be theirs: the next start ends it first.
    pub(crate) fn forget_leavers(&mut self) {
        let all_gone = !self.down.left_behind;
        self.scene.engines.retain(|engine| !(engine.is_removed() && all_gone));
    }

    /// An engine that failed too often may start again where its configuration changed: that may be the cure.
    fn give_another_chance(&mut self, rolls: &BTreeSet<EngineKey>, turn: &mut Turn<'_>) {
        let group = self.scene.policy.name.clone();
        for index in 0..self.scene.engines.len() {
            let engine = &self.scene.engines[index];
            let changed = rolls.contains(&EngineKey::new(&group, engine.name()));
            if changed && engine.wanted.rest == Some(Rest::CrashLoop) {
                self.end_rest(index, turn);
            }
        }
    }

    /// An engine that was not there before starts as soon as its group lets it.
    fn newcomer(&self, policy: EnginePolicy, turn: &Turn<'_>) -> Engine {
        let mut engine = Engine::new(policy, EngineMemory::default());
        engine.stage = match self.phase {
            Phase::Waiting | Phase::Running(_) => Stage::Down { due: turn.now },
            // The new generation starts it.
            Phase::Restart(_) | Phase::InRestart => Stage::Fallen,
            Phase::Stopping(_) | Phase::Stopped => Stage::Left,
        };
        engine
    }
}

/// An engine that stays. One that was on its way out comes back as the new configuration says.
fn changed(mut engine: Engine, policy: EnginePolicy, start: HowStarted) -> Engine {
    engine.policy = policy;
    engine.instance.outdated |= start == HowStarted::Changed || engine.is_removed();
    engine.wanted.listed = Listed::Yes;
    engine
}
