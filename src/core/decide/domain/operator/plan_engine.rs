//! What an order for one engine would come to, in sentences; or why it can't be done, with the cure.

use crate::decide::domain::operator::plan::{list, whole};
use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::{Engine, Sight};
use crate::decide::facts::remembered::Rest;
use crate::decide::facts::stage::{Ending, Stage};
use crate::model::{Awaited, Custody, EngineKey, Moment, Plan, Powers, Request, Tier};

impl Engine {
    /// Whether a process of it may be there.
    pub(crate) fn has_process(&self) -> bool {
        self.alive()
            || matches!(self.stage, Stage::Launching(_))
            || self.instance.process.id.is_some() && self.instance.process.ended.is_none()
    }

    /// Its start before its time, in words.
    pub(crate) fn starts_now(&self, key: &EngineKey, now: Moment) -> String {
        let left = self.backs_off_until(now).map(|until| until.since(now)).unwrap_or_default();
        format!("end the back-off of {key}, which has {} left, and start it; its failures stay counted", whole(left))
    }
}

impl Domain {
    /// The engine of that name that the configuration has; or which there are.
    pub(crate) fn known(&self, key: &EngineKey) -> Result<&Engine, String> {
        let here = || self.scene.engines.iter().filter(|engine| !engine.is_removed());
        if let Some(engine) = here().find(|engine| *engine.name() == key.engine) {
            return Ok(engine);
        }
        if self.index_of(&key.engine).is_some() {
            return Err(format!("{key} is being taken out: the configuration has it no more"));
        }
        Err(format!("there is no engine {key}; {} has: {}", self.scene.policy.name, list(here().map(Engine::name))))
    }

    pub(crate) fn plan_engine(&self, request: &Request, engine: &Engine, now: Moment) -> Result<Plan, String> {
        if self.scene.may_end(Tier::Engine, Some(engine.name())).is_err() {
            let key = EngineKey::new(&self.scene.policy.name, engine.name());
            return Err(format!("{key} is run by others, who alone may stop and start it"));
        }
        let keeps_down = matches!(request, Request::StopEngine(_) | Request::Quarantine(_));
        if keeps_down && !engine.policy.custody.may_start() {
            let key = EngineKey::new(&self.scene.policy.name, engine.name());
            return Err(format!("{key} is started again by its supervisor whatever is done here: stop it there"));
        }
        match request {
            Request::StopEngine(key) => self.plan_rest(key, engine, Rest::Stopped),
            Request::Quarantine(key) => self.plan_rest(key, engine, Rest::Quarantined),
            Request::StartEngine(key) => self.plan_start_engine(key, engine, now),
            Request::Release(key) => self.plan_release(key, engine),
            Request::Evict(key) => self.plan_evict(key, engine, now),
            Request::Stop
            | Request::StopNow
            | Request::Restart { .. }
            | Request::StopGroup(_)
            | Request::StopGroups
            | Request::StartGroups
            | Request::StartGroup(_)
            | Request::Hold { .. }
            | Request::Resume { .. } => Err("that is no order for one engine".to_owned()),
        }
    }

    fn plan_rest(&self, key: &EngineKey, engine: &Engine, wanted: Rest) -> Result<Plan, String> {
        let until = if wanted == Rest::Stopped { "it is started" } else { "it is released" };
        match engine.wanted.rest {
            Some(Rest::Quarantined | Rest::CrashLoop | Rest::Guilty) => {
                return Err(format!("{key} is quarantined and has no process; release lets it start again"));
            }
            Some(Rest::Stopped) if wanted == Rest::Stopped => {
                return Err(format!("{key} is already stopped by an operator"));
            }
            _ => {}
        }
        let mut steps = if self.runs() { self.way_out(key, engine) } else { Vec::new() };
        steps.push(format!("not start {key} until {until}"));
        Ok(Plan { steps, goals: vec![Awaited::EngineStopped(key.clone())] })
    }

    fn plan_start_engine(&self, key: &EngineKey, engine: &Engine, now: Moment) -> Result<Plan, String> {
        match engine.wanted.rest {
            Some(Rest::Stopped | Rest::Done) => {}
            Some(Rest::Apart) => {
                return Err(format!(
                    "{key} is stopped while the cause of its group's faults is searched for; it starts by itself after that"
                ));
            }
            Some(_) => return Err(format!("{key} is quarantined; release lets it start again")),
            None if engine.stage == Stage::Left && self.runs() => {}
            None if self.runs() && engine.is_absent() && engine.policy.custody.may_start() => {
                let steps = vec![format!("have {key} started by those who run it")];
                return Ok(Plan { steps, goals: vec![serves_next(key, engine)] });
            }
            None if self.runs() && engine.backs_off_until(now).is_some() => {
                return Ok(Plan { steps: vec![engine.starts_now(key, now)], goals: vec![serves_next(key, engine)] });
            }
            None => return Err(format!("{key} was not stopped by an operator; it is {}", engine.state(Sight::Clear))),
        }
        self.plan_run(key, engine, Vec::new())
    }

