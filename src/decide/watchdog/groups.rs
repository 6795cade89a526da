//! The groups that there are: they come and go with the configuration. What one of them does is not decided here.

use std::collections::BTreeSet;

use crate::decide::facts::GpuFacts;
use crate::decide::group::Group;
use crate::decide::orders::GroupId;
use crate::decide::policy::GroupPolicy;
use crate::decide::remembered::GroupMemory;
use crate::decide::{Decision, PolicyChange};
use crate::model::{GpuUuid, GroupName};

use super::Watchdog;

impl Watchdog {
    /// A changed configuration, while nobody ends it all.
    pub(super) fn policy_changed(&mut self, change: PolicyChange, decision: &mut Decision, save: &mut bool) {
        if self.ending {
            return;
        }
        let PolicyChange { policy, rolls } = change;
        for identity in policy.gpus {
            let uuid = identity.uuid.clone();
            self.gpus.entry(uuid).or_insert_with(|| GpuFacts::new(identity));
        }
        let names: Vec<GroupName> = policy.groups.iter().map(|group| group.name.clone()).collect();
        for group in policy.groups {
            let name = group.name.clone();
            if !self.groups.iter().any(|known| known.policy.name == name) {
                self.add(group.clone(), GroupMemory::default());
            }
            // Through `one_group` and `each_group`, so that every group is stepped in this same turn.
            self.one_group(&name, decision, save, |known, turn| known.change(group, &rolls, turn));
        }
        let gone = |group: &Group| !names.contains(&group.policy.name);
        self.each_group(decision, save, |group, turn| {
            if gone(group) {
                group.leave(turn)
            }
        });
        self.groups.sort_by_key(|group| names.iter().position(|name| *name == group.policy.name).unwrap_or(usize::MAX));
        self.shared = shared(&self.groups);
    }

    /// One group more, with what is remembered of it.
    pub(super) fn add(&mut self, group: GroupPolicy, remembered: GroupMemory) {
        let id = self.next_group;
        self.next_group = GroupId(id.0 + 1);
        self.groups.push(Group::new(id, group, remembered, self.seed.wrapping_add(id.0)));
    }

    /// Forgets groups that have left the configuration and are stopped, with GPUs that nobody uses any more.
    pub(super) fn forget_groups(&mut self, save: &mut bool) {
        if !self.groups.iter().any(Group::is_forgotten) {
            return;
        }
        self.groups.retain(|group| !group.is_forgotten());
        let (groups, gpus) = (&self.groups, &mut self.gpus);
        gpus.retain(|uuid, _| groups.iter().any(|group| group.policy.gpu == *uuid));
        self.looks.keep(&self.groups.iter().map(|group| group.policy.name.clone()).collect());
        self.shared = shared(&self.groups);
        *save = true;
    }
}

/// GPUs that more than one group uses.
pub(super) fn shared(groups: &[Group]) -> BTreeSet<GpuUuid> {
    let mut seen = BTreeSet::new();
    groups.iter().map(|group| &group.policy.gpu).filter(|gpu| !seen.insert(*gpu)).cloned().collect()
}
