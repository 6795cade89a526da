//! The second domain comes with the first engine that is to run isolated, and goes with the last. Engines change
//! domains here; where each is to be is decided in `isolation`.

use super::{Context, Group};
use crate::decide::domain::phase::{AfterStop, Phase};
use crate::decide::domain::state::Domain;
use crate::decide::domain::teardown::Manner;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::engine::figures::active_level;
use crate::decide::facts::engine::goal::Wanted;
use crate::decide::facts::stage::Stage;
use crate::decide::group::time::Domains;
use crate::decide::may::{self, May, Others, Pids};
use crate::decide::remembered::GroupMemory;
use crate::model::{EngineName, Fault, Moment, Slot};

impl Group {
    /// Every engine is where it is to be, and no fault hit the group meanwhile: there is nothing to arrange. Asked of
    /// every group at every input.
    pub(crate) fn is_arranged(&self) -> bool {
        self.isolation.is_idle() && self.main.hit.is_none() && self.second.is_none()
    }

    /// Brings the domains a step nearer to what they are to be. True: something changed, and the domains that it
    /// changed are to be stepped again.
    pub(crate) fn arrange(&mut self, context: &mut Context<'_>) -> bool {
        self.weigh_hits(context);
        let changed = self.lead_to_places(context);
        self.let_an_empty_domain_go(context);
        self.count_isolated_time(context.now);
        changed
    }

    fn weigh_hits(&mut self, context: &mut Context<'_>) {
        for slot in self.slots() {
            let Some(hit) = self.domain_mut(slot).and_then(|domain| domain.hit.take()) else { continue };
            let guilty = hit.ran.iter().find(|name| self.isolation.is_guilty(name)).cloned();
            match guilty {
                Some(guilty) => self.at(slot, context, |domain, turn| domain.scene.count_against(&guilty, turn)),
                None => self.weigh(&hit, context),
            }
        }
        self.end_an_idle_search(context);
    }

    /// Goes through all engines: those that are proven gone change domains, the others are led there.
    fn lead_to_places(&mut self, context: &mut Context<'_>) -> bool {
        let second_server = self.may_run_a_second_server(context);
        self.revive_what_was_left(context);
        let mut changed = false;
        changed |= self.lead_domain(Slot::Main, second_server, context);
        if self.second.is_some() {
            changed |= self.lead_domain(Slot::Isolation, second_server, context);
        }
        changed
    }

    fn lead_domain(&mut self, slot: Slot, second_server: May, context: &mut Context<'_>) -> bool {
        let mut changed = false;
        for name in self.domain(slot).map(|domain| domain.scene.names()).unwrap_or_default() {
            let wanted = self.isolation_wants(&name, second_server);
            let may_take_out = self.may_take_out();
            let Some(at) = self.domain(slot).and_then(|domain| domain.index_of(&name)) else { continue };
            let (mut goes_to, mut moved) = (None, false);
            self.at(slot, context, |domain, turn| {
                let before = domain.scene.engines[at].mark();
                domain.lead_to_place(at, wanted, may_take_out, turn);
                goes_to = Some(domain.slot_for(at)).filter(|to| *to != slot && domain.is_proven_gone(at));
                moved = domain.scene.engines[at].mark() != before;
                if moved {
                    domain.stir();
                }
            });
            changed |= moved;
            let waits = |to: &Slot| *to == Slot::Isolation && self.would_harm_others(&name);
            if let Some(to) = goes_to.filter(|to| !waits(to)) {
                changed |= self.change_domains(&name, to, context);
            }
        }
        changed
    }

    /// Whether it is guilty, and others that are not still run in the second domain: they go home first.
    fn would_harm_others(&self, name: &EngineName) -> bool {
        let innocent = |engine: &Engine| !self.isolation.is_guilty(engine.name());
        self.isolation.is_guilty(name)
            && self.second.as_ref().is_some_and(|second| second.scene.engines.iter().any(innocent))
    }

    /// A second domain that left a process behind starts again with its group, and ends that process first.
    fn revive_what_was_left(&mut self, context: &mut Context<'_>) {
        let left = |second: &Domain| {
            second.down.left_behind && !second.scene.engines.is_empty() && matches!(second.phase, Phase::Stopped)
        };
        if self.second.as_ref().is_some_and(left) {
            self.open_second(context);
        }
    }

