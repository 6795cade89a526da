//! Lets a test say how the readings of the stand-in world differ from its plain ones, and stops its time as a
//! suspended machine does. Without a `Nature` nothing differs.

use std::collections::BTreeMap;
use std::time::Duration;

use mpswarden_core::decide::Input;
use mpswarden_core::model::{Action, ActionId, Look, Member, Observation, Outcome, ProcessId, SentAction};

use super::World;

/// Differences of readings from the plain ones. It is asked at the moment at which they are made.
pub trait Nature {
    /// What a look saw and how it ended, to be changed; gives how long it took.
    fn looked(&mut self, world: &World, look: &Look, seen: &mut Vec<Observation>, outcome: &mut Outcome) -> Duration;

    /// Any observation on its way into the core, to be changed.
    fn sees(&mut self, world: &World, observation: &mut Observation);
}

/// An engine's main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    pub process: ProcessId,
    /// It holds device memory.
    pub on_gpu: bool,
}

impl World {
    /// The engines that have a process.
    pub fn running(&self) -> impl Iterator<Item = (Member, Running)> {
        self.groups.iter().flat_map(|group| {
            group.engines.iter().filter_map(|engine| {
                let process = self.processes.get(&engine.pid?)?.id;
                let on_gpu = engine.client || engine.ready;
                Some((Member::new(&group.domain, &engine.name), Running { process, on_gpu }))
            })
        })
    }

    /// The pid of a group's server.
    pub fn server(&self, group: usize) -> Option<u32> {
        self.groups[group].server.as_ref().map(|server| server.pid)
    }

    /// The whole machine sleeps: every timer and every process goes on later by as much, and the clock is ahead.
    pub fn suspend(&mut self, gap: Duration) {
        let asleep = std::mem::take(&mut self.queue);
        self.queue =
            asleep.into_iter().map(|((at, count), what)| ((at.after(gap), count), what)).collect::<BTreeMap<_, _>>();
        self.now = self.now.after(gap);
        self.tell(Input::Woke);
    }

    pub(super) fn by_nature(&mut self, id: ActionId, seen: &mut Vec<Observation>, outcome: &mut Outcome) -> Duration {
        let Some(mut nature) = self.nature.take() else { return Duration::ZERO };
        let wait = match self.open.get(&id) {
            Some(SentAction { action: Action::Look(look), .. }) => nature.looked(self, look, seen, outcome),
            _ => Duration::ZERO,
        };
        self.nature = Some(nature);
        wait
    }

    pub(super) fn as_nature_has_it(&mut self, mut input: Input) -> Input {
        let Input::Observed(observation) = &mut input else { return input };
        if let Some(mut nature) = self.nature.take() {
            nature.sees(self, observation);
            self.nature = Some(nature);
        }
        input
    }
}
