//! The recovery ladder: how far a fault makes the watchdog go.

use crate::model::{Fault, Tier};

/// The least tier that mends `fault`; `None`: it is reported, and nothing is restarted for it.
pub(super) fn tier(fault: Fault) -> Option<Tier> {
    match fault {
        Fault::EngineDied => Some(Tier::Engine),
        Fault::GpuFault | Fault::ServerDied => Some(Tier::Clients),
        Fault::ControlDied | Fault::ControlWedged | Fault::ServerStuck => Some(Tier::Daemon),
        Fault::UnknownClient | Fault::CrashLoop => None,
        // Findings of later versions: they are in the catalogue and not found yet.
        Fault::GpuLost
        | Fault::GpuResetNeeded
        | Fault::DeviceOom
        | Fault::HostOom
        | Fault::MemoryLeak
        | Fault::LimitMissing
        | Fault::LimitExceeded
        | Fault::Hang
        | Fault::Starved
        | Fault::OutsideMps
        | Fault::ForeignProcess
        | Fault::UidMismatch
        | Fault::ClientLimit => None,
    }
}
