//! Engines of the stand-in world that say what they do, stand still, or lose their GPU process.

use std::time::Duration;

use mpswarden_core::model::{
    ActionId, EngineLoad, Health, Moment, Observation, Outcome, Owner, ProcessUsage, ServerLine, Traffic,
};

use super::{Happening, Knob, World};

/// Upper bound for an engine's health and metrics.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an engine says of its load: tokens come at a rate.
#[derive(Clone, Debug)]
pub struct Says {
    load: EngineLoad,
    /// Generated tokens, prompt tokens and ended requests a second.
    rate: f64,
    prompts: f64,
    ends: f64,
    since: Moment,
    callers: Callers,
}

/// Who is connected to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callers {
    /// One for each request that runs; without tokens a second they wait.
    Each,
    /// Nobody: its gauge is one that it does not write any more.
    Nobody,
    /// The connections can't be seen.
    Unseen,
}

/// What an engine can say of its load. `tests/scenarios/README.md` explains each.
pub const LOADS: [&str; 10] =
    ["running=N", "waiting=N", "rate=N", "tokens=N", "prompts=N", "prompt=N", "ends=N", "kv=N", "nobody", "unseen"];

impl Says {
    /// Reads words of `LOADS`. What is not named is not shown.
    pub fn parse(words: &[&str], before: Option<&Says>, now: Moment) -> Says {
        let known = |word: &str| LOADS.iter().any(|load| word.split('=').next() == load.split('=').next());
        assert!(words.iter().all(|word| known(word)), "`{words:?}` is no load: {LOADS:?}");
        let number = |name: &str| {
            let value = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.map(|value| value.parse::<f64>().unwrap())
        };
        let made = before.map(|says| says.now(now));
        let counts = |rate: &str, of: fn(&EngineLoad) -> Option<f64>| {
            number(rate).map(|_| made.as_ref().and_then(of).unwrap_or(0.0))
        };
        let load = EngineLoad {
            running: number("running"),
            waiting: number("waiting"),
            kv_cache: number("kv"),
            prompt_tokens: number("prompt").or(counts("prompts", |load| load.prompt_tokens)),
            generation_tokens: number("tokens").or(counts("rate", |load| load.generation_tokens)),
            requests: counts("ends", |load| load.requests),
            model: None,
            ..EngineLoad::default()
        };
        let rate = |name: &str| number(name).unwrap_or(0.0);
        let callers = match words.iter().find(|word| ["nobody", "unseen"].contains(*word)) {
            Some(&"nobody") => Callers::Nobody,
            Some(_) => Callers::Unseen,
            None => Callers::Each,
        };
        Says { callers, load, rate: rate("rate"), prompts: rate("prompts"), ends: rate("ends"), since: now }
    }

    /// The connections to its port: requests that get tokens get them in streams.
    fn traffic(&self, now: Moment) -> Result<Traffic, String> {
        let load = self.now(now);
        let running = load.running.unwrap_or(0.0) as u32;
        let waits = self.rate <= 0.0;
        match self.callers {
            Callers::Unseen => Err("it is in another network namespace".to_owned()),
            Callers::Nobody => Ok(Traffic { listening: true, ..Traffic::default() }),
            Callers::Each => Ok(Traffic {
                listening: true,
                open: running,
                unanswered: if waits { running } else { 0 },
                longest: if waits && running > 0 { now.since(self.since) } else { Duration::ZERO },
                stalled: 0,
                answered: load.generation_tokens.unwrap_or(0.0) as u64,
            }),
        }
    }

    fn now(&self, now: Moment) -> EngineLoad {
        let seconds = now.since(self.since).as_secs_f64();
        let grown = |count: Option<f64>, rate: f64| count.map(|count| count + (rate * seconds).floor());
        EngineLoad {
            prompt_tokens: grown(self.load.prompt_tokens, self.prompts),
            generation_tokens: grown(self.load.generation_tokens, self.rate),
            requests: grown(self.load.requests, self.ends),
            ..self.load.clone()
        }
    }
}

