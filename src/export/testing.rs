//! Statuses for the tests of this folder.

use std::time::Duration;

use crate::model::{
    EngineIsolation, EngineSharing, EngineState, EngineStatus, GroupState, GroupStatus, Mode, Moment, OverlapStatus,
    ServerState, Status,
};

/// A serving engine of which little is known.
pub(crate) fn engine(name: &str) -> EngineStatus {
    EngineStatus {
        name: name.into(),
        address: "http://127.0.0.1:8001".into(),
        custody: Default::default(),
        container: Default::default(),
        state: EngineState::Serving,
        attached: None,
        device_memory: None,
        device_memory_limit: None,
        memory_time_to_limit: None,
        sm_limit: None,
        resident_memory: None,
        cpu: Duration::ZERO,
        load: None,
        kind: crate::model::EngineKind::Other,
        unknown: Vec::new(),
        doubted: Vec::new(),
        main: None,
        clients: Vec::new(),
        incarnation: 1,
        failures: 0,
        next_try: None,
        isolation: EngineIsolation::None,
        sharing: EngineSharing::default(),
        note: None,
        missing: false,
    }
}

/// A serving group without engines, on `GPU-0`.
pub(crate) fn group(name: &str) -> GroupStatus {
    GroupStatus {
        name: name.into(),
        gpus: "GPU-0".into(),
        mode: Mode::Enforce,
        custody: Default::default(),
        state: GroupState::Serving,
        generation: 1,
        control_up: None,
        control: None,
        server: ServerState::Active,
        server_pid: None,
        server_since: None,
        clients: None,
        clients_limit: Some(48),
        unknown_clients: None,
        recovery: None,
        held: None,
        hold: None,
        budget_remaining: 5,
        active: Vec::new(),
        faults: Vec::new(),
        isolation: None,
        isolated: Duration::ZERO,
        time_sliced: Duration::ZERO,
        overlap: OverlapStatus::default(),
        engines: Vec::new(),
    }
}

/// These groups, and nothing else.
pub(crate) fn status(groups: Vec<GroupStatus>) -> Status {
    Status { at: Moment::ZERO, ready: true, groups, gpus: Vec::new(), sources: Vec::new(), driver_let_go: false }
}
