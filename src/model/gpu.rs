//! What NVML says of a GPU.

use serde::{Deserialize, Serialize};

use super::GpuUuid;
use super::words::words;

/// What stays the same while a GPU is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuIdentity {
    /// NVML's UUID.
    pub uuid: GpuUuid,
    /// NVML's index.
    pub index: u32,
    /// As NVML spells it, `00000000:00:06.0`.
    pub pci_bus_id: String,
    /// The product's name.
    pub name: String,
    /// Bytes of device memory.
    pub memory_total: u64,
    /// Who may make contexts.
    pub compute_mode: ComputeMode,
}

words!(
    /// NVML's compute mode.
    ComputeMode {
        /// Many contexts.
        Default = "default",
        /// One process, so one MPS server.
        ExclusiveProcess = "exclusive_process",
        /// No context at all.
        Prohibited = "prohibited",
        /// Not one of these.
        Unknown = "unknown",
    }
);

words!(
    /// NVML field 230: what the driver wants done to the GPU.
    RecoveryAction {
        /// Nothing.
        None = "none",
        /// Reset the GPU.
        GpuReset = "gpu_reset",
        /// Reboot the node.
        NodeReboot = "node_reboot",
        /// Let running work drain.
        DrainP2p = "drain_p2p",
        /// Drain, then reset.
        DrainAndReset = "drain_and_reset",
        /// A value this program doesn't know.
        Unknown = "unknown",
    }
);

impl RecoveryAction {
    /// By its number in nvml.h (nvmlDeviceGpuRecoveryAction_t) and in the kernel's lines.
    pub fn of_number(number: u64) -> Self {
        match number {
            0 => RecoveryAction::None,
            1 => RecoveryAction::GpuReset,
            2 => RecoveryAction::NodeReboot,
            3 => RecoveryAction::DrainP2p,
            4 => RecoveryAction::DrainAndReset,
            _ => RecoveryAction::Unknown,
        }
    }
}

/// One process in an NVML list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuProcess {
    /// The pid as NVML shows it: the host's, in some containers.
    pub pid: u32,
    /// Bytes of device memory it holds, where NVML knows.
    pub memory: Option<u64>,
}

/// One reading of a GPU. Everything was read within a millisecond or so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuReading {
    /// Bytes in use.
    pub memory_used: u64,
    /// Bytes there are.
    pub memory_total: u64,
    /// NVML's utilization, 0 to 1, where it has one.
    pub busy: Option<f64>,
    /// nvmlDeviceGetComputeRunningProcesses: MPS clients, servers, and all else that computes.
    pub compute: Vec<GpuProcess>,
    /// nvmlDeviceGetMPSComputeRunningProcesses: MPS clients only.
    pub mps: Vec<GpuProcess>,
    /// Field 230, where the driver has it.
    pub recovery_action: Option<RecoveryAction>,
    /// How busy its parts were since the last reading, where the driver counts it (GPM, Hopper and later).
    pub activity: Option<GpuActivity>,
}

/// How busy the parts of a GPU were, averaged over the time between two GPM samples: each 0 to 1. What one
/// GPU does not count is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuActivity {
    /// Share of time in which an SM had a warp, over all SMs.
    pub sm_active: Option<f64>,
    /// Share of the warps that fit on the SMs.
    pub sm_occupancy: Option<f64>,
    /// Share of time in which the device memory was read or written.
    pub dram_active: Option<f64>,
    /// Share of time in which the tensor cores worked.
    pub tensor_active: Option<f64>,
}
