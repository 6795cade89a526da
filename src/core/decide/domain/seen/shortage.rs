//! Takes in the words of the kernel, of cgroups and of engines that memory ran out.

use crate::decide::domain::state::Domain;
use crate::decide::facts::bytes::gib;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::reading::READING_FRESH;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::shortage::{Victim, Word};
use crate::decide::facts::stage::Stage;
use crate::decide::turn::Turn;
use crate::model::{EngineName, LinePlace, Moment};

impl Scene {
    /// The engine that has, or had a moment ago, a process of that pid.
    pub(crate) fn owner_of(&self, pid: u32) -> Option<&EngineName> {
        self.engines.iter().find(|engine| engine.instance.shortage.knows(pid)).map(Engine::name)
    }

    /// An engine's cgroup says how many the OOM killer took of it.
    pub(crate) fn memory_events(&mut self, name: &EngineName, oom_kills: u64, now: Moment) {
        // Until the new one is there, the count is still the old one's.
        let launched = |engine: &&mut Engine| !matches!(engine.stage, Stage::Launching(_));
        if let Some(engine) = self.engine_mut(name).filter(launched) {
            engine.instance.shortage.counted(oom_kills, now);
            engine.explain_its_end();
        }
    }

    /// An engine's output says that device memory ran out.
    pub(crate) fn ran_out(&mut self, name: &EngineName, place: &LinePlace, turn: &Turn<'_>) {
        let reading = turn.gpu.reading.fresh(READING_FRESH, turn.now);
        let Some(engine) = self.engine_mut(name).filter(|engine| engine.instance.process.id.is_some()) else {
            return;
        };
        let room = reading.and_then(|reading| engine.device_memory_and_end(reading));
        let room = room.map_or_else(
            || "how much it held is not known".to_owned(),
            |(held, end)| format!("it held {} and its end is at {}", gib(held), gib(end)),
        );
        let words = format!("it ran out of device memory ({place}; {room})");
        engine.instance.shortage.allocation_failed(Word { at: turn.now, words });
    }
}

impl Domain {
    /// The kernel log names a process that the OOM killer took.
    pub(crate) fn oom_kill(&mut self, pid: u32, line: &str, turn: &Turn<'_>) {
        let is_client = self.scene.server.clients.last().is_some_and(|clients| clients.contains(&pid));
        let Some(index) = self.scene.owner_of(pid).cloned().and_then(|name| self.index_of(&name)) else { return };
        let engine = &mut self.scene.engines[index];
        // The end of a main process is seen by itself, a moment later.
        let is_client = is_client && engine.instance.process.id.is_none_or(|main| main.pid != pid);
        let victim = if is_client { Victim::Client } else { Victim::Other };
        engine.instance.shortage.process_taken(pid, line, victim, turn.now);
        engine.explain_its_end();
    }
}
