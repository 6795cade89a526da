//! The recovery ladder: how far a fault makes the watchdog go.

use crate::model::{Fault, Tier};

/// The least tier that mends `fault`; `None`: it is reported, and nothing is restarted for it.
pub(crate) fn tier(fault: Fault) -> Option<Tier> {
    match fault {
        Fault::EngineDied
        | Fault::DeviceOom
        | Fault::HostOom
        | Fault::MemoryLeak
        | Fault::LimitMissing
        | Fault::LimitExceeded
        | Fault::Hang
        | Fault::Evicted
        | Fault::OutsideMps => Some(Tier::Engine),
        Fault::GpuFault | Fault::ServerDied => Some(Tier::Clients),
        Fault::ControlDied | Fault::ControlWedged | Fault::ServerStuck | Fault::NewcomersHang => Some(Tier::Daemon),
        // Nobody may be on a GPU that is to be reset; the start then waits until it is well.
        Fault::GpuLost | Fault::GpuResetNeeded => Some(Tier::Daemon),
        // Another start of it is what is tried, and no daemon's restart mends what it says.
        Fault::ServerCannotStart
        | Fault::UnknownClient
        | Fault::CrashLoop
        | Fault::Starved
        | Fault::ForeignProcess
        | Fault::UidMismatch
        | Fault::ClientLimit => None,
    }
}

/// Whether `fault` is the GPU's own: no restart mends it.
pub(crate) fn is_of_the_gpu(fault: Fault) -> bool {
    matches!(fault, Fault::GpuLost | Fault::GpuResetNeeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hits_every_client_restarts_every_client() {
        assert_eq!(tier(Fault::GpuFault), Some(Tier::Clients));
        assert_eq!(tier(Fault::ServerDied), Some(Tier::Clients));
    }

    #[test]
    fn a_daemon_is_restarted_only_for_what_a_daemon_alone_mends_and_stopped_for_a_sick_gpu() {
        let daemon = Fault::ALL.iter().copied().filter(|fault| tier(*fault) == Some(Tier::Daemon));
        let (gpu, daemon): (Vec<Fault>, Vec<Fault>) = daemon.partition(|fault| is_of_the_gpu(*fault));
        assert_eq!(gpu, [Fault::GpuLost, Fault::GpuResetNeeded]);
        assert_eq!(daemon, [Fault::ControlDied, Fault::ControlWedged, Fault::ServerStuck, Fault::NewcomersHang]);
    }

    #[test]
    fn an_unknown_client_and_a_quarantined_engine_restart_nothing() {
        assert_eq!(tier(Fault::UnknownClient), None);
        assert_eq!(tier(Fault::CrashLoop), None);
    }
}
