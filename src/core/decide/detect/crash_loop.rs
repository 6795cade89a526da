//! crash_loop: an engine failed as often as its budget allows and was given up, which is remembered. One that an
//! operator took out for good is no fault.

use super::Finding;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::remembered::Rest;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::stage::Stage;
use crate::model::{Fault, Moment};

pub(super) fn find(engine: &Engine, scene: &Scene, now: Moment) -> Option<Finding> {
    if engine.stage != Stage::Quarantined || engine.wanted.rest != Some(Rest::CrashLoop) {
        return None;
    }
    let window = scene.policy.recovery.budget_window;
    let failures = engine.failures.within(window, now);
    let last = engine.failures.moments().last().copied().unwrap_or(now);
    let because = format!("it failed {failures} times within {} s", window.as_secs());
    Some(Finding::of_engine(Fault::CrashLoop, engine, last, because))
}
