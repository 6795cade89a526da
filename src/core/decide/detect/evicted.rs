//! evicted: the MPS server itself ended an engine's client, as servers of r615 and later do when device memory runs short,
//! and the engine lives on without it. One that ends by it is found by `engine_died`, under the same name.

use super::Finding;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::evicted::ENDS_BY_ITSELF;
use crate::model::{Fault, Moment};

pub(super) fn find(engine: &Engine, now: Moment) -> Option<Finding> {
    let (at, because) = engine.evicted().filter(|_| engine.alive() && engine.died.is_none())?;
    // It may be about to end.
    let acts = engine.instance.process.ended.is_none() && now.since(at) >= ENDS_BY_ITSELF;
    Some(Finding { acts, ..Finding::of_engine(Fault::Evicted, engine, at, because) })
}