    /// One after the other: an engine that is to be taken out waits until all others of the group stand still.
    fn may_take_out(&self) -> May {
        let still = |domain: &Domain| {
            domain.is_at_rest() || !matches!(domain.phase, Phase::Running(_)) && domain.scene.engines.is_empty()
        };
        let at_rest = self.main.is_at_rest() && self.second.as_ref().is_none_or(still);
        let others = if at_rest { Others::AtRest } else { Others::Underway };
        may::move_engine(self.main.scene.may_act_on(Fault::GpuFault, self.hold.as_ref()), others)
    }

    /// Moves an engine that is proven gone to another domain. False: that one can't take it in now.
    fn change_domains(&mut self, name: &EngineName, to: Slot, context: &mut Context<'_>) -> bool {
        if to == Slot::Isolation && !self.open_second(context) {
            return false;
        }
        let Some(second) = &mut self.second else { return false };
        let (from, into) = match to {
            Slot::Isolation => (&mut self.main, second),
            Slot::Main => (second, &mut self.main),
        };
        if matches!(into.phase, Phase::Stopping(_)) {
            return false;
        }
        let Some(at) = from.index_of(name) else { return false };
        let engine = from.scene.engines.remove(at);
        into.scene.faults.extend(from.take_faults_of(name));
        from.stir();
        self.at(to, context, |domain, turn| domain.take_in(engine, turn));
        true
    }

    /// Sees that the second domain is there and takes engines in. False: its last end is still on its way, or the
    /// group itself is down.
    fn open_second(&mut self, context: &mut Context<'_>) -> bool {
        let down = matches!(self.main.phase, Phase::Stopping(_) | Phase::Stopped);
        if down || self.main.down.after_stop == AfterStop::IsForgotten {
            return false;
        }
        let Some(second) = &mut self.second else {
            self.add_second(GroupMemory::default(), context.numbers);
            return true;
        };
        match second.phase {
            Phase::Stopping(_) => return false,
            // It left a process behind, which its next start ends first.
            Phase::Stopped => second.phase = Phase::Waiting,
            Phase::Waiting | Phase::Restart(_) | Phase::InRestart | Phase::Running(_) => {}
        }
        second.down.after_stop = AfterStop::Stays;
        true
    }

    /// A second domain without engines is stopped and forgotten.
    fn let_an_empty_domain_go(&mut self, context: &mut Context<'_>) {
        let goes =
            |second: &Domain| second.scene.engines.is_empty() && second.down.after_stop != AfterStop::IsForgotten;
        if self.second.as_ref().is_some_and(goes) {
            self.stir_at(Slot::Isolation, context, |domain, turn| {
                domain.stop(Manner::InOrder, AfterStop::IsForgotten, turn);
            });
        }
    }

    /// Whether suspects may run isolated.
    fn may_run_a_second_server(&self, context: &Context<'_>) -> May {
        let pids = if self.main.scene.around.pids_match { Pids::Match } else { Pids::Differ };
        may::run_a_second_server(pids, Some(context.gpu.identity.compute_mode))
    }

    fn count_isolated_time(&mut self, now: Moment) {
        let Some(second) = &self.second else { return self.isolated.goes_on(Domains::OneServes, now) };
        let all = active_level(self.main.scene.engines.iter().chain(&second.scene.engines), now);
        let busy =
            |domain: &Domain| active_level(domain.scene.engines.iter(), now).is_some_and(|level| level.active > 0);
        let domains = match self.main.serves_some() && second.serves_some() {
            true if busy(&self.main) && busy(second) => Domains::BothBusy,
            true => Domains::BothServe,
            false => Domains::OneServes,
        };
        self.isolated.goes_on(domains, now);
        self.main.active.goes_on(all, now);
    }
}

impl Domain {
    /// Whether any engine of it serves.
    fn serves_some(&self) -> bool {
        self.scene.engines.iter().any(|engine| engine.stage == Stage::Serving)
    }

    /// The faults of an engine that goes to another domain: they go with it, neither ended nor begun again.
    fn take_faults_of(&mut self, name: &EngineName) -> Vec<((Option<EngineName>, Fault), Moment)> {
        let of_it = |key: &(Option<EngineName>, _)| key.0.as_ref() == Some(name);
        let taken: Vec<_> =
            self.scene.faults.iter().filter(|(key, _)| of_it(key)).map(|(k, at)| (k.clone(), *at)).collect();
        self.scene.faults.retain(|key, _| !of_it(key));
        taken
    }
}

impl Engine {
    /// What leading it to its place may change.
    fn mark(&self) -> (Stage, Wanted) {
        (self.stage.clone(), self.wanted)
    }
}
