//! memory_leak: memory of the device or the host grows steadily and nothing explains it. It is reported once the end is
//! near by what was seen so far, and the engine is restarted by itself `leak_after` before it gets there.

use std::time::Duration;

use super::Finding;
use crate::decide::facts::GpuFacts;
use crate::decide::facts::bytes::gib;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::figures::Room;
use crate::decide::facts::growth::Growth;
use crate::decide::facts::reading::READING_FRESH;
use crate::decide::facts::scene::Scene;
use crate::model::{Fault, Moment};

/// Multiple of the time seen for which growth is believed to go on: 12 to 40 minutes.
const FORESIGHT: u32 = 4;
/// The same multiple where the engine does not say what it had to do.
const BLIND_FORESIGHT: u32 = 2;
/// Time that must have been seen where its load is not known, in ninths of `leak_after`: 280 s of three minutes.
const BLIND_SPAN: u32 = 14;
/// Share of the limit below which growth is noise.
const NOISE: f64 = 0.01;

pub(super) fn find(engine: &Engine, scene: &Scene, gpu: &GpuFacts, now: Moment) -> Option<Finding> {
    if !engine.stage.has_served() || engine.died.is_some() || engine.instance.process.ended.is_some() {
        return None;
    }
    let known = scene.faults.contains_key(&(Some(engine.name().clone()), Fault::MemoryLeak));
    // What was found stays so for twice as far.
    let factor = if known { 2 } else { 1 };
    let reading = gpu.reading.fresh(READING_FRESH, now);
    let rooms = [engine.device_room(reading), engine.host_room(scene.around.host_available.last().copied(), now)];
    let leaks = rooms.into_iter().flatten().filter_map(|room| Some((left(&room, factor)?, room)));
    let (left, room) = leaks.min_by_key(|(left, _)| *left)?;
    let after = engine.policy.leak_after;
    let seen = room.growth.requests.is_some() || room.growth.span >= after * BLIND_SPAN / 9;
    // Shortly before its end a planned restart is better than what comes.
    let acts = left < after && seen;
    Some(Finding { acts, ..Finding::of_engine(Fault::MemoryLeak, engine, now, because(&room, left)) })
}

/// Time until it meets its limit; `None`: that is too far off to report: `factor` times the usual foresight.
fn left(room: &Room<'_>, factor: u32) -> Option<Duration> {
    let Growth { pace, span, requests } = *room.growth;
    if pace * span.as_secs_f64() < NOISE * room.limit as f64 {
        return None;
    }
    let left = Duration::try_from_secs_f64(room.limit.saturating_sub(room.held) as f64 / pace).ok()?;
    let foresight = if requests.is_some() { FORESIGHT } else { BLIND_FORESIGHT };
    (left <= span * foresight * factor).then_some(left)
}

fn because(room: &Room<'_>, left: Duration) -> String {
    let Growth { pace, span, requests } = *room.growth;
    let load = requests.map_or_else(
        || "what it had to do is not known".to_owned(),
        |requests| format!("its load did not ({requests:.0} requests running or waiting)"),
    );
    format!(
        "its {} memory grew by {} a minute over the last {} s, steadily, and {load}; it holds {} and meets its end at {} in \
         {} s at this pace",
        room.kind,
        gib((pace * 60.0) as u64),
        span.as_secs(),
        gib(room.held),
        gib(room.limit),
        left.as_secs()
    )
}
