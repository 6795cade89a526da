//! The two sides of a group on one GPU: the second one comes with the first engine that is to run apart, and goes
//! with the last. Engines change sides here; where each is to be is decided in `isolation`.

use crate::decide::domain::Domain;
use crate::decide::effects::Effects;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::engine::figures::active_level;
use crate::decide::isolation::{Domains, Place, Stay};
use crate::decide::may::{self, May, Others, Pids};
use crate::decide::operator;
use crate::decide::phase::AfterStop;
use crate::decide::phase::Phase;
use crate::decide::remembered::GroupMemory;
use crate::decide::teardown::Manner;
use crate::model::{DomainId, EngineName, Fault, GroupName, Moment, Plan, Request};

use super::Watchdog;

impl Watchdog {
    /// Brings every group's two sides a step nearer to what they are to be. True: something changed, and the groups
    /// it changed are to be stepped again.
    pub(super) fn arrange_sides(&mut self, effects: &mut Effects) -> bool {
        let mut changed = false;
        let mut home = 0;
        while home < self.groups.len() {
            let group = &self.groups[home];
            let concerned = !group.isolation.is_idle() || group.hit.is_some() || self.apart_of(home).is_some();
            if !group.is_apart() && concerned {
                self.weigh_hits(home, effects);
                changed |= self.lead_to_places(home, effects);
                self.let_an_empty_side_go(home, effects);
                self.count_isolated_time(home);
            }
            home += 1;
        }
        changed
    }

    /// Where a group's second side is among the groups, if it has one: right behind the first.
    pub(super) fn apart_of(&self, home: usize) -> Option<usize> {
        let group = &self.groups.get(home)?.id.group;
        let next = self.groups.get(home + 1)?;
        (next.is_apart() && next.id.group == *group).then_some(home + 1)
    }

    /// The sides of a group, the first one first.
    pub(super) fn sides(&self, name: &GroupName) -> impl Iterator<Item = usize> + use<> {
        let home = self.main_of(name);
        let apart = home.and_then(|home| self.apart_of(home));
        home.into_iter().chain(apart)
    }

    /// Both sides at once: what one may want to see depends on the other.
    pub(super) fn want_looks(&mut self, name: &GroupName) {
        let changes = self.sides(name).any(|side| self.groups[side].is_changing());
        let others = if changes { Others::Underway } else { Others::AtRest };
        for side in self.sides(name) {
            let group = &self.groups[side];
            let Some(gpu) = self.gpus.get(&group.policy.gpu) else { continue };
            self.looks.want(&group.id, group.wanted(&gpu.health, others, self.now));
        }
    }

    /// The side that has the engine; the first one, if none has.
    pub(super) fn side_of(&self, name: &GroupName, engine: &EngineName) -> Option<usize> {
        self.sides(name).find(|side| self.groups[*side].engine(engine).is_some()).or_else(|| self.main_of(name))
    }

    /// What an order for one group would come to: for an engine on the side that has it, for all of it on both.
    pub(super) fn plan_sides(&self, name: &GroupName, request: &Request, now: Moment) -> Result<Plan, String> {
        let home = self.main_of(name).ok_or_else(|| operator::no_such_group(name, &self.groups))?;
        if let Some(key) = operator::engine_of(request) {
            let side = self.side_of(name, &key.engine).unwrap_or(home);
            let guilty = matches!(request, Request::Release(_)) && self.groups[home].isolation.is_guilty(&key.engine);
            return match self.groups[side].engine(&key.engine) {
                Some(engine) if guilty => Ok(self.groups[home].plan_absolve(key, engine)),
                _ => self.groups[side].plan(request, now),
            };
        }
        let mut plan = self.groups[home].plan(request, now)?;
        let apart = self.apart_of(home).and_then(|apart| self.groups[apart].plan(request, now).ok());
        plan.steps.extend(apart.into_iter().flat_map(|apart| apart.steps));
        Ok(plan)
    }

    /// Takes up an order for one group that its plan allows.
    pub(super) fn take_up_on_sides(&mut self, name: &GroupName, request: &Request, effects: &mut Effects) {
        let Some(home) = self.main_of(name) else { return };
        let engine = operator::engine_of(request).map(|key| key.engine.clone());
        let side = engine.as_ref().and_then(|engine| self.side_of(name, engine)).unwrap_or(home);
        if let (Some(engine), Request::Release(_)) = (&engine, request) {
            self.at(home, effects, |home, turn| home.absolve(engine, turn));
        }
        let apart = self.apart_of(home).filter(|_| engine.is_none());
        for side in std::iter::once(side).chain(apart) {
            self.groups[side].stir();
            if side == home || engine.is_some() || self.groups[side].plan(request, self.now).is_ok() {
                self.at(side, effects, |side, turn| side.take_up(request, turn));
            }
        }
    }

