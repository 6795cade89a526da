//! gpu_lost and gpu_reset_needed: what is wrong with the GPU itself, for every group on it. A GPU that is to be drained
//! is reported and not acted upon: running work may end.

use super::Finding;
use crate::decide::facts::GpuFacts;
use crate::decide::facts::gpu_health::Kind;

pub(super) fn find(gpu: &GpuFacts) -> Option<Finding> {
    let ailment = gpu.health.ailment()?;
    let because = format!("{}: {}", gpu.identity.uuid, ailment.because);
    let acts = ailment.kind != Kind::Draining;
    Some(Finding { acts, ..Finding::of_group(ailment.fault(), ailment.since, because) })
}
