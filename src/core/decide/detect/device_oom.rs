//! device_oom of an engine that lives on: its output says that device memory ran out, and NVML showed it at its limit.
//! It is reported for a minute. Without NVML's word it is a word. An engine that ends by it is found by `engine_died`,
//! under the same name, and here until that is clear: it is one fault.

use super::Finding;
use crate::decide::facts::engine::Engine;
use crate::model::{Fault, Moment};

pub(super) fn find(engine: &Engine, now: Moment) -> Option<Finding> {
    let word =
        engine.instance.shortage.short_of_device_memory(now).filter(|_| engine.alive() && engine.died.is_none())?;
    Some(Finding { acts: false, ..Finding::of_engine(Fault::DeviceOom, engine, word.at, word.words.clone()) })
}
