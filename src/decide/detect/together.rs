//! Engines that lost their contexts together, by the errors in their outputs: evidence of gpu_fault or of
//! server_died that needs neither the server's log nor its word.

use std::time::Duration;

use crate::decide::engine::Stage;
use crate::decide::group::Group;
use crate::model::Moment;

/// Two engines whose contexts die within this time died of one fault.
const TOGETHER: Duration = Duration::from_secs(2);

/// CUDA errors that mean that the server or its daemon is gone, not that a kernel went wrong.
pub(super) fn is_of_a_lost_server(code: u32) -> bool {
    matches!(code, 805..=807)
}

/// When the second of two engines lost its context close to the first, both with an error of that kind.
pub(super) fn lost_together(group: &Group, of_kind: impl Fn(u32) -> bool) -> Option<(Moment, String)> {
    let mut errors: Vec<(Moment, u32, &str)> = group
        .engines
        .iter()
        .filter(|engine| !engine.outside)
        .filter(|engine| engine.alive() || engine.stage == Stage::Fallen)
        .filter_map(|engine| engine.error.map(|(at, code)| (at, code, engine.name().as_str())))
        .filter(|(_, code, _)| of_kind(*code))
        .collect();
    errors.sort();
    let pair = errors.windows(2).find(|pair| pair[1].0.since(pair[0].0) <= TOGETHER)?;
    let because = format!(
        "engines {} and {} lost their contexts together (CUDA errors {} and {})",
        pair[0].2, pair[1].2, pair[0].1, pair[1].1
    );
    Some((pair[1].0, because))
}
