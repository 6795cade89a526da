//! What is learnt of GPUs, and which groups it concerns.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::Watchdog;
use crate::decide::domain::seen::foreign::beside;
use crate::decide::domain::state::Domain;
use crate::decide::effects::Effects;
use crate::decide::facts::GpuFacts;
use crate::decide::facts::gpu_health::GpuHealth;
use crate::decide::facts::reading::Reading;
use crate::decide::group::Group;
use crate::model::gpu::RecoveryAction;
use crate::model::{GpuReading, GpuSet, GpuUuid, Look, Moment, What};

impl Watchdog {
    pub(super) fn gpu_read(&mut self, gpu: &GpuUuid, reading: GpuReading) {
        let Some(facts) = self.gpus.get_mut(gpu) else { return };
        // A reading from before an Xid says nothing about what it came to.
        let asked = self.looks.sent(&Look::Gpu(gpu.clone())).unwrap_or_default();
        facts.health.read(reading.recovery_action, asked, self.now);
        facts.saw(Reading::from(reading), self.now);
        let sets: BTreeSet<GpuSet> = self.domains().map(|domain| domain.scene.policy.gpus.clone()).collect();
        for set in sets.into_iter().filter(|set| set.contains(gpu)) {
            self.set_read(&set);
        }
    }

    /// One of these GPUs was read: it concerns the groups that have exactly them.
    fn set_read(&mut self, set: &GpuSet) {
        let Some(facts) = of(&self.gpus, set) else { return };
        let Some(reading) = facts.reading.last() else { return };
        let all: Vec<&Domain> = self.groups.iter().flat_map(Group::domains).collect();
        let touches = |domain: &&Domain| set.iter().any(|gpu| domain.scene.policy.gpus.contains(gpu));
        let on_them: Vec<&Domain> = all.iter().copied().filter(touches).collect();
        let beside = beside(reading, &on_them, &all, self.now);
        let has_them = |domain: &&mut Domain| domain.scene.policy.gpus == *set;
        for group in self.groups.iter_mut().flat_map(Group::domains_mut).filter(has_them) {
            group.scene.gpu_read(reading);
            if let Some(clients) = group.scene.server.clients.last() {
                group.scene.around.spread.read(&facts, clients, self.now);
            }
            group.scene.sample_memory(reading, self.now);
            if let Some(beside) = &beside {
                group.scene.around.foreign.saw(beside, self.now);
                group.scene.forget_strangers();
            }
            group.scene.note_limits(&facts, self.now);
            group.stir();
        }
    }

    /// What the driver wants and nothing is held for, as soon as it wants it: a person must hear of it.
    pub(super) fn tell_what_the_driver_wants(
        &mut self,
        gpu: &GpuUuid,
        action: Option<RecoveryAction>,
        effects: &mut Effects,
    ) {
        let Some(facts) = self.gpus.get_mut(gpu) else { return };
        let Some(action) = action.filter(|action| *action != RecoveryAction::Unknown) else { return };
        let emitted = facts.emitted_action.replace(action);
        if action.is_only_reported() && emitted != Some(action) {
            let what = What::DriverWants { gpu: gpu.clone(), action };
            effects.emit(None, None, what);
        }
    }

    /// Something changes what is known of a GPU's own health: it concerns every group on it.
    pub(super) fn gpu_health(&mut self, gpu: &GpuUuid, learn: impl FnOnce(&mut GpuHealth, Moment)) {
        let Some(facts) = self.gpus.get_mut(gpu) else { return };
        learn(&mut facts.health, self.now);
        self.domains_mut().filter(|domain| domain.scene.policy.gpus.contains(gpu)).for_each(Domain::stir);
    }

    /// GPUs whose driver was to say what it wants and did not.
    pub(super) fn wait_for_drivers(&mut self) {
        let (now, groups) = (self.now, &mut self.groups);
        for (uuid, gpu) in &mut self.gpus {
            if gpu.health.waited(now) {
                groups
                    .iter_mut()
                    .flat_map(Group::domains_mut)
                    .filter(|domain| domain.scene.policy.gpus.contains(uuid))
                    .for_each(Domain::stir);
            }
        }
    }
}

/// What is known of a group's GPUs, several of them as one; `None`: one of them is not known here.
pub(super) fn of<'a>(gpus: &'a BTreeMap<GpuUuid, GpuFacts>, set: &GpuSet) -> Option<Cow<'a, GpuFacts>> {
    if !set.are_several() {
        return gpus.get(set.first()).map(Cow::Borrowed);
    }
    let parts: Option<Vec<&GpuFacts>> = set.iter().map(|gpu| gpus.get(gpu)).collect();
    GpuFacts::joined(&parts?).map(Cow::Owned)
}
