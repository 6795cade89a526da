//! starved: an engine has requests running and makes no token while a sibling makes them and the GPU is taken: it waits
//! for its share. It is reported and not acted on. One full reading beside a long prompt that is just over is no proof:
//! the GPU is taken for some time of the very wait. It is excuse enough not to call it hung: to end an engine whose
//! kernels wait for a GPU that is taken takes its siblings along (docs/h200.md).
//!
//! Its limits: GPM counts the whole GPU, not who takes it. Without GPM nothing is known of it. A sibling with an SM
//! percentage leaves SMs to others and proves nothing. An endless kernel that fills the GPU beside a sibling that still
//! makes progress looks the same, and is reported as starved for as long as the sibling does.

use std::time::Duration;

use super::Finding;
use crate::decide::facts::GpuFacts;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::reading::{READING_FRESH, Reading};
use crate::decide::facts::scene::Scene;
use crate::decide::facts::stall::Stands;
use crate::model::{Fault, Moment};

/// Least time without a token; a quarter of `hang_after` where that is longer.
const LEAST: Duration = Duration::from_secs(10);

pub(super) fn find(engine: &Engine, scene: &Scene, gpu: &GpuFacts, now: Moment) -> Option<Finding> {
    let stall = engine.stall(now).filter(|stall| stall.stands == Stands::Counters && stall.fresh)?;
    let after = (engine.policy.hang_after / 4).max(LEAST).min(engine.policy.hang_after);
    if stall.lasts < after {
        return None;
    }
    let sibling = taker(engine, scene, gpu, now)?;
    let gpu = gpu.used_by(|reading| uses(engine, reading));
    // Its tokens were read before the GPU was: the GPU was taken by then, and for as long as is asked at least.
    let last_seen = stall.since.after(stall.lasts);
    gpu.taken.since.filter(|since| last_seen.since(*since) >= LEAST.min(after))?;
    let taken = gpu.taken.share.fresh(READING_FRESH, now)?;
    let (seconds, percent) = (stall.lasts.as_secs(), (taken * 100.0).round());
    let because = format!(
        "requests running and no token for {seconds} s while {} makes tokens and {percent} % of the SMs are busy",
        sibling.name()
    );
    Some(Finding { acts: false, ..Finding::of_engine(Fault::Starved, engine, stall.since.after(after), because) })
}

/// The sibling that may have taken the GPU, which was taken a moment ago: then it is not known whether this engine
/// hangs.
pub(super) fn taker<'a>(engine: &Engine, scene: &'a Scene, gpu: &GpuFacts, now: Moment) -> Option<&'a Engine> {
    let gpu = gpu.used_by(|reading| uses(engine, reading));
    gpu.taken.share.fresh(READING_FRESH, now)?;
    // Where there are several GPUs, only one on the same takes it.
    let beside = |it: &Engine| gpu.parts.is_empty() && gpu.reading.last().is_some_and(|reading| uses(it, reading));
    let takes = |it: &&Engine| it.name() != engine.name() && it.got_on(now) && !it.policy.sm_limited;
    scene.engines.iter().filter(takes).find(|it| !scene.policy.gpus.are_several() || beside(it))
}

fn uses(engine: &Engine, reading: &Reading) -> bool {
    engine.instance.processes().iter().any(|process| reading.lists(process.pid))
}
