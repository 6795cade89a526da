//! device_oom of an engine that lives on: its output says that device memory ran out. It is told for a minute. An
//! engine that ends by it is found by `engine_died`, under the same name.

use crate::decide::engine::Engine;
use crate::decide::shortage::SOON;
use crate::model::{Fault, Moment};

use super::Finding;

pub(super) fn find(engine: &Engine, now: Moment) -> Option<Finding> {
    let word = engine.shortage.device.as_ref()?;
    if !engine.alive() || engine.died.is_some() || now.since(word.at) >= SOON {
        return None;
    }
    Some(Finding { acts: false, ..Finding::of_engine(Fault::DeviceOom, engine, word.at, word.words.clone()) })
}
