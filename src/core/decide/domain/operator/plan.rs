//! What an order would come to, in sentences; or why it can't be done, with the cure. Orders for a whole group
//! are here, those for one engine in `plan_engine`. Nothing is changed.

use std::time::Duration;

use crate::decide::domain::phase::{AfterStop, Phase};
use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::policy::StartOrder;
use crate::model::{Awaited, EngineKey, HeldReason, Hold, Moment, Plan, Request, Tier};

/// What an operator stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopOf {
    /// One group, which stays stopped until it is started.
    Group,
    /// The watchdog, and all groups with it.
    Watchdog,
}

/// Names in a row.
pub(crate) fn list<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

/// A time as people say it.
fn span(time: Duration) -> String {
    match time.as_secs() {
        secs if secs % 3600 == 0 => format!("{} h", secs / 3600),
        secs if secs % 60 == 0 => format!("{} min", secs / 60),
        _ => format!("{} s", time.as_secs_f64()),
    }
}

impl Domain {
    /// What an order for this group or one of its engines would come to at this moment.
    pub(crate) fn plan(&self, request: &Request, hold: Option<&Hold>, now: Moment) -> Result<Plan, String> {
        let ends = matches!(request, Request::Stop | Request::StopNow);
        if self.down.after_stop == AfterStop::IsForgotten && !ends {
            return Err(format!("{} is being stopped: the configuration has it no more", self.scene.policy.name));
        }
        if self.scene.is_apart() {
            return self.plan_second_side(request, now);
        }
        match request {
            Request::Stop => self.plan_stop(StopOf::Watchdog),
            Request::StopGroup(_) => self.plan_stop(StopOf::Group),
            Request::StopNow => self.plan_stop_now(),
            Request::StartGroup(_) => self.plan_start(),
            Request::Restart { tier, .. } => self.plan_restart(*tier),
            Request::Hold { lasts, reason, .. } => self.plan_hold(*lasts, reason),
            Request::Resume { .. } => self.plan_resume(hold, now),
            Request::StopEngine(key)
            | Request::StartEngine(key)
            | Request::Evict(key)
            | Request::Quarantine(key)
            | Request::Release(key) => self.plan_engine(request, self.known(key)?, now),
        }
    }

    /// The second domain of a group follows the main one: what is said of it stands beside what that one does.
    fn plan_second_side(&self, request: &Request, now: Moment) -> Result<Plan, String> {
        let home = &self.scene.policy.name;
        let step = match (request, &self.phase) {
            (_, Phase::Stopped) => return Err(format!("the second side of {home} is down")),
            (Request::Stop | Request::StopGroup(_), _) => format!("stop the second side of {home} and its daemon"),
            (Request::StopNow, _) => format!("kill the second side of {home} and its daemon"),
            (Request::Restart { .. }, Phase::Running(_)) => format!("restart the second side of {home} as well"),
            (Request::Resume { .. }, Phase::Restart(restart)) if restart.held.is_some() => {
                format!("let the start of the second side of {home} go on")
            }
            (
                Request::StopEngine(key)
                | Request::StartEngine(key)
                | Request::Evict(key)
                | Request::Quarantine(key)
                | Request::Release(key),
                _,
            ) => return self.plan_engine(request, self.known(key)?, now),
            _ => return Err(format!("the second side of {home} follows the first")),
        };
        Ok(Plan { steps: vec![step], goals: Vec::new() })
    }

