//! engine_died: an engine's main process ended, or it did not get ready in its time; until it serves again. What ended it
//! may give it another name (host_oom, device_oom, evicted). An engine that was taken out for another fault keeps that
//! one until then: it is reported, and acted on no more.

use super::Finding;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::{GpuFacts, ServerFacts};
use crate::model::{Fault, Moment};

/// The death that was acted on, or that may not be acted on, while the engine has not served since.
pub(super) fn find(engine: &Engine) -> Option<Finding> {
    // A fault of its group that took it along is found there.
    let died = engine.died.as_ref().filter(|died| died.fault != Fault::GpuFault)?;
    let acts = died.fault == Fault::EngineDied;
    Some(Finding { acts, ..Finding::of_engine(died.fault, engine, died.at, died.because.clone()) })
}

/// A death that nothing was done about yet.
pub(super) fn find_new(engine: &Engine, server: &ServerFacts, gpu: &GpuFacts, now: Moment) -> Option<Finding> {
    let died = engine.death(server, &gpu.reading, now)?;
    Some(Finding::of_engine(died.fault, engine, died.at, died.because))
}
