//! What concerns the engines of all domains of a group, and of all groups on one GPU: the kernel probe's windows, who is
//! alone with its work, the gain. How each is computed stands in `overlap`.

use super::Watchdog;
use crate::decide::domain::alone::alone;
use crate::decide::domain::overlap::Weighed;
use crate::decide::domain::state::Domain;
use crate::decide::effects::Effects;
use crate::model::{GroupName, Member, OverlapWindow, ProbeState, Slot};

impl Watchdog {
    /// A window of the kernel probe: of all engines of the group, wherever they run.
    pub(super) fn window_seen(&mut self, name: &GroupName, window: &OverlapWindow) {
        let Some(index) = self.place(name) else { return };
        let group = &mut self.groups[index];
        group.main.overlap.saw(window, self.now);
        for domain in group.domains_mut() {
            for (engine, busy) in &window.busy {
                if let Some(engine) = domain.scene.engine_mut(engine) {
                    engine.sharing.saw(*busy);
                    engine.saw_kernels(*busy, window.sampled, self.now);
                }
            }
        }
    }

    /// An engine's kernel probe changed its state.
    pub(super) fn probe_seen(&mut self, at: &Member, state: ProbeState, why: Option<String>) {
        let Some(index) = self.place(&at.domain.group) else { return };
        let slot = self.groups[index].slot_of(&at.engine);
        let domain = self.groups[index].domain_mut(slot);
        if let Some(engine) = domain.and_then(|domain| domain.scene.engine_mut(&at.engine)) {
            engine.instance.beside.probed(state, why, self.now);
        }
    }

    /// Weighs the sharing, when a load was read, and when engines may have begun or ceased to serve.
    pub(super) fn weigh_sharing(&mut self, index: usize, effects: &mut Effects) {
        self.learn(index, effects);
        if self.groups[index].main.overlap.is_due(self.now) {
            self.weigh(index, effects);
        }
    }

    fn learn(&mut self, index: usize, effects: &mut Effects) {
        let (gpus, now) = (&self.groups[index].main.scene.policy.gpus, self.now);
        let beside = |domain: &&Domain| gpus.iter().any(|gpu| domain.scene.policy.gpus.contains(gpu));
        let alone = alone(self.domains().filter(beside), now);
        for slot in self.groups[index].slots() {
            let Some(domain) = self.groups[index].domain_mut(slot) else { continue };
            let alone = alone.as_ref().filter(|alone| alone.side == domain.number);
            domain.overlap.alone(alone, now);
            if let Some(alone) = alone {
                self.at_domain((index, slot), effects, |domain, turn| domain.learn(alone.sure, turn));
            }
        }
    }

    fn weigh(&mut self, index: usize, effects: &mut Effects) {
        let (group, now) = (&mut self.groups[index], self.now);
        let engines = group.domains().flat_map(|domain| &domain.scene.engines);
        let weighed = Weighed::of(engines, &group.main.scene.policy.overlap, now);
        for domain in group.domains_mut() {
            domain.scene.engines.iter_mut().for_each(|engine| engine.weighed(&weighed, now));
        }
        self.at_domain((index, Slot::Main), effects, |domain, turn| domain.weighed(&weighed, turn));
    }
}
