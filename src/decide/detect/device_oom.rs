//! device_oom of an engine that lives on: its output says that device memory ran out, and NVML shows it at its limit. It
//! is told for a minute. Without NVML's word it is a word. An engine that ends by it is found by `engine_died`, under the
//! same name.

use crate::decide::engine::{Engine, READING_FRESH};
use crate::decide::facts::GpuFacts;
use crate::decide::shortage::SOON;
use crate::model::{Fault, Moment};

use super::Finding;

pub(super) fn find(engine: &Engine, gpu: &GpuFacts, now: Moment) -> Option<Finding> {
    let reading = gpu.reading.fresh(READING_FRESH, now)?;
    let word = engine.shortage.device.as_ref()?;
    if !engine.is_out_of_memory(reading) || !engine.alive() || engine.died.is_some() || now.since(word.at) >= SOON {
        return None;
    }
    Some(Finding { acts: false, ..Finding::of_engine(Fault::DeviceOom, engine, word.at, word.words.clone()) })
}