    fn weigh_hits(&mut self, home: usize, effects: &mut Effects) {
        for side in std::iter::once(home).chain(self.apart_of(home)) {
            let Some(hit) = self.groups[side].hit.take() else { continue };
            let guilty = hit.ran.iter().find(|name| self.groups[home].isolation.is_guilty(name)).cloned();
            match guilty {
                Some(guilty) => self.at(side, effects, |side, turn| side.count_against(&guilty, turn)),
                None => self.at(home, effects, |home, turn| home.weigh(&hit, turn)),
            }
        }
        self.at(home, effects, |home, turn| home.end_an_idle_search(turn));
    }

    /// Goes through all engines of a group: those that are proven gone change sides, the others are led there.
    fn lead_to_places(&mut self, home: usize, effects: &mut Effects) -> bool {
        let second_server = self.may_run_a_second_server(home);
        self.revive_what_was_left(home);
        let mut changed = self.lead_side(home, home, second_server, effects);
        if let Some(apart) = self.apart_of(home) {
            let hold = self.groups[home].hold.clone();
            self.groups[apart].hold = hold;
            changed |= self.lead_side(home, apart, second_server, effects);
        }
        changed
    }

    fn lead_side(&mut self, home: usize, side: usize, second_server: May, effects: &mut Effects) -> bool {
        let mut changed = false;
        let names = self.groups[side].names();
        for name in names {
            let wanted = self.groups[home].place_for(&name, second_server);
            let place = self.place_now(home, side, &name, wanted);
            let may_take_out = self.may_take_out(home);
            let Some(at) = self.groups[side].place_of(&name) else { continue };
            let before = self.groups[side].engines[at].mark();
            let mut goes_over = false;
            self.at(side, effects, |side, turn| {
                goes_over = side.lead_to_place(at, place, may_take_out, turn);
            });
            if self.groups[side].engines[at].mark() != before {
                self.groups[side].stir();
                changed = true;
            }
            let waits = place == Place::Apart && self.would_harm_others_apart(home, &name);
            if goes_over && !waits {
                let stay = if place == wanted { Stay::ToRun } else { Stay::InPassing };
                changed |= self.change_sides(home, &name, place, stay, effects);
            }
        }
        changed
    }

    /// Where an engine is to be for now: one without a process needs no second server, and what runs apart goes
    /// home when the second side ends.
    fn place_now(&self, home: usize, side: usize, name: &EngineName, wanted: Place) -> Place {
        let group = &self.groups[side];
        let ends = side != home && group.after_stop == AfterStop::IsForgotten;
        let rests = group.engine(name).is_some_and(|engine| engine.rest.is_some());
        if wanted == Place::Apart && (ends || rests) { Place::Home } else { wanted }
    }

    /// Whether it is guilty, and others that are not still run on the second side: they go home first.
    fn would_harm_others_apart(&self, home: usize, name: &EngineName) -> bool {
        let isolation = &self.groups[home].isolation;
        let apart = self.apart_of(home).map_or(&[][..], |apart| &self.groups[apart].engines);
        isolation.is_guilty(name) && apart.iter().any(|engine| !isolation.is_guilty(engine.name()))
    }

    /// A second side that left a process behind starts again with its group, and ends that process first.
    fn revive_what_was_left(&mut self, home: usize) {
        let Some(apart) = self.apart_of(home) else { return };
        let side = &self.groups[apart];
        if side.left_behind && !side.engines.is_empty() && matches!(side.phase, Phase::Stopped) {
            self.open_second_side(home);
        }
    }

    /// One after the other: whoever is to be taken out waits until all others of the group stand still.
    fn may_take_out(&self, home: usize) -> May {
        let group = &self.groups[home];
        let apart = self.apart_of(home).map(|apart| &self.groups[apart]);
        let still = |side: &Domain| side.is_at_rest() || !matches!(side.phase, Phase::Running(_)) && side.is_new();
        let others = if group.is_at_rest() && apart.is_none_or(still) { Others::AtRest } else { Others::Underway };
        may::move_engine(group.may_act_on(Fault::GpuFault), others)
    }

    /// Moves an engine that is proven gone to the other side. False: the other side can't take it in now.
    fn change_sides(
        &mut self,
        home: usize,
        name: &EngineName,
        place: Place,
        stay: Stay,
        effects: &mut Effects,
    ) -> bool {
        let to_apart = place == Place::Apart;
        if to_apart && !self.open_second_side(home) {
            return false;
        }
        let Some(apart) = self.apart_of(home) else { return false };
        let (from, to) = if to_apart { (home, apart) } else { (apart, home) };
        if matches!(self.groups[to].phase, Phase::Stopping(_)) {
            return false;
        }
        let Some(at) = self.groups[from].place_of(name) else { return false };
        let engine: Engine = self.groups[from].engines.remove(at);
        let faults = self.groups[from].take_faults_of(name);
        self.groups[to].faults.extend(faults);
        self.groups[from].stir();
        self.at(to, effects, |to, turn| to.take_in(engine, stay, turn));
        true
    }

