//! Which faults are the group's and which an engine's, and which Xids are expected: series that begin at 0.

use crate::model::Fault;

/// Faults of a whole group, its server, its daemon or its GPU; `engine` is empty.
pub(super) const GROUP_FAULTS: &[Fault] = &[
    Fault::GpuFault,
    Fault::GpuLost,
    Fault::GpuResetNeeded,
    Fault::ServerDied,
    Fault::ControlDied,
    Fault::ControlWedged,
    Fault::ServerCannotStart,
    Fault::ServerStuck,
    Fault::NewcomersHang,
    Fault::ForeignProcess,
    Fault::UnknownClient,
    Fault::ClientLimit,
];
/// Faults of one engine.
pub(super) const ENGINE_FAULTS: &[Fault] = &[
    Fault::EngineDied,
    Fault::CrashLoop,
    Fault::DeviceOom,
    Fault::HostOom,
    Fault::MemoryLeak,
    Fault::LimitMissing,
    Fault::LimitExceeded,
    Fault::Hang,
    Fault::Starved,
    Fault::OutsideMps,
    Fault::Evicted,
    Fault::UidMismatch,
];
/// Faults that restart something: their restarts, and the time to their decision, are known in advance.
pub(super) const MENDED_FAULTS: &[Fault] = &[
    Fault::GpuFault,
    Fault::ServerDied,
    Fault::ControlDied,
    Fault::ControlWedged,
    Fault::ServerStuck,
    Fault::EngineDied,
];
/// Xids that go with a fault of a whole group, with a reset, or with a lost GPU (NVIDIA's Xid catalogue).
pub(super) const XIDS: &[u32] =
    &[13, 31, 43, 45, 46, 48, 62, 64, 68, 69, 79, 94, 95, 109, 110, 119, 120, 136, 140, 143, 154, 155, 156, 158];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_either_the_groups_or_an_engines() {
        for fault in Fault::ALL {
            assert!(GROUP_FAULTS.contains(fault) != ENGINE_FAULTS.contains(fault), "{fault}");
        }
    }
}
