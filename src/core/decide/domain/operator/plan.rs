//! What an order would come to, in sentences; or why it can't be done, with the cure. Orders for a whole group
//! are here, those for one engine in `plan_engine`. Nothing is changed.

use std::time::Duration;

use crate::decide::domain::operator::plan_engine::serves_next;
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

/// A wait as people say it, to the second.
pub(crate) fn whole(wait: Duration) -> String {
    match wait.as_millis().div_ceil(1000) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
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
            Request::StopGroup(_) | Request::StopGroups => self.plan_stop(StopOf::Group),
            Request::StopNow => self.plan_stop_now(),
            Request::StartGroup(_) | Request::StartGroups => self.plan_start(now),
            Request::Restart { tier, .. } => self.plan_restart(*tier, now),
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
        let steps = match (request, &self.phase) {
            (_, Phase::Stopped) => return Err(format!("{} is down", self.scene.called())),
            (Request::Stop | Request::StopGroup(_) | Request::StopGroups, _) => self.stops(),
            (Request::StopNow, _) => self.kills(),
            (Request::Restart { tier, .. }, Phase::Running(_)) => self.restarts(*tier),
            (Request::Resume { .. }, Phase::Restart(restart)) if restart.held.is_some() => {
                vec![format!("let the start of {} go on", self.isolated_engines())]
            }
            (Request::StartGroup(_) | Request::StartGroups, Phase::Restart(_) | Phase::Running(_)) => {
                return self.plan_start(now);
            }
            (
                Request::StopEngine(key)
                | Request::StartEngine(key)
                | Request::Evict(key)
                | Request::Quarantine(key)
                | Request::Release(key),
                _,
            ) => return self.plan_engine(request, self.known(key)?, now),
            _ => return Err(format!("{} follows the first", self.scene.called())),
        };
        Ok(Plan { steps, goals: Vec::new() })
    }

    /// The engines of the second domain, or that domain where it has none.
    fn isolated_engines(&self) -> String {
        let engines = list(self.scene.engines.iter().map(Engine::name));
        let place = self.scene.called();
        if engines.is_empty() { place } else { format!("{engines} on {place}") }
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
        let mut steps = self.stops();
        if of == StopOf::Group {
            steps.push(format!("keep {name} stopped until it is started"));
        }
        Ok(Plan { steps, goals: vec![Awaited::GroupStopped(name.clone())] })
    }

    /// The stop of all of a domain.
    fn stops(&self) -> Vec<String> {
        let run: Vec<_> = self.to_be_ended().rev().collect();
        let mut steps = Vec::from_iter(self.drains(&run));
        let (server, daemon) = self.places();
        if !run.is_empty() {
            let run = list(run.into_iter().map(Engine::name));
            steps.push(format!("stop {run} {server} one after the other: TERM, KILL after the time of each"));
        }
        steps.push(match self.scene.policy.custody.is_others() {
            false => format!("stop {daemon}"),
            true => format!("leave {daemon} as it is: others run it"),
        });
        steps
    }

    /// Engines that may have a process, and that are the watchdog's to end.
    fn to_be_ended(&self) -> impl DoubleEndedIterator<Item = &Engine> {
        let daemon = self.scene.policy.custody;
        self.scene.engines.iter().filter(move |engine| engine.has_process() && engine.ends_with_a_stop(daemon))
    }

    /// The end of all of a domain at once.
    fn kills(&self) -> Vec<String> {
        let (server, daemon) = self.places();
        let run = list(self.to_be_ended().map(Engine::name));
        let engines = (!run.is_empty()).then(|| format!("kill {run} {server} at once"));
        let daemon = match self.scene.policy.custody.is_others() {
            false => format!("kill {daemon}"),
            true => format!("leave {daemon} as it is: others run it"),
        };
        engines.into_iter().chain([daemon]).collect()
    }

    /// The restart of all of a domain.
    fn restarts(&self, tier: Tier) -> Vec<String> {
        let (server, daemon) = self.places();
        let run = list(self.scene.engines.iter().filter(|engine| engine.has_process()).map(Engine::name));
        let kill =
            (!run.is_empty()).then(|| format!("kill {run} {server} at once, wait for their end and for their memory"));
        let daemon = (tier == Tier::Daemon).then(|| format!("stop {daemon} and start it again"));
        let active = match self.scene.is_apart() {
            false => format!("wait for the server of {} to be ACTIVE", self.scene.policy.name),
            true => format!("wait for {} to be ACTIVE", self.scene.called()),
        };
        kill.into_iter().chain(daemon).chain([active]).chain(self.starts()).collect()
    }

    /// Where its engines run, behind their names, and its control daemon.
    fn places(&self) -> (String, String) {
        let name = &self.scene.policy.name;
        match self.scene.is_apart() {
            false => (format!("of {name}"), format!("the control daemon of {name}")),
            true => (format!("on {}", self.scene.called()), format!("the second control daemon of {name}")),
        }
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
        Ok(Plan { steps: self.kills(), goals: vec![Awaited::GroupStopped(name.clone())] })
    }

    fn plan_start(&self, now: Moment) -> Result<Plan, String> {
        let name = &self.scene.policy.name;
        let first = match &self.phase {
            Phase::Stopped => None,
            Phase::Stopping(_) if self.down.after_stop == AfterStop::Stays => {
                Some(format!("wait until {name} is stopped"))
            }
            Phase::Restart(restart) if restart.backs_off_until(now).is_some() => return Ok(self.plan_no_backoff(now)),
            Phase::Running(_) if self.backing_off(now).next().is_some() => return Ok(self.plan_no_backoff(now)),
            Phase::Waiting | Phase::Restart(_) | Phase::InRestart | Phase::Running(_) | Phase::Stopping(_) => {
                return Err(format!("{name} is not stopped and in no back-off: nothing is to be started"));
            }
        };
        let daemon = match self.scene.may_start_control() {
            Ok(()) => format!("start the control daemon and the server of {name}"),
            Err(_) => format!("find the control daemon of {name}, which others run"),
        };
        let steps = first.into_iter().chain([daemon]).chain(self.starts()).collect();
        Ok(Plan { steps, goals: vec![self.serves_next()] })
    }

    /// Engines that wait for their time.
    fn backing_off(&self, now: Moment) -> impl Iterator<Item = &Engine> {
        self.scene.engines.iter().filter(move |engine| engine.backs_off_until(now).is_some())
    }

    /// A start before its time: of the whole domain, or of the engines that wait.
    fn plan_no_backoff(&self, now: Moment) -> Plan {
        if let Phase::Restart(restart) = &self.phase {
            let left = restart.backs_off_until(now).map(|until| until.since(now)).unwrap_or_default();
            let daemon = format!("end the back-off of {}, which has {} left", self.scene.called(), whole(left));
            let goals = if self.scene.is_apart() { Vec::new() } else { vec![self.serves_next()] };
            return Plan { steps: [daemon].into_iter().chain(self.starts()).collect(), goals };
        }
        let name = &self.scene.policy.name;
        let each = |engine: &Engine| {
            let key = EngineKey::new(name, engine.name());
            (engine.starts_now(&key, now), serves_next(&key, engine))
        };
        let (steps, goals) = self.backing_off(now).map(each).unzip();
        Plan { steps, goals }
    }

    fn plan_restart(&self, tier: Tier, now: Moment) -> Result<Plan, String> {
        let name = &self.scene.policy.name;
        if tier == Tier::Engine {
            return Err(format!("a restart of {name} has the tier clients or daemon; evict restarts one engine"));
        }
        self.not_restartable(now).map_or(Ok(()), Err)?;
        if self.scene.may_end(tier, None).is_err() {
            return Err(self.not_ours_to_restart(tier));
        }
        Ok(Plan { steps: self.restarts(tier), goals: vec![self.serves_next()] })
    }

    /// Why an operator's restart would end what others run.
    fn not_ours_to_restart(&self, tier: Tier) -> String {
        let name = &self.scene.policy.name;
        match self.scene.may_end(Tier::Clients, None) {
            Err(_) => format!("engines of {name} are run by others, who alone may restart them"),
            Ok(()) if tier == Tier::Daemon => format!(
                "the control daemon of {name} is run by others, who alone may restart it; `restart {name}` restarts the \
                 engines"
            ),
            Ok(()) => format!("the control daemon of {name} is run by others"),
        }
    }

    /// Why the whole group can't be restarted now.
    fn not_restartable(&self, now: Moment) -> Option<String> {
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
                    let waits = restart.backs_off_until(now).map(|until| {
                        format!("; it goes on in {}, and at once with `start {name}`", whole(until.since(now)))
                    });
                    let waits = waits.unwrap_or_default();
                    format!("a restart of {name} is on its way ({tier}, for {reason}, at the step {step}){waits}")
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
        let (ours, theirs): (Vec<&Engine>, Vec<&Engine>) =
            run.into_iter().partition(|engine| engine.policy.custody.may_start());
        if !ours.is_empty() {
            let (server, _) = self.places();
            steps.push(format!("start {} {server} {how}", list(ours.into_iter().map(Engine::name))));
        }
        if !theirs.is_empty() {
            steps.push(format!("find {} of {name}, which others run", list(theirs.into_iter().map(Engine::name))));
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