    fn plan_stop(&self, of: StopOf) -> Result<Plan, String> {
        let name = &self.scene.policy.name;
        match self.phase {
            Phase::Stopped => return Err(format!("{name} is already stopped")),
            Phase::Stopping(_) if self.down.after_stop == AfterStop::Stays && of == StopOf::Group => {
                return Err(format!("{name} is already being stopped"));
            }
            Phase::Waiting | Phase::Restart(_) | Phase::InRestart | Phase::Running(_) | Phase::Stopping(_) => {}
        }
        let run: Vec<_> = self.scene.engines.iter().rev().filter(|engine| engine.has_process()).collect();
        let mut steps = Vec::from_iter(self.drains(&run));
        if !run.is_empty() {
            let run = list(run.into_iter().map(Engine::name));
            steps.push(format!("stop {run} of {name} one after the other: TERM, KILL after the time of each"));
        }
        steps.push(format!("stop the control daemon of {name}"));
        if of == StopOf::Group {
            steps.push(format!("keep {name} stopped until it is started"));
        }
        Ok(Plan { steps, goals: vec![Awaited::GroupStopped(name.clone())] })
    }

    /// Whose requests are let end before they are stopped.
    pub(crate) fn drains(&self, engines: &[&Engine]) -> Option<String> {
        let drained: Vec<&&Engine> = engines.iter().filter(|engine| self.may_drain(engine)).collect();
        let most = drained.iter().map(|engine| engine.policy.drain_timeout).max()?;
        let names = list(drained.iter().map(|engine| EngineKey::new(&self.scene.policy.name, engine.name())));
        Some(format!("give {names} no new request and let those in flight end, for {} s at most", most.as_secs_f64()))
    }

    fn plan_stop_now(&self) -> Result<Plan, String> {
        let name = &self.scene.policy.name;
        if matches!(self.phase, Phase::Stopped) {
            return Err(format!("{name} is already stopped"));
        }
        let steps = vec![format!("kill all engines of {name} at once"), format!("kill the control daemon of {name}")];
        Ok(Plan { steps, goals: vec![Awaited::GroupStopped(name.clone())] })
    }

    fn plan_start(&self) -> Result<Plan, String> {
        let name = &self.scene.policy.name;
        let first = match self.phase {
            Phase::Stopped => None,
            Phase::Stopping(_) if self.down.after_stop == AfterStop::Stays => {
                Some(format!("wait until {name} is stopped"))
            }
            Phase::Waiting | Phase::Restart(_) | Phase::InRestart | Phase::Running(_) | Phase::Stopping(_) => {
                return Err(format!("{name} is not stopped: nothing is to be started"));
            }
        };
        let daemon = format!("start the control daemon and the server of {name}");
        let steps = first.into_iter().chain([daemon]).chain(self.starts()).collect();
        Ok(Plan { steps, goals: vec![self.serves_next()] })
    }

    fn plan_restart(&self, tier: Tier) -> Result<Plan, String> {
        let name = &self.scene.policy.name;
        if tier == Tier::Engine {
            return Err(format!("a restart of {name} has the tier clients or daemon; evict restarts one engine"));
        }
        self.not_restartable().map_or(Ok(()), Err)?;
        let all = self.scene.engines.iter().filter(|engine| engine.has_process()).count();
        let kill = format!("kill all {all} engines of {name} at once, wait for their end and for their memory");
        let daemon = (tier == Tier::Daemon).then(|| format!("stop the control daemon of {name} and start it again"));
        let active = format!("wait for the server of {name} to be ACTIVE");
        let steps = [kill].into_iter().chain(daemon).chain([active]).chain(self.starts()).collect();
        Ok(Plan { steps, goals: vec![self.serves_next()] })
    }

    /// Why the whole group can't be restarted now.
    fn not_restartable(&self) -> Option<String> {
        let name = &self.scene.policy.name;
        match &self.phase {
            Phase::Running(_) => None,
            Phase::Waiting => Some(format!("{name} has not started: NVML and /proc have to report first; try again")),
            Phase::Restart(restart) => Some(match (&restart.held, restart.reason) {
                (Some((HeldReason::ProcessStuck, why)), _) => {
                    format!("{name} is held, process_stuck: {why}; it goes on by itself once that process is gone")
                }
                (Some((reason, why)), _) => format!("{name} is held, {reason}: {why}; resume lets it go on"),
                (None, None) => format!("{name} is being started; wait until it serves"),
                (None, Some(reason)) => {
                    let (tier, step) = (restart.tier, restart.step.shown());
                    format!("a restart of {name} is on its way ({tier}, for {reason}, at the step {step})")
                }
            }),
            Phase::InRestart => Some(format!("a restart of {name} is on its way")),
            Phase::Stopping(_) => Some(format!("{name} is being stopped; start it once it is")),
            Phase::Stopped => Some(format!("{name} is stopped; start it")),
        }
    }

