//! What concerns the engines of both sides of a group, and of all groups on one GPU: the kernel probe's windows, who is
//! alone with its work, the gain. How each is computed stands in `overlap`.

use crate::decide::effects::Effects;
use crate::decide::overlap::{Weighed, alone};
use crate::model::{GroupName, Member, OverlapWindow, ProbeState};

use super::Watchdog;

impl Watchdog {
    /// A window of the kernel probe: of all engines of the group, wherever they run.
    pub(super) fn window_seen(&mut self, name: &GroupName, window: &OverlapWindow) {
        let Some(home) = self.main_of(name) else { return };
        self.groups[home].overlap.saw(window, self.now);
        for side in self.sides(name) {
            for (engine, busy) in &window.busy {
                if let Some(engine) = self.groups[side].engine_mut(engine) {
                    engine.sharing.saw(*busy);
                    engine.saw_kernels(*busy, window.sampled, self.now);
                }
            }
        }
    }

    /// An engine's kernel probe changed its state.
    pub(super) fn probe_seen(&mut self, at: &Member, state: ProbeState, why: Option<String>) {
        let side = self.side_of(&at.domain.group, &at.engine);
        let engine = side.and_then(|side| self.groups[side].engine_mut(&at.engine));
        if let Some(engine) = engine {
            engine.instance.beside.probed(state, why, self.now);
        }
    }

    /// To be called when a load was read, and when engines may have begun or ceased to serve.
    pub(super) fn weigh_sharing(&mut self, name: &GroupName, effects: &mut Effects) {
        let Some(home) = self.main_of(name) else { return };
        self.learn(home, effects);
        if self.groups[home].overlap.is_due(self.now) {
            self.weigh(home, effects);
        }
    }

    fn learn(&mut self, home: usize, effects: &mut Effects) {
        let gpu = &self.groups[home].policy.gpu;
        let alone = alone(self.groups.iter().filter(|group| group.policy.gpu == *gpu), self.now);
        for side in std::iter::once(home).chain(self.apart_of(home)) {
            let alone = alone.as_ref().filter(|alone| alone.side == self.groups[side].number);
            self.groups[side].overlap.alone(alone, self.now);
            if let Some(alone) = alone {
                self.at(side, effects, |side, turn| side.learn(alone.sure, turn));
            }
        }
    }

    fn weigh(&mut self, home: usize, effects: &mut Effects) {
        let sides: Vec<usize> = std::iter::once(home).chain(self.apart_of(home)).collect();
        let engines = sides.iter().flat_map(|side| &self.groups[*side].engines);
        let weighed = Weighed::of(engines, &self.groups[home].policy.overlap, self.now);
        for side in sides {
            self.groups[side].engines.iter_mut().for_each(|engine| engine.weighed(&weighed, self.now));
        }
        self.at(home, effects, |home, turn| home.weighed(&weighed, turn));
    }
}
