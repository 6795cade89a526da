//! engine_died: an engine's main process ended, or it did not get ready in its time; until it serves again.
//! An engine that was taken out for another fault keeps that one until then: it is told, and acted on no more.

use super::Finding;
use crate::decide::engine::Engine;
use crate::model::Fault;

pub(super) fn find(engine: &Engine) -> Option<Finding> {
    let died = engine.died.as_ref()?;
    let acts = died.fault == Fault::EngineDied;
    Some(Finding { acts, ..Finding::of_engine(died.fault, engine, died.at, died.because.clone()) })
}
