//! The order in which engines start: the configuration's, suspects last.
//!
//! One kind of suspicion so far: an engine whose own error came well before any other's (FACTS: after a
//! trap the culprit's comes 14 to 24 ms after it, the others' 110 to 440 ms). Equal times are no evidence.

use std::time::Duration;

use crate::model::EngineName;

use super::engine::Engine;

/// Errors of one fault that come closer together than this accuse nobody.
const WELL_AHEAD: Duration = Duration::from_millis(50);

/// The engine whose error came well before the others', if there is one.
pub(super) fn suspect(engines: &[Engine]) -> Option<EngineName> {
    let mut errors: Vec<_> =
        engines.iter().filter_map(|engine| engine.error.map(|(at, _)| (at, engine.name()))).collect();
    errors.sort_by_key(|(at, _)| *at);
    match errors.as_slice() {
        [(first, name), (second, _), ..] if second.since(*first) >= WELL_AHEAD => Some((*name).clone()),
        _ => None,
    }
}
