//! Wires the kernel probes: where they call, whose they are, and which groups have windows of which length.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use crate::act::Executor;
use crate::decide::Policy;
use crate::decide::policy::GroupPolicy;
use crate::model::{GroupName, Report};
use crate::observe::overlap::{Sampler, Timing};

/// A sampler for the engines of this executor.
pub(super) fn sampler(executor: &Executor, reports: UnboundedSender<Report>) -> Sampler {
    let trees = executor.trees();
    Sampler::new(executor.probe_place(), Arc::new(move |pid| trees.owner_of(pid)), reports)
}

/// Timings of the groups in which an engine is probed.
pub(super) fn timings(policy: &Policy) -> BTreeMap<GroupName, Timing> {
    let probed = policy.groups.iter().filter(|group| group.engines.iter().any(|engine| engine.probe));
    let timing = |group: &GroupPolicy| Timing { window: group.overlap.window, period: group.overlap.period };
    probed.map(|group| (group.name.clone(), timing(group))).collect()
}