    fn plan_release(&self, key: &EngineKey, engine: &Engine) -> Result<Plan, String> {
        if !matches!(engine.wanted.rest, Some(Rest::Quarantined | Rest::CrashLoop)) {
            return Err(format!("{key} is not quarantined; it is {}", engine.state(Sight::Clear)));
        }
        let budget = self.scene.policy.recovery.engine_budget;
        self.plan_run(key, engine, vec![format!("give {key} its budget of {budget} failures back")])
    }

    /// An engine that was proven guilty is forgiven.
    pub(crate) fn plan_absolve(&self, key: &EngineKey, engine: &Engine) -> Plan {
        let budget = self.scene.policy.recovery.engine_budget;
        let steps = vec![
            format!("forget that {key} was proven guilty, and give it its budget of {budget} failures back"),
            format!("end {key} where it runs, and start it with the others of {}", self.scene.policy.name),
        ];
        Plan { steps, goals: vec![serves_next(key, engine)] }
    }

    /// It may have a process again.
    fn plan_run(&self, key: &EngineKey, engine: &Engine, mut steps: Vec<String>) -> Result<Plan, String> {
        let name = &self.scene.policy.name;
        match self.phase {
            Phase::Stopping(_) | Phase::Stopped => return Err(format!("{name} is stopped; start {name} first")),
            Phase::Running(_) => {
                steps.extend(self.way_out(key, engine));
                steps.push(format!("start {key}"));
            }
            Phase::Waiting | Phase::Restart(_) | Phase::InRestart => {
                steps.push(format!("start {key} with the others of {name}"))
            }
        }
        Ok(Plan { steps, goals: vec![serves_next(key, engine)] })
    }

    fn plan_evict(&self, key: &EngineKey, engine: &Engine, now: Moment) -> Result<Plan, String> {
        if !self.runs() {
            let name = self.scene.called();
            return Err(format!("{name} is being started, restarted or stopped as a whole; evict {key} after that"));
        }
        match &engine.stage {
            Stage::Starting | Stage::Serving | Stage::Failing | Stage::Left => {}
            Stage::Down { due } => {
                let wait = whole(due.since(now));
                return Err(format!("{key} has no process; its next try is in {wait}, and at once with `start {key}`"));
            }
            Stage::Launching(_) => return Err(format!("{key} is being started at this moment; try again")),
            Stage::Ending(_) | Stage::Fallen => return Err(format!("{key} is being taken out already")),
            Stage::Quarantined => return Err(format!("{key} is quarantined; release lets it start again")),
            Stage::Stopped => return Err(format!("{key} is stopped by an operator; start it")),
        }
        let mut steps = self.way_out(key, engine);
        steps.push(format!("start {key} again; no failure is counted"));
        Ok(Plan { steps, goals: vec![serves_next(key, engine)] })
    }

    /// How its processes end, if it may have any.
    fn way_out(&self, key: &EngineKey, engine: &Engine) -> Vec<String> {
        let gone = matches!(engine.stage, Stage::Ending(Ending::Aftershock { .. }));
        match &engine.stage {
            Stage::Ending(_) if !gone => vec![format!("go on taking {key} out")],
            Stage::Launching(_) => vec![format!("wait for the process of {key}, then TERM")],
            Stage::Starting | Stage::Serving | Stage::Failing | Stage::Left => {
                self.drains(&[engine]).into_iter().chain([self.ends(key, engine)]).collect()
            }
            Stage::Down { .. } | Stage::Ending(_) | Stage::Fallen | Stage::Quarantined | Stage::Stopped => Vec::new(),
        }
    }

    fn ends(&self, key: &EngineKey, engine: &Engine) -> String {
        let clients = self.scene.server.clients.last();
        let is_client = |pid: &u32| clients.is_some_and(|clients| clients.contains(pid));
        let count = engine.instance.processes().iter().filter(|process| is_client(&process.pid)).count();
        let term = match engine.instance.process.id.filter(|_| engine.instance.process.ended.is_none()) {
            Some(_) if engine.policy.custody == Custody::Others(Powers::Supervisor) => {
                let stop = engine.policy.stop_timeout.as_secs_f64();
                format!("those who run it are asked to stop it, to kill it after {stop} s")
            }
            Some(_) => format!("TERM, KILL after {} s", engine.policy.stop_timeout.as_secs_f64()),
            None => "KILL what is left of it".to_owned(),
        };
        match count {
            0 => format!("end {key}: {term}"),
            1 => format!("terminate 1 client of {key}, then {term}"),
            _ => format!("terminate {count} clients of {key}, then {term}"),
        }
    }

    fn runs(&self) -> bool {
        matches!(self.phase, Phase::Running(_))
    }
}

/// The next start of an engine serves.
pub(crate) fn serves_next(key: &EngineKey, engine: &Engine) -> Awaited {
    Awaited::EngineServes { engine: key.clone(), incarnation: engine.instance.incarnation.saturating_add(1) }
}
