//! limit_missing: a process of the engine uses the GPU and was started without a limit that is configured, or without
//! this group's pipe directory: a wrapper or a container dropped it. What can't be read is unknown; one that runs
//! outside MPS on purpose has no limits.

use super::Finding;
use crate::decide::facts::GpuFacts;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::reading::READING_FRESH;
use crate::decide::facts::scene::Scene;
use crate::decide::policy::MpsUse;
use crate::model::{Fault, Moment, MpsEnvironment};

pub(super) fn find(engine: &Engine, scene: &Scene, gpu: &GpuFacts, now: Moment) -> Option<Finding> {
    let (settings, at) = engine.instance.limits.settings.last().zip(engine.instance.limits.settings.at())?;
    if !engine.alive() || engine.died.is_some() || engine.instance.mps == MpsUse::Outside {
        return None;
    }
    let reading = gpu.reading.fresh(READING_FRESH, now);
    let uses = |settings: &&MpsEnvironment| scene.uses_the_gpu(settings.process, reading);
    let (settings, missing) =
        settings.iter().filter(uses).find_map(|settings| Some((settings, missing(engine, settings)?)))?;
    let process = settings.process;
    let because = format!(
        "its process {process} uses the GPU and {missing}: whatever starts it (a wrapper script, sudo, a container) must pass \
         the CUDA_MPS_ variables on"
    );
    // One with another pipe directory runs outside MPS: that is a fault of its own, with a restart of its own.
    let acts = settings.own_pipe;
    Some(Finding { acts, ..Finding::of_engine(Fault::LimitMissing, engine, at, because) })
}

/// The settings that a process should have and has not.
fn missing(engine: &Engine, settings: &MpsEnvironment) -> Option<&'static str> {
    let policy = &engine.policy;
    if policy.device_memory_limit.is_some() && !settings.memory_limit {
        Some("was started without CUDA_MPS_PINNED_DEVICE_MEM_LIMIT")
    } else if policy.sm_limited && !settings.thread_percentage {
        Some("was started without CUDA_MPS_ACTIVE_THREAD_PERCENTAGE")
    } else {
        (!settings.own_pipe).then_some("was started with another CUDA_MPS_PIPE_DIRECTORY than its group's")
    }
}
