//! foreign_process: a process that no group owns computes on the group's GPU: the GPU is time-sliced with it. It is
//! named, with its command, and left alone; a fault of its own harms no engine.

use super::Finding;
use crate::decide::facts::scene::Scene;
use crate::model::{Fault, Moment};

/// Most processes that are named.
const NAMED: usize = 5;

pub(super) fn find(scene: &Scene, now: Moment) -> Option<Finding> {
    let first = scene.foreigners(now).into_values().min()?;
    Some(Finding::of_group(Fault::ForeignProcess, first, foreign_sentence(scene, now)))
}

/// Who computes there, in a sentence.
pub(in crate::decide) fn foreign_sentence(scene: &Scene, now: Moment) -> String {
    let pids: Vec<u32> = scene.foreigners(now).into_keys().collect();
    let named: Vec<String> = pids.iter().take(NAMED).map(|pid| scene.around.strangers.name(*pid)).collect();
    let named = named.join(", ");
    match pids.len() {
        1 => format!("process {named} computes on this GPU and belongs to no group"),
        all => {
            let more = all.checked_sub(NAMED).filter(|more| *more > 0);
            let more = more.map_or_else(String::new, |more| format!(" and {more} more"));
            format!("{all} processes compute on this GPU and belong to no group: {named}{more}")
        }
    }
}
