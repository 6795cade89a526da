//! What people order of a group: an order for one engine goes to the domain that has it, one for the whole group to
//! all of its domains.

use std::collections::BTreeSet;

use super::hold::HoldEnd;
use super::{Context, Group};
use crate::decide::domain::operator;
use crate::decide::policy::GroupPolicy;
use crate::model::{Awaited, Custody, EngineKey, EngineName, GroupName, Moment, Plan, Request, Slot};

/// A group that is not there, and those that are.
pub(in crate::decide) fn no_such_group(name: &GroupName, groups: &[Group]) -> String {
    let there: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    format!("there is no group {name}; there are: {}", there.join(", "))
}

/// An order for every group: it is done in those where there is something to do.
pub(in crate::decide) fn plan_for_all(groups: &[Group], request: &Request, now: Moment) -> Result<Plan, String> {
    if groups.is_empty() && !matches!(request, Request::Stop | Request::StopNow) {
        return Err("there is no group".to_owned());
    }
    let (mut all, mut refused) = (Plan { steps: Vec::new(), goals: Vec::new() }, Vec::new());
    let of_all = groups.iter().flat_map(|group| group.domains().map(|domain| (domain, group.hold.as_ref())));
    for plan in of_all.map(|(domain, hold)| domain.plan(request, hold, now)) {
        match plan {
            Ok(plan) => {
                all.steps.extend(plan.steps);
                all.goals.extend(plan.goals);
            }
            Err(why) => refused.push(why),
        }
    }
    if matches!(request, Request::Stop | Request::StopNow) {
        all.steps.push("end mpswarden".to_owned());
    } else if matches!(request, Request::StopGroups) {
        // Also where all are stopped already: then nothing else is to be done.
        all.steps.push("let go of the driver: NVML is closed until a group is started".to_owned());
        all.goals.push(Awaited::DriverLetGo);
    } else if all.steps.is_empty() {
        return Err(refused.join("; "));
    }
    Ok(all)
}

impl Group {
    /// What an order would come to: for an engine in the domain that has it, for all of the group in each.
    pub(crate) fn plan(&self, request: &Request, now: Moment) -> Result<Plan, String> {
        let hold = self.hold.as_ref();
        if let Some(key) = operator::engine_of(request) {
            let guilty = matches!(request, Request::Release(_)) && self.isolation.is_guilty(&key.engine);
            let domain = self.domain(self.slot_of(&key.engine)).unwrap_or(&self.main);
            return match domain.scene.engine(&key.engine) {
                Some(engine) if guilty => Ok(self.main.plan_absolve(key, engine)),
                _ => domain.plan(request, hold, now),
            };
        }
        let second = self.second.as_ref().and_then(|second| second.plan(request, hold, now).ok());
        let mut plan = match (self.main.plan(request, hold, now), &second) {
            // Its isolated engines wait for their time, and the others serve.
            (Err(_), Some(_)) if matches!(request, Request::StartGroup(_) | Request::StartGroups) => Plan::default(),
            (main, _) => main?,
        };
        let second = second.unwrap_or_default();
        plan.steps.extend(second.steps);
        plan.goals.extend(second.goals);
        Ok(plan)
    }

    /// Does what an order for this group or one of its engines says. Its plan allows it.
    pub(crate) fn take_up(&mut self, request: &Request, context: &mut Context<'_>) {
        if let Some(key) = operator::engine_of(request) {
            if let Request::Release(_) = request {
                self.absolve(&key.engine, context);
            }
            let slot = self.slot_of(&key.engine);
            return self.stir_at(slot, context, |domain, turn| domain.take_up(request, turn));
        }
        self.take_up_one_of_all(request, context);
    }

    /// Does what an order for every group says, in each domain where there is something to do.
    pub(crate) fn take_up_one_of_all(&mut self, request: &Request, context: &mut Context<'_>) {
        for slot in self.slots() {
            self.take_up_where_planned(slot, request, context);
        }
    }

    fn take_up_where_planned(&mut self, slot: Slot, request: &Request, context: &mut Context<'_>) {
        let (hold, now) = (self.hold.clone(), context.now);
        let Some(domain) = self.domain_mut(slot) else { return };
        domain.stir();
        if domain.plan(request, hold.as_ref(), now).is_ok() {
            self.take_up_in(slot, request, context);
        }
    }

    fn take_up_in(&mut self, slot: Slot, request: &Request, context: &mut Context<'_>) {
        match request {
            Request::Hold { lasts, reason, .. } if slot == Slot::Main => self.begin_hold(*lasts, reason, context),
            Request::Resume { .. } if slot == Slot::Main => self.end_hold(HoldEnd::SentAction, context),
            Request::Stop
            | Request::StopNow
            | Request::Restart { .. }
            | Request::StopGroup(_)
            | Request::StartGroup(_)
            | Request::StopGroups
            | Request::StartGroups
            | Request::StopEngine(_)
            | Request::StartEngine(_)
            | Request::Evict(_)
            | Request::Quarantine(_)
            | Request::Release(_)
            | Request::Hold { .. }
            | Request::Resume { .. } => {}
        }
        self.stir_at(slot, context, |domain, turn| domain.take_up(request, turn));
    }

    /// Applies the group's changed policy to all domains, each for the engines that it has; new ones are the main
    /// one's.
    pub(crate) fn change(&mut self, policy: &GroupPolicy, rolls: &BTreeSet<EngineKey>, context: &mut Context<'_>) {
        let isolated = self.second.as_ref().map(|second| second.scene.names()).unwrap_or_default();
        self.stir_at(Slot::Main, context, |domain, turn| domain.change(policy.clone(), rolls, &isolated, turn));
        let all = policy.engines.iter().map(|engine| engine.name.clone());
        let elsewhere: Vec<EngineName> = all.filter(|name| !isolated.contains(name)).collect();
        self.stir_at(Slot::Isolation, context, |domain, turn| {
            // Its daemon is ours, whosever the first one is.
            let policy = GroupPolicy { custody: Custody::Own, ..policy.clone() };
            domain.change(policy, rolls, &elsewhere, turn);
        });
    }

    /// The configuration has the group no more.
    pub(crate) fn leave(&mut self, context: &mut Context<'_>) {
        for slot in self.slots() {
            self.stir_at(slot, context, |domain, turn| domain.leave(turn));
        }
    }
}
