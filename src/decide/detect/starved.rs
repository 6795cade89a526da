//! starved: an engine has requests running and makes no token while a sibling makes them and the GPU is taken: it waits
//! for its share. It is told and not acted on, and while the proof lasts it is no hang. One full reading beside a long
//! prompt that is just over is no proof: the GPU is taken for some time of the very wait.
//!
//! Its limits: GPM counts the whole GPU, not who takes it. Without GPM nothing is known of it. A sibling with an SM
//! percentage leaves SMs to others and proves nothing. An endless kernel that fills the GPU beside a sibling that
//! still gets on looks the same, and is told as starved for as long as the sibling gets on.

use std::time::Duration;

use crate::decide::engine::{Engine, READING_FRESH};
use crate::decide::facts::GpuFacts;
use crate::decide::group::Group;
use crate::model::{Fault, Moment};

use super::Finding;

/// No token for a quarter of `hang_after`, and for so long at least.
const LEAST: Duration = Duration::from_secs(10);

pub(super) fn find(engine: &Engine, group: &Group, gpu: &GpuFacts, now: Moment) -> Option<Finding> {
    let stall = engine.stall(now).filter(|stall| !stall.silent && stall.fresh)?;
    let after = (engine.policy.hang_after / 4).max(LEAST).min(engine.policy.hang_after);
    if stall.lasts < after {
        return None;
    }
    let reading = gpu.reading.fresh(READING_FRESH, now)?;
    let taken = reading.activity?.sm_active?;
    // Its tokens were read before the GPU was: the GPU was taken by then, and for as long as is asked at least.
    let last_seen = stall.since.after(stall.lasts);
    gpu.taken_since.filter(|since| last_seen.since(*since) >= LEAST.min(after))?;
    let takes = |it: &&Engine| it.name() != engine.name() && it.gets_on(now) && !it.policy.sm_limited;
    let sibling = group.engines.iter().find(takes)?;
    let (seconds, percent) = (stall.lasts.as_secs(), (taken * 100.0).round());
    let because = format!(
        "requests running and no token for {seconds} s while {} makes tokens and {percent} % of the SMs are busy",
        sibling.name()
    );
    Some(Finding { acts: false, ..Finding::of_engine(Fault::Starved, engine, stall.since.after(after), because) })
}