    /// Sees that the second side is there and takes engines in. False: its last end is still on its way, or the
    /// group itself is down.
    fn open_second_side(&mut self, home: usize) -> bool {
        let group = &self.groups[home];
        if matches!(group.phase, Phase::Stopping(_) | Phase::Stopped) || group.after_stop == AfterStop::IsForgotten {
            return false;
        }
        let Some(apart) = self.apart_of(home) else {
            self.add_second_side(home, GroupMemory::default());
            return true;
        };
        let apart = &mut self.groups[apart];
        match apart.phase {
            Phase::Stopping(_) => return false,
            // It left a process behind, which its next start ends first.
            Phase::Stopped => apart.phase = Phase::Waiting,
            Phase::Waiting | Phase::Restart(_) | Phase::InRestart | Phase::Running(_) => {}
        }
        apart.after_stop = AfterStop::Stays;
        true
    }

    /// The second side of a group, with what is remembered of it; its engines come from the first.
    pub(super) fn add_second_side(&mut self, home: usize, remembered: GroupMemory) {
        let policy = self.groups[home].policy.clone();
        let memory = GroupMemory { engines: Default::default(), hold: self.groups[home].hold.clone(), ..remembered };
        let id = DomainId::isolation(&policy.name);
        let mut side = self.new_domain(id, policy, memory);
        side.engines.clear();
        self.groups.insert(home + 1, side);
        self.shared = super::groups::shared(&self.groups);
    }

    /// A second side without engines is stopped and forgotten.
    fn let_an_empty_side_go(&mut self, home: usize, effects: &mut Effects) {
        let Some(apart) = self.apart_of(home) else { return };
        let side = &self.groups[apart];
        if side.engines.is_empty() && side.after_stop != AfterStop::IsForgotten {
            self.at(apart, effects, |side, turn| side.stop(Manner::InOrder, AfterStop::IsForgotten, turn));
            self.groups[apart].stir();
        }
    }

    /// Whether suspects may run apart.
    fn may_run_a_second_server(&self, home: usize) -> May {
        let group = &self.groups[home];
        let mode = self.gpus.get(&group.policy.gpu).map(|gpu| gpu.identity.compute_mode);
        may::run_a_second_server(if group.pids_match { Pids::Match } else { Pids::Differ }, mode)
    }

    fn count_isolated_time(&mut self, home: usize) {
        let now: Moment = self.now;
        let Some(apart) = self.apart_of(home) else {
            return self.groups[home].isolated.goes_on(Domains::OneServes, now);
        };
        let (first, second) = (&self.groups[home].engines, &self.groups[apart].engines);
        let all = active_level(first.iter().chain(second), now);
        let busy = |engines: &[Engine]| active_level(engines.iter(), now).is_some_and(|level| level.active > 0);
        let both_serve = self.groups[home].serves_some() && self.groups[apart].serves_some();
        let domains = match both_serve {
            true if busy(first) && busy(second) => Domains::BothBusy,
            true => Domains::BothServe,
            false => Domains::OneServes,
        };
        let group = &mut self.groups[home];
        group.isolated.goes_on(domains, now);
        group.active.goes_on(all, now);
    }
}

impl Domain {
    /// Whether any engine of it serves.
    fn serves_some(&self) -> bool {
        self.engines.iter().any(|engine| engine.stage == crate::decide::facts::engine::Stage::Serving)
    }

    /// Whether it is a second side without engines so far.
    fn is_new(&self) -> bool {
        self.engines.is_empty()
    }

    /// The faults of an engine that goes to the other side: they go with it, neither ended nor begun again.
    fn take_faults_of(&mut self, name: &EngineName) -> Vec<((Option<EngineName>, crate::model::Fault), Moment)> {
        let of_it = |key: &(Option<EngineName>, _)| key.0.as_ref() == Some(name);
        let taken: Vec<_> = self.faults.iter().filter(|(key, _)| of_it(key)).map(|(k, at)| (k.clone(), *at)).collect();
        self.faults.retain(|key, _| !of_it(key));
        taken
    }
}

impl Engine {
    /// What leading it to its place may change.
    fn mark(&self) -> (crate::decide::facts::engine::Stage, bool, bool, bool) {
        (self.stage.clone(), self.moves, self.goes_outside, self.rest.is_some())
    }
}
