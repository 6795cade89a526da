//! The order in which engines start: the configuration's, suspects last.
//!
//! One kind of suspicion so far: an engine whose own error came well before any other's (FACTS: after a
//! trap the culprit's comes 14 to 24 ms after it, the others' 110 to 440 ms). Equal times are no evidence.

use std::time::Duration;

use super::engine::Engine;

/// Errors of one fault that come closer together than this accuse nobody.
const WELL_AHEAD: Duration = Duration::from_millis(50);

/// The place of the engine whose error came well before the others', if there is one.
pub(super) fn suspect(engines: &[Engine]) -> Option<usize> {
    let mut errors: Vec<_> =
        engines.iter().enumerate().filter_map(|(place, engine)| engine.error.map(|(at, _)| (at, place))).collect();
    errors.sort();
    match errors.as_slice() {
        [(first, place), (second, _), ..] if second.since(*first) >= WELL_AHEAD => Some(*place),
        _ => None,
    }
}
