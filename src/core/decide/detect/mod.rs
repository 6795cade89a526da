//! Detectors, one file a fault: each looks at everything that is known and says whether its fault is there now.

mod client_limit;
mod control_died;
mod control_wedged;
mod crash_loop;
mod device_oom;
mod door;
mod engine_died;
mod evicted;
mod foreign_process;
mod gpu_fault;
mod gpu_sick;
mod hang;
mod host_oom;
mod limit_exceeded;
mod limit_missing;
mod memory_leak;
mod newcomers_hang;
mod outside_mps;
mod server_cannot_start;
mod server_died;
mod server_stuck;
mod starved;
mod together;
mod uid_mismatch;
mod unknown_client;

use super::facts::GpuFacts;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::ladder;
use crate::decide::facts::scene::Scene;
use crate::model::{EngineName, Fault, Moment, Tier};

pub(super) use foreign_process::foreign_sentence;
pub(super) use unknown_client::{holders, unknown_clients};

/// A fault that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub fault: Fault,
    /// Engine of the finding; `None`: of the whole scene.
    pub engine: Option<EngineName>,
    /// The evidence's own time.
    pub evidence_at: Moment,
    /// The evidence, for people.
    pub because: String,
    /// It is to be acted on now; `false`: so far it is only reported.
    pub acts: bool,
}

impl Finding {
    fn of_group(fault: Fault, evidence_at: Moment, because: String) -> Self {
        Finding { fault, engine: None, evidence_at, because, acts: true }
    }

    fn of_engine(fault: Fault, engine: &Engine, evidence_at: Moment, because: String) -> Self {
        Finding { engine: Some(engine.name().clone()), ..Finding::of_group(fault, evidence_at, because) }
    }

    /// How far it makes the watchdog go now; `None`: nothing is restarted for it. What mends one engine does not
    /// mend several that fail as one: that takes the scene.
    pub(super) fn tier(&self) -> Option<Tier> {
        let tier = ladder::tier(self.fault).filter(|_| self.acts)?;
        Some(if self.engine.is_none() { tier.max(Tier::Clients) } else { tier })
    }
}

/// Everything that is wrong with the domain now. `awaits_active`: since when a restart waits for its server to be ACTIVE.
/// What is known of its GPU is believed for as long as `READING_FRESH`.
pub(super) fn findings(scene: &Scene, awaits_active: Option<Moment>, gpu: &GpuFacts, now: Moment) -> Vec<Finding> {
    // One after the other into the list: an array of them for each engine is moved about at every input.
    let mut found = Vec::new();
    found.extend(control_died::find(scene));
    found.extend(control_wedged::find(scene));
    found.extend(server_cannot_start::find(scene));
    found.extend(server_died::find(scene));
    found.extend(gpu_fault::find(scene));
    found.extend(server_stuck::find(scene, awaits_active, now));
    found.extend(newcomers_hang::find(scene, now));
    found.extend(unknown_client::find(scene, awaits_active, now));
    found.extend(foreign_process::find(scene, now));
    // Last: of those that go equally far it is the one that no restart mends.
    found.extend(gpu_sick::find(gpu));
    for engine in &scene.engines {
        found.extend(engine_died::find(engine));
        found.extend(crash_loop::find(engine, scene, now));
        found.extend(host_oom::find(engine, now));
        found.extend(device_oom::find(engine, now));
        found.extend(evicted::find(engine, now));
        found.extend(limit_missing::find(engine, scene, gpu, now));
        found.extend(limit_exceeded::find(engine));
        found.extend(memory_leak::find(engine, scene, gpu, now));
        found.extend(outside_mps::find(engine, scene, gpu, now));
        found.extend(starved::find(engine, scene, gpu, now));
    }
    found.extend(uid_mismatch::find(scene, now));
    found.extend(client_limit::find(scene, now));
    found.extend(hang::find(scene, gpu, now));
    found
}

/// Engines that died by themselves and that nothing was done about yet. Where a fault of the whole group is acted on,
/// they died of that: it is for the caller to say.
pub(super) fn deaths(scene: &Scene, gpu: &GpuFacts, now: Moment) -> Vec<Finding> {
    scene.engines.iter().filter_map(|engine| engine_died::find_new(engine, &scene.server, gpu, now)).collect()
}

/// Processes by their pids: `its process 12 is`, `its processes 12 and 13 are`.
fn pids(what: &str, pids: &[u32]) -> String {
    let words: Vec<String> = pids.iter().map(u32::to_string).collect();
    match words.as_slice() {
        [one] => format!("{what} {one} is"),
        [first @ .., last] => format!("{what}es {} and {last} are", first.join(", ")),
        [] => format!("no {what} is"),
    }
}