    fn plan_hold(&self, lasts: Option<Duration>, reason: &str) -> Result<Plan, String> {
        if reason.trim().is_empty() {
            return Err("a hold needs a reason, for people who find it".to_owned());
        }
        if lasts.is_some_and(|lasts| lasts.is_zero()) {
            return Err("a hold of no time is none; give it a time, or none to hold until resume".to_owned());
        }
        let lasts = lasts.map_or_else(|| "until resume".to_owned(), |lasts| format!("for {}", span(lasts)));
        let name = &self.scene.policy.name;
        let mut steps = vec![format!("do nothing by itself in {name} {lasts}, and only say what would be done")];
        if let Phase::Restart(restart) = &self.phase {
            let what = if restart.reason.is_some() { "restart" } else { "start" };
            steps.push(format!("let the {what} of {name} that is on its way go on to its end"));
        }
        Ok(Plan { steps, goals: Vec::new() })
    }

    fn plan_resume(&self, hold: Option<&Hold>, now: Moment) -> Result<Plan, String> {
        let name = &self.scene.policy.name;
        let mut plan = Plan { steps: Vec::new(), goals: Vec::new() };
        if hold.is_some() {
            plan.steps.push(format!("end the hold of {name}, and act on faults that are there"));
        }
        if self.budget.attempts.within(self.scene.policy.recovery.budget_window, now) > 0 {
            plan.steps.push(format!("give {name} its budget of {} restarts back", self.scene.policy.recovery.budget));
        }
        if let Phase::Restart(restart) = &self.phase
            && let Some((reason, _)) = restart.held.as_ref().filter(|(reason, _)| may_be_overruled(*reason))
        {
            plan.steps.push(format!("let the start of {name} go on, though {reason}"));
            plan.goals.push(self.serves_next());
        }
        if plan.steps.is_empty()
            && let Phase::Restart(restart) = &self.phase
            && let Some((reason, detail)) = restart.held.as_ref()
        {
            return Err(format!("{name} is held for {reason}, which no order changes: {detail}"));
        }
        if plan.steps.is_empty() {
            return Err(format!("{name} is on no hold and its budget is whole: there is nothing to resume"));
        }
        Ok(plan)
    }

    /// The engines' starts, where any is to run.
    fn starts(&self) -> Vec<String> {
        let name = &self.scene.policy.name;
        let (rest, run): (Vec<&Engine>, Vec<&Engine>) =
            self.scene.engines.iter().filter(|engine| !engine.is_removed()).partition(|engine| engine.is_to_rest());
        let how = match self.scene.policy.recovery.start {
            StartOrder::Sequential => "one after the other",
            StartOrder::Staggered => "each once the one before it has its memory",
            StartOrder::Parallel => "all at once",
        };
        let mut steps = Vec::new();
        if !run.is_empty() {
            steps.push(format!("start {} of {name} {how}", list(run.into_iter().map(Engine::name))));
        }
        if !rest.is_empty() {
            let names = list(rest.into_iter().map(Engine::name));
            steps.push(format!("not start {names} of {name}: stopped by an operator, or quarantined"));
        }
        steps
    }

    fn serves_next(&self) -> Awaited {
        Awaited::GroupServes {
            group: self.scene.policy.name.clone(),
            generation: self.budget.generation.saturating_add(1),
        }
    }
}

/// Whether an operator's word lets a start go on though it is held for this.
fn may_be_overruled(reason: HeldReason) -> bool {
    !matches!(reason, HeldReason::ProcessStuck | HeldReason::GpuUnreadable)
}
