//! host_oom of an engine whose main process has not ended: the kernel's OOM killer took a process of it. Without its
//! client of the server it can't serve and is restarted; else it is reported for a minute. An engine that ended by it
//! is found by `engine_died`, under the same name.

use super::Finding;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::shortage::SOON;
use crate::model::{Fault, Moment};

pub(super) fn find(engine: &Engine, now: Moment) -> Option<Finding> {
    let (word, acts) = (engine.instance.shortage.host.as_ref()?, engine.instance.shortage.took_a_client);
    if !engine.alive() || engine.died.is_some() || !acts && now.since(word.at) >= SOON {
        return None;
    }
    let because = if acts { format!("{}, its client of the MPS server", word.words) } else { word.words.clone() };
    Some(Finding { acts, ..Finding::of_engine(Fault::HostOom, engine, word.at, because) })
}
