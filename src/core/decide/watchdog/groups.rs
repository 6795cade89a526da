//! The groups that there are: they come and go with the configuration. What one of them does is not decided here.

use std::collections::BTreeSet;

use super::Watchdog;
use crate::decide::PolicyChange;
use crate::decide::domain::state::Domain;
use crate::decide::effects::Effects;
use crate::decide::facts::GpuFacts;
use crate::decide::group::Group;
use crate::decide::policy::GroupPolicy;
use crate::decide::remembered::GroupMemory;
use crate::model::{GpuIdentity, GpuUuid, GroupName};

impl Watchdog {
    /// Applies a changed configuration, unless the watchdog is to end.
    pub(super) fn policy_changed(&mut self, change: PolicyChange, effects: &mut Effects) {
        if self.ending {
            return;
        }
        let PolicyChange { policy, rolls } = change;
        for identity in policy.gpus {
            self.know(identity);
        }
        for group in &policy.groups {
            self.follow_to_its_gpu(group);
        }
        let names: Vec<GroupName> = policy.groups.iter().map(|group| group.name.clone()).collect();
        for group in policy.groups {
            let name = group.name.clone();
            match self.place(&name) {
                None => self.add(group.clone(), GroupMemory::default(), None),
                Some(index) => self.groups[index].come_back(&group, &mut self.numbers),
            }
            if let Some(index) = self.place(&name) {
                self.at(index, effects, |known, context| known.change(&group, &rolls, context));
            }
        }
        self.each_group(effects, |group, context| {
            if !names.contains(&group.name) {
                group.leave(context);
            }
        });
        self.groups.sort_by_key(|group| names.iter().position(|name| *name == group.name).unwrap_or(usize::MAX));
        self.shared = shared(&self.groups);
    }

    /// What stays the same of a GPU is learnt once: of one that NVML had not shown, when it does.
    fn know(&mut self, identity: GpuIdentity) {
        let uuid = identity.uuid.clone();
        match self.gpus.get_mut(&uuid) {
            Some(known) if known.identity.absent && !identity.absent => known.identity = identity,
            // It may have been loaded anew, while every group was stopped.
            Some(known) => {
                known.identity.driver_version = identity.driver_version.or(known.identity.driver_version.take())
            }
            None => {
                self.gpus.insert(uuid, GpuFacts::new(identity));
            }
        }
    }

    /// A group whose GPU was named by an index that NVML did not show learns which GPU that is. It has no process.
    fn follow_to_its_gpu(&mut self, policy: &GroupPolicy) {
        let absent = |uuid: &GpuUuid| self.gpus.get(uuid).is_some_and(|gpu| gpu.identity.absent);
        let moves = |domain: &&mut Domain| {
            domain.scene.id.group == policy.name
                && domain.scene.policy.gpus != policy.gpus
                && domain.scene.policy.gpus.iter().any(absent)
        };
        for domain in self.groups.iter_mut().flat_map(Group::domains_mut).filter(moves) {
            domain.scene.policy.gpus = policy.gpus.clone();
            domain.stir();
        }
        let groups = &self.groups;
        self.gpus.retain(|uuid, gpu| {
            !gpu.identity.absent
                || groups.iter().any(|group| group.main.scene.policy.gpus.contains(uuid))
                || policy.gpus.contains(uuid)
        });
    }

    /// One group more, with what is remembered of it and of its second domain.
    pub(super) fn add(&mut self, policy: GroupPolicy, remembered: GroupMemory, second: Option<GroupMemory>) {
        let group = Group::new(policy, remembered, second, &mut self.numbers);
        self.groups.push(group);
    }

    /// Forgets groups that have left the configuration and are stopped, with GPUs that no group uses any more.
    pub(super) fn forget_groups(&mut self, effects: &mut Effects) {
        let mut gone = self.groups.iter_mut().map(Group::forget_second).filter(|gone| *gone).count();
        let known = self.groups.len();
        self.groups.retain(|group| !(group.main.is_forgotten() && group.second.is_none()));
        gone += known - self.groups.len();
        if gone == 0 {
            return;
        }
        let (groups, gpus) = (&self.groups, &mut self.gpus);
        gpus.retain(|uuid, _| groups.iter().any(|group| group.main.scene.policy.gpus.contains(uuid)));
        self.looks.keep(&self.groups.iter().flat_map(Group::domains).map(|domain| domain.scene.id.clone()).collect());
        self.shared = shared(&self.groups);
        effects.save();
    }
}

/// GPUs that more than one group uses.
pub(super) fn shared(groups: &[Group]) -> BTreeSet<GpuUuid> {
    let mut seen = BTreeSet::new();
    let used = groups.iter().flat_map(|group| group.main.scene.policy.gpus.iter());
    used.filter(|gpu| !seen.insert(*gpu)).cloned().collect()
}
