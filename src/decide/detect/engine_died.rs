//! engine_died: an engine's main process ended, or it did not get ready in its time; until it serves again.

use crate::decide::engine::Engine;
use crate::model::Fault;

use super::Finding;

pub(super) fn find(engine: &Engine) -> Option<Finding> {
    let died = engine.died.as_ref()?;
    Some(Finding {
        fault: Fault::EngineDied,
        engine: Some(engine.name().clone()),
        evidence_at: died.at,
        because: died.because.clone(),
    })
}
