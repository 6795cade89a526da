//! When a domain is to be stepped again, and whether a fact can change what is decided.

use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::pulse::Pulse;
use crate::decide::facts::stage::Stage;
use crate::decide::goal::Next;
use crate::model::{Fault, Health, Moment, Observation};

impl Domain {
    /// The group is to be stepped in this turn.
    pub(crate) fn stir(&mut self) {
        self.pulse.stirred = true;
    }

    /// A look at it is due or ended: while something is not well, even that may be what it waits for.
    pub(crate) fn stir_unless_calm(&mut self) {
        self.pulse.stirred |= !self.pulse.calm;
    }

    /// Whether it is to be stepped in this turn.
    pub(crate) fn is_stirred(&self, now: Moment) -> bool {
        self.pulse.stirred || self.pulse.due.is_some_and(|due| due <= now)
    }

    /// Notes that it was stepped. `own`: when time alone may change something of its group.
    pub(crate) fn stepped(&mut self, own: Option<Moment>, now: Moment) {
        let due = self.next_deadline(now).into_iter().chain(own.filter(|at| *at > now)).min();
        self.pulse = Pulse { stirred: false, due, calm: self.is_calm() };
    }

    /// Whether a fact can change what is decided. Figures that are only reported never can; while all is well, neither
    /// can a good answer of an engine that serves nor a tree that is as it was.
    pub(crate) fn is_news(&self, observation: &Observation, now: Moment) -> bool {
        match observation {
            Observation::Usage { .. } | Observation::HostMemory { .. } => false,
            Observation::Overlap { .. } | Observation::Probe { .. } => false,
            Observation::Load { engine, .. } => {
                self.scene.engine(&engine.engine).is_some_and(|it| self.load_counts(it, now))
            }
            Observation::MemoryEvents { engine, oom_kills } => {
                let news = |engine: &Engine| {
                    engine.instance.process.ended.is_some() || engine.instance.shortage.is_news(*oom_kills)
                };
                self.scene.engine(&engine.engine).is_some_and(news)
            }
            Observation::Health { engine, health: Health::Ok } => {
                let serves = |engine: &Engine| engine.stage == Stage::Serving;
                !self.pulse.calm || !self.scene.engine(&engine.engine).is_some_and(serves)
            }
            Observation::Tree { engine, processes } => {
                let same = |engine: &Engine| engine.instance.tree.all.last() == Some(processes);
                !self.pulse.calm || !self.scene.engine(&engine.engine).is_some_and(same)
            }
            Observation::Gpu { .. }
            | Observation::GpuLost { .. }
            | Observation::GpuResetNeeded { .. }
            | Observation::RecoveryAction { .. }
            | Observation::Xid { .. }
            | Observation::Log { .. }
            | Observation::ServerSaid { .. }
            | Observation::Pipe { .. }
            | Observation::ControlReply { .. }
            | Observation::Server { .. }
            | Observation::Clients { .. }
            | Observation::Ended { .. }
            | Observation::Removed { .. }
            | Observation::Claimed { .. }
            | Observation::CommandLines { .. }
            | Observation::Health { .. }
            | Observation::Said { .. }
            | Observation::Traffic { .. }
            | Observation::Token { .. }
            | Observation::OomKill { .. }
            | Observation::Environment { .. }
            | Observation::Heard { .. }
            | Observation::Blind { .. } => true,
        }
    }

    /// Whether an engine's load can change something: it may be found hung now, or well again, or drained.
    fn load_counts(&self, engine: &Engine, now: Moment) -> bool {
        let told = |fault| self.scene.faults.contains_key(&(Some(engine.name().clone()), fault));
        engine.drains() || engine.watched(now) || told(Fault::Hang) || told(Fault::Starved)
    }

    /// Whether nothing about an engine changes by time alone, nor by an answer that says what was known.
    fn is_steady(&self, engine: &Engine) -> bool {
        let whole = match engine.stage {
            Stage::Serving => !engine.seems_detached() && engine.instance.gpu.processes.gone().is_none(),
            Stage::Stopped | Stage::Quarantined | Stage::Left => true,
            Stage::Down { .. }
            | Stage::Launching(_)
            | Stage::Starting
            | Stage::Failing
            | Stage::Ending(_)
            | Stage::Fallen => false,
        };
        whole && self.next(engine) == Next::Nothing
    }

    fn is_calm(&self) -> bool {
        matches!(self.phase, Phase::Running(None))
            && self.asked.server.is_none()
            && self.rolling.is_none()
            && self.scene.control.silent == 0
            && self.scene.engines.iter().all(|engine| self.is_steady(engine))
    }
}
