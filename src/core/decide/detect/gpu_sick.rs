//! gpu_lost and gpu_reset_needed: what ails the GPU itself, for every group on it. A GPU that is to be drained is told
//! and not acted upon: running work may end. So is what an operator let the group go on over.

use crate::decide::domain::Domain;
use crate::decide::facts::GpuFacts;
use crate::decide::gpu_health::Kind;

use super::Finding;

pub(super) fn find(group: &Domain, gpu: &GpuFacts) -> Option<Finding> {
    let ailment = gpu.health.ailment()?;
    let because = format!("{}: {}", gpu.identity.uuid, ailment.because);
    let acts = ailment.kind != Kind::Draining && !group.excuses(ailment);
    Some(Finding { acts, ..Finding::of_group(ailment.fault(), ailment.since, because) })
}
