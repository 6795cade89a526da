//! Faults in words, and what to do about those that are only reported.

use crate::model::{Fault, Reason};

/// A fault as a person says it, with its word in parentheses.
pub(super) fn words(fault: Fault) -> String {
    format!("{} ({fault})", plain(fault))
}

/// Why something is restarted.
pub(super) fn reason(reason: Option<Reason>) -> Option<String> {
    match reason? {
        Reason::Fault(fault) => Some(words(fault)),
        Reason::Operator => Some("an operator ordered it".to_owned()),
    }
}

fn plain(fault: Fault) -> &'static str {
    match fault {
        Fault::GpuFault => "a fatal GPU error hit all engines of a server",
        Fault::GpuLost => "the GPU is off the bus",
        Fault::GpuResetNeeded => "the GPU needs a reset or a reboot",
        Fault::ServerDied => "the MPS server ended",
        Fault::ControlDied => "the MPS control daemon ended",
        Fault::ControlWedged => "the MPS control daemon does not answer",
        Fault::ServerCannotStart => "MPS servers end before they are ready",
        Fault::ServerStuck => "the MPS server stays in FAULT",
        Fault::NewcomersHang => "the MPS server lets nobody in",
        Fault::EngineDied => "its process ended, or did not get ready",
        Fault::CrashLoop => "it failed too often",
        Fault::DeviceOom => "it ran out of device memory",
        Fault::HostOom => "the kernel's OOM killer took it",
        Fault::MemoryLeak => "its memory grows without load",
        Fault::LimitMissing => "it runs without its limits",
        Fault::LimitExceeded => "it holds more memory than its limit",
        Fault::Hang => "requests wait and nothing comes out",
        Fault::Starved => "its siblings take the whole GPU",
        Fault::OutsideMps => "it computes outside MPS",
        Fault::ForeignProcess => "a process of no group computes on the GPU",
        Fault::Evicted => "the MPS server ended its client",
        Fault::UnknownClient => "the MPS server has a client of no engine",
        Fault::UidMismatch => "a client has another user than the MPS server",
        Fault::ClientLimit => "the MPS server has as many clients as it takes",
    }
}

/// What to do about a fault that is there and that nobody works on.
pub(super) fn to_do(fault: Fault) -> &'static str {
    match fault {
        Fault::ForeignProcess => "ask its owner; it may be ended without harm to the groups",
        Fault::UnknownClient => "ask its owner to end it; a busy one that is killed takes all others with it",
        Fault::ClientLimit => "stop an engine, or split the group in two",
        Fault::UidMismatch => "find what changes its user; at a quiet time restart the daemon",
        Fault::LimitMissing => "let its command pass the CUDA_MPS_ variables on, then evict it",
        Fault::LimitExceeded => "give it a higher limit, or lower what it takes",
        Fault::MemoryLeak => "look at its memory; mpswarden restarts it before it is at its limit, where it may",
        Fault::Starved => "give its siblings a limit of SMs",
        Fault::OutsideMps => "mend its command, then evict it",
        Fault::DeviceOom | Fault::HostOom => "give it more memory, or lower what it takes",
        Fault::GpuFault
        | Fault::GpuLost
        | Fault::GpuResetNeeded
        | Fault::ServerDied
        | Fault::ControlDied
        | Fault::ControlWedged
        | Fault::ServerCannotStart
        | Fault::ServerStuck
        | Fault::NewcomersHang
        | Fault::EngineDied
        | Fault::CrashLoop
        | Fault::Hang
        | Fault::Evicted => "read its runbook; nothing is done for it by itself now",
    }
}

/// The page that says more of a fault.
pub(super) fn runbook(fault: Fault) -> &'static str {
    match fault {
        Fault::GpuFault | Fault::ServerDied | Fault::ControlDied => "MpsGroupFaulted",
        Fault::ServerStuck => "MpsServerFault",
        Fault::ControlWedged => "MpsControlDaemonDown",
        Fault::GpuLost => "MpsGpuLost",
        Fault::GpuResetNeeded => "MpsGpuResetNeeded",
        Fault::ServerCannotStart => "MpsServerCannotStart",
        Fault::NewcomersHang => "MpsNewcomersHang",
        Fault::EngineDied => "MpsEngineDied",
        Fault::CrashLoop => "MpsEngineQuarantined",
        Fault::DeviceOom => "MpsEngineDeviceOom",
        Fault::HostOom => "MpsEngineHostOom",
        Fault::MemoryLeak => "MpsEngineMemoryLeak",
        Fault::LimitMissing => "MpsEngineLimitMissing",
        Fault::LimitExceeded => "MpsEngineLimitExceeded",
        Fault::Hang => "MpsEngineHang",
        Fault::Starved => "MpsEngineStarved",
        Fault::OutsideMps => "MpsEngineOutsideMps",
        Fault::ForeignProcess => "MpsForeignProcess",
        Fault::Evicted => "MpsEngineEvicted",
        Fault::UnknownClient => "MpsUnknownClient",
        Fault::UidMismatch => "MpsEngineUidMismatch",
        Fault::ClientLimit => "MpsClientLimitNear",
    }
}
