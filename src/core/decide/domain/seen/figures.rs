//! Takes in the figures that are read of a domain's engines.

use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::engine::figures::active_level;
use crate::decide::facts::reading::Reading;
use crate::decide::facts::scene::Scene;
use crate::model::{EngineLoad, EngineName, Health, Moment, ProcessUsage, Traffic};

impl Scene {
    /// The connections to an engine's port.
    pub(crate) fn traffic(&mut self, name: &EngineName, traffic: Result<Traffic, String>, now: Moment) {
        let Some(engine) = self.engine_mut(name) else { return };
        if engine.alive() {
            let running = engine.instance.figures.running();
            engine.instance.progress.passage.saw(traffic, running, engine.gap(), now);
        }
    }

    /// An engine was asked for a token.
    pub(crate) fn token(&mut self, name: &EngineName, answer: Health, now: Moment) {
        let Some(engine) = self.engine_mut(name) else { return };
        let gap = engine.gap() + engine.policy.hang_after;
        if engine.alive() {
            engine.instance.progress.asked_token.probed(answer, gap, now);
        }
    }

    /// Samples what each engine holds, where it is time to.
    pub(crate) fn sample_memory(&mut self, reading: &Reading, now: Moment) {
        let due =
            |engine: &&mut Engine| engine.alive() && engine.instance.figures.memory.due(engine.policy.leak_after, now);
        for engine in self.engines.iter_mut().filter(due) {
            if let Some(held) = engine.device_memory(Some(reading)) {
                let (work, after) = (engine.work(now), engine.policy.leak_after);
                engine.instance.figures.memory.sample(held, work, after, now);
            }
        }
    }
}

impl Domain {
    /// What an engine says of its load.
    pub(crate) fn load(&mut self, name: &EngineName, load: EngineLoad, now: Moment) {
        let Some(engine) = self.scene.engine_mut(name) else { return };
        if engine.stage.has_served() || engine.drains() {
            let empty = engine.instance.progress.passage.empty(now);
            let load = load.borne_out(engine.instance.figures.load.last(), empty);
            engine.instance.progress.tokens.saw(&load, engine.gap(), now);
            engine.instance.progress.answers.heard(now);
            if engine.may_be_idle(&load) {
                engine.instance.figures.idle.saw(&load, now);
            } else {
                engine.instance.figures.idle.interrupted();
            }
            engine.instance.beside.read(&load, now);
            engine.instance.figures.load.saw(load, now);
            self.count_active_time(now);
        }
    }

    /// What an engine's processes use.
    pub(crate) fn usage(&mut self, name: &EngineName, processes: &[ProcessUsage], now: Moment) {
        let Some(engine) = self.scene.engine_mut(name) else { return };
        engine.usage.saw(processes);
        engine
            .instance
            .figures
            .held
            .saw(processes.iter().fold(0u64, |sum, process| sum.saturating_add(process.resident)), now);
        let frozen = |process: &&ProcessUsage| matches!(process.state, 'T' | 't' | 'D');
        engine.instance.figures.frozen = processes.iter().filter(frozen).map(|p| (p.process, p.state)).collect();
        let after = engine.policy.leak_after;
        let resident =
            engine.resident_memory(now).filter(|_| engine.instance.figures.resident.due(after, now) && engine.alive());
        if let Some(resident) = resident {
            let work = engine.work(now);
            engine.instance.figures.resident.sample(resident, work, after, now);
            if engine.instance.figures.resident.unexplained().is_some() {
                self.stir();
            }
        }
    }

    /// Counts the time since the last count, by the engines that had requests. To be called when a load was
    /// read and when an engine may have begun or ceased to serve.
    pub(crate) fn count_active_time(&mut self, now: Moment) {
        self.active.goes_on(active_level(self.scene.engines.iter(), now), now);
    }
}
