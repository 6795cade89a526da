//! Detectors, one file a fault: each looks at everything that is known and says whether its fault is there now.

mod control_died;
mod control_wedged;
mod crash_loop;
mod device_oom;
mod engine_died;
mod gpu_fault;
mod host_oom;
mod limit_exceeded;
mod limit_missing;
mod memory_leak;
mod server_died;
mod server_stuck;
mod together;
mod unknown_client;

use crate::model::{EngineName, Fault, Moment, Tier};

use super::engine::Engine;
use super::facts::GpuFacts;
use super::group::Group;
use super::ladder;

pub(super) use memory_leak::Room;
pub(super) use unknown_client::unknown_clients;

/// A fault that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub fault: Fault,
    /// `None`: of the whole group.
    pub engine: Option<EngineName>,
    /// The evidence's own time.
    pub evidence_at: Moment,
    /// The evidence, for people.
    pub because: String,
    /// It is to be acted on now; `false`: so far it is only told.
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
    /// mend several that fail as one: that takes the group.
    pub fn tier(&self) -> Option<Tier> {
        let tier = ladder::tier(self.fault).filter(|_| self.acts)?;
        Some(if self.engine.is_none() { tier.max(Tier::Clients) } else { tier })
    }
}

/// Everything that is wrong with the group now. What is known of its GPU is believed for as long as `READING_FRESH`.
pub(super) fn findings(group: &Group, gpu: &GpuFacts, now: Moment) -> Vec<Finding> {
    let whole = [
        control_died::find(group),
        control_wedged::find(group),
        server_died::find(group),
        gpu_fault::find(group),
        server_stuck::find(group, now),
        unknown_client::find(group),
    ];
    let single = group.engines.iter().flat_map(|engine| {
        [
            engine_died::find(engine),
            crash_loop::find(engine, group, now),
            host_oom::find(engine, now),
            device_oom::find(engine, now),
            limit_missing::find(engine, group, gpu, now),
            limit_exceeded::find(engine, now),
            memory_leak::find(engine, group, gpu, now),
        ]
    });
    whole.into_iter().chain(single).flatten().collect()
}

/// Bytes as people write them.
pub(super) fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}