impl World {
    pub(super) fn look_load(&mut self, id: ActionId, group: usize, index: usize) {
        let engine = &self.groups[group].engines[index];
        if matches!(engine.knob, Knob::Silent | Knob::Frozen) {
            let why = "no answer within 1 s".to_owned();
            return self.later(PATIENCE, Happening::Finish(id, Outcome::Failed { why }));
        }
        // An engine without metrics, where nothing is said: a test may give loads by itself.
        let load = engine.says.as_ref().filter(|_| engine.ready).map(|says| says.now(self.now));
        let engine = self.key(group, index);
        let said = load.map(|load| Observation::Load { engine, load });
        self.answer(id, said.into_iter().collect(), Outcome::Done);
    }

    pub(super) fn look_traffic(&mut self, id: ActionId, group: usize, index: usize) {
        let engine = &self.groups[group].engines[index];
        let traffic = match &engine.says {
            // Whoever is stopped sends nothing, and its clients wait.
            Some(says) if matches!(engine.knob, Knob::Silent | Knob::Frozen) => {
                let open = says.load.running.unwrap_or(0.0) as u32;
                Ok(Traffic { listening: true, open, unanswered: open, ..Traffic::default() })
            }
            Some(says) if engine.ready => says.traffic(self.now),
            // A test may give loads by itself.
            _ => Err("nothing is said of who is connected".to_owned()),
        };
        let engine = self.key(group, index);
        self.answer(id, vec![Observation::Traffic { engine, traffic }], Outcome::Done);
    }

    pub(super) fn look_health(&mut self, id: ActionId, group: usize, index: usize) {
        let (engine, here) = (self.key(group, index), &self.groups[group].engines[index]);
        if here.ready && matches!(here.knob, Knob::Silent | Knob::Frozen) {
            let said = Observation::Health { engine, health: Health::NoAnswer };
            self.later(PATIENCE, Happening::Input(mpswarden_core::decide::Input::Observed(said)));
            return self.later(PATIENCE, Happening::Finish(id, Outcome::Done));
        }
        let health = if here.ready { Health::Ok } else { Health::Refused };
        self.answer(id, vec![Observation::Health { engine, health }], Outcome::Done);
    }

    /// What /proc says of an engine that is stopped or can't die; of others a test tells by itself.
    pub(super) fn usage(&self, group: usize, index: usize) -> Option<Observation> {
        let engine = &self.groups[group].engines[index];
        let state = match engine.knob {
            Knob::Frozen => 'T',
            Knob::Undead => 'D',
            _ => return None,
        };
        let process = self.processes.get(&engine.pid?)?.id;
        let used = ProcessUsage { process, resident: 4096, cpu: Duration::ZERO, state };
        Some(Observation::Usage { engine: self.key(group, index), processes: vec![used] })
    }

    /// The engine's client is from now on a child of its main process.
    pub(super) fn split(&mut self, group: usize, index: usize) {
        let owner = Owner::Engine(self.key(group, index).instance(0));
        let core = self.spawn(group, owner);
        self.processes.remove(&core.pid);
        let here = &mut self.groups[group];
        here.engines[index].core = Some(core);
        here.engines[index].split = true;
        here.engines[index].client = false;
        here.strays.insert(core.pid);
        let server = here.server.as_ref().unwrap().pid;
        self.log(group, ServerLine::Connected { server, client: core.pid });
    }

    /// It ends, and its main process does not notice.
    pub(super) fn core_ends(&mut self, group: usize, index: usize) {
        let here = &mut self.groups[group];
        let Some(core) = here.engines[index].core.take() else { return };
        here.strays.remove(&core.pid);
        let server = here.server.as_ref().map(|server| server.pid);
        if let Some(server) = server {
            self.log(group, ServerLine::Disconnected { server, client: core.pid });
            self.client_left(group, server);
        }
    }

    /// The daemon is of no use for as long as a client's termination hangs.
    pub(super) fn terminate_hangs(&mut self, group: usize, index: usize) {
        if self.groups[group].engines[index].knob == Knob::WedgesInTerminate {
            self.groups[group].wedged = true;
        }
    }
}
