//! The groups that there are: they come and go with the configuration. What one of them does is not decided here.

use std::collections::BTreeSet;

use crate::decide::PolicyChange;
use crate::decide::domain::Domain;
use crate::decide::effects::Effects;
use crate::decide::facts::GpuFacts;
use crate::decide::orders::DomainNumber;
use crate::decide::policy::GroupPolicy;
use crate::decide::remembered::GroupMemory;
use crate::model::{DomainId, EngineKey, EngineName, GpuIdentity, GpuUuid, GroupName};

use super::Watchdog;

impl Watchdog {
    /// A changed configuration, while nobody ends it all.
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
            if !self.groups.iter().any(|known| known.policy.name == name) {
                self.add(group.clone(), GroupMemory::default(), None);
            }
            // Through `one_domain` and `each_group`, so that every group is stepped in this same turn.
            self.change(&name, &group, &rolls, effects);
        }
        let gone = |group: &Domain| !names.contains(&group.id.group);
        self.each_group(effects, |group, turn| {
            if gone(group) {
                group.leave(turn)
            }
        });
        self.groups.sort_by_key(|group| names.iter().position(|name| *name == group.id.group).unwrap_or(usize::MAX));
        self.shared = shared(&self.groups);
    }

    /// What stays the same of a GPU is learnt once: of one that NVML had not shown, when it does.
    fn know(&mut self, identity: GpuIdentity) {
        let uuid = identity.uuid.clone();
        match self.gpus.get_mut(&uuid) {
            Some(known) if known.identity.absent && !identity.absent => known.identity = identity,
            Some(_) => {}
            None => {
                self.gpus.insert(uuid, GpuFacts::new(identity));
            }
        }
    }

    /// A group whose GPU was named by an index that NVML did not show learns which GPU that is. It has no process.
    fn follow_to_its_gpu(&mut self, policy: &GroupPolicy) {
        let absent = |uuid: &GpuUuid| self.gpus.get(uuid).is_some_and(|gpu| gpu.identity.absent);
        let moves = |group: &&mut Domain| {
            group.id.group == policy.name && group.policy.gpu != policy.gpu && absent(&group.policy.gpu)
        };
        let moving: Vec<&mut Domain> = self.groups.iter_mut().filter(moves).collect();
        for group in moving {
            group.policy.gpu = policy.gpu.clone();
            group.stir();
        }
        let groups = &self.groups;
        self.gpus.retain(|uuid, gpu| {
            !gpu.identity.absent || groups.iter().any(|group| group.policy.gpu == *uuid) || policy.gpu == *uuid
        });
    }

    /// Both sides of a group take up its changed policy, each for the engines that it has; new ones are the first's.
    fn change(&mut self, name: &GroupName, policy: &GroupPolicy, rolls: &BTreeSet<EngineKey>, effects: &mut Effects) {
        let Some(home) = self.main_of(name) else { return };
        let apart = self.apart_of(home);
        let over_there = apart.map_or_else(Vec::new, |apart| self.groups[apart].names());
        self.one_domain(home, effects, |known, turn| known.change(policy.clone(), rolls, &over_there, turn));
        let Some(apart) = apart else { return };
        let all = policy.engines.iter().map(|engine| engine.name.clone());
        let elsewhere: Vec<EngineName> = all.filter(|name| !self.groups[apart].names().contains(name)).collect();
        self.one_domain(apart, effects, |known, turn| known.change(policy.clone(), rolls, &elsewhere, turn));
    }

    /// One group more, with what is remembered of it and of its second side.
    pub(super) fn add(&mut self, policy: GroupPolicy, mut remembered: GroupMemory, apart: Option<GroupMemory>) {
        if let Some(apart) = &apart {
            remembered.engines.extend(apart.engines.clone());
        }
        let group = self.new_domain(DomainId::main(&policy.name), policy, remembered);
        self.groups.push(group);
        if let Some(apart) = apart {
            self.add_second_side(self.groups.len() - 1, apart);
        }
    }

    pub(super) fn new_domain(&mut self, id: DomainId, policy: GroupPolicy, remembered: GroupMemory) -> Domain {
        let number = self.next_number;
        self.next_number = DomainNumber(number.0 + 1);
        Domain::new(number, id, policy, remembered, self.seed.wrapping_add(number.0))
    }

    /// Forgets groups that have left the configuration and are stopped, with GPUs that nobody uses any more.
    pub(super) fn forget_groups(&mut self, effects: &mut Effects) {
        let homes: BTreeSet<GroupName> =
            self.groups.iter().filter(|group| !group.is_apart()).map(|group| group.id.group.clone()).collect();
        // Engines of a second side go back to the first before it is forgotten.
        let waits = |group: &Domain| group.is_apart() && !group.engines.is_empty() && homes.contains(&group.id.group);
        let goes = |group: &Domain| group.is_forgotten() && !waits(group);
        if !self.groups.iter().any(goes) {
            return;
        }
        self.groups.retain(|group| !goes(group));
        let (groups, gpus) = (&self.groups, &mut self.gpus);
        gpus.retain(|uuid, _| groups.iter().any(|group| group.policy.gpu == *uuid));
        self.looks.keep(&self.groups.iter().map(|group| group.id.clone()).collect());
        self.shared = shared(&self.groups);
        effects.save();
    }
}

/// GPUs that more than one group uses.
pub(super) fn shared(groups: &[Domain]) -> BTreeSet<GpuUuid> {
    let mut seen = BTreeSet::new();
    groups.iter().map(|group| &group.policy.gpu).filter(|gpu| !seen.insert(*gpu)).cloned().collect()
}
