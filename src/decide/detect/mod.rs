//! Detectors, one file a fault: each looks at everything that is known and says whether its fault is there now.

mod control_died;
mod control_wedged;
mod crash_loop;
mod engine_died;
mod gpu_fault;
mod server_died;
mod server_stuck;
mod together;
mod unknown_client;

use crate::model::{EngineName, Fault, Moment};

use super::group::Group;

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
}

impl Finding {
    fn of_group(fault: Fault, evidence_at: Moment, because: String) -> Self {
        Finding { fault, engine: None, evidence_at, because }
    }
}

/// Everything that is wrong with the group now.
pub(super) fn findings(group: &Group, now: Moment) -> Vec<Finding> {
    let whole = [
        control_died::find(group),
        control_wedged::find(group),
        server_died::find(group),
        gpu_fault::find(group),
        server_stuck::find(group, now),
        unknown_client::find(group),
    ];
    let single =
        group.engines.iter().flat_map(|engine| [engine_died::find(engine), crash_loop::find(engine, group, now)]);
    whole.into_iter().chain(single).flatten().collect()
}
