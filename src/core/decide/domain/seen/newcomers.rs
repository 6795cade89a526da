//! Notes clients that were killed while busy and processes that wait at the server's door, for newcomers that hang.

use crate::decide::facts::engine::Engine;
use crate::decide::facts::newcomers::Killed;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::stage::Stage;
use crate::model::{Exit, Moment};

impl Scene {
    /// An engine ended: by a signal, or not known to be without work.
    pub(crate) fn note_death(&mut self, index: usize, exit: Exit, now: Moment) {
        let engine = &self.engines[index];
        let clients = self.server.clients.last();
        let was_client = clients.is_some_and(|clients| {
            engine.instance.processes().iter().any(|process| clients.contains(&process.pid))
                || engine.instance.gpu.left.is_some()
        });
        let busy = engine.instance.figures.idle.at(now).is_none();
        if was_client && (matches!(exit, Exit::Signal(_)) || busy) {
            let how = if matches!(exit, Exit::Signal(_)) { "was killed" } else { "ended, perhaps at work," };
            self.departed.killed =
                Killed { server: self.server.pid, last: Some((now, format!("{} {how}", engine.name()))) };
        }
    }

    /// The death that is known of this very server.
    pub(crate) fn killed_in_its_life(&self) -> Option<&(Moment, String)> {
        self.departed
            .killed
            .last
            .as_ref()
            .filter(|_| self.departed.killed.server.is_some() && self.departed.killed.server == self.server.pid)
    }

    /// The kernel showed which of the engines' processes have a connection to the pipe directory.
    pub(crate) fn knocking(&mut self, connected: &[u32], now: Moment) {
        let clients = self.server.clients.last().cloned();
        for engine in &mut self.engines {
            let pids: Vec<u32> = engine.instance.processes().iter().map(|process| process.pid).collect();
            let is_client = clients.as_ref().is_none_or(|clients| pids.iter().any(|pid| clients.contains(pid)));
            let knocks =
                engine.stage == Stage::Starting && !is_client && pids.iter().any(|pid| connected.contains(pid));
            // Over starts that its start_timeout ends: none of them got in.
            let known = engine.knocks.filter(|since| self.server.since.is_some_and(|server| server <= *since));
            engine.knocks = match knocks {
                true => known.or(Some(now)),
                false => known.filter(|_| !is_client && engine.stage != Stage::Serving),
            };
        }
    }

    /// Whether it is to be asked who has a connection.
    pub(crate) fn asks_who_knocks(&self) -> bool {
        let clients = self.server.clients.last();
        let outside = |engine: &Engine| {
            let mut pids = engine.instance.processes().into_iter().map(|process| process.pid);
            engine.stage == Stage::Starting && !pids.any(|pid| clients.is_some_and(|clients| clients.contains(&pid)))
        };
        self.killed_in_its_life().is_some() && self.engines.iter().any(outside)
    }
}
