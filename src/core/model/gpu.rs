//! What NVML says of a GPU.

use serde::{Deserialize, Serialize};

use super::GpuUuid;
use super::words::words;

/// What stays the same while a GPU is there. What NVML does not say of it is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuIdentity {
    /// NVML's UUID; of a GPU that is named by an index and was never read, a name that stands for it.
    pub uuid: GpuUuid,
    /// NVML's index.
    pub index: Option<u32>,
    /// PCI address as NVML spells it, `00000000:00:06.0`.
    pub pci_bus_id: Option<String>,
    /// The product's name.
    pub name: Option<String>,
    /// Bytes of device memory. None on GPUs that share the host's (GB10).
    pub memory_total: Option<u64>,
    /// Who may make contexts.
    pub compute_mode: ComputeMode,
    /// The driver's version, `580.159.04`.
    #[serde(default)]
    pub driver_version: Option<String>,
    /// NVML has never identified it: the configuration names it, and that is all that is known.
    #[serde(default)]
    pub absent: bool,
}

/// What stands before the index in the name of a GPU that NVML could not identify.
const UNIDENTIFIED: &str = "index-";

impl GpuIdentity {
    /// A GPU that the configuration names and NVML could not identify.
    pub fn absent(uuid: GpuUuid, index: Option<u32>) -> Self {
        GpuIdentity {
            uuid,
            index,
            pci_bus_id: None,
            name: None,
            memory_total: None,
            compute_mode: ComputeMode::Unknown,
            driver_version: None,
            absent: true,
        }
    }

    /// What the `gpu` label and people call it: its index, else its UUID.
    pub fn label(&self) -> String {
        self.index.map_or_else(|| self.uuid.to_string(), |index| index.to_string())
    }

    /// The product's name, for people.
    pub fn product(&self) -> &str {
        self.name.as_deref().unwrap_or("of an unknown kind")
    }
}

impl GpuUuid {
    /// The name of a GPU whose UUID is not known yet.
    pub fn of_index(index: u32) -> Self {
        format!("{UNIDENTIFIED}{index}").as_str().into()
    }

    /// The index, where this stands for a GPU whose UUID is not known.
    pub fn as_index(&self) -> Option<u32> {
        self.as_str().strip_prefix(UNIDENTIFIED)?.parse().ok()
    }
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
        /// The driver wants nothing.
        None = "none",
        /// Reset the GPU.
        GpuReset = "gpu_reset",
        /// Reboot the node.
        NodeReboot = "node_reboot",
        /// Let running work drain.
        DrainP2p = "drain_p2p",
        /// Drain, then reset.
        DrainAndReset = "drain_and_reset",
        /// Recover the IMEX domain, which connects nodes: the GPU itself is well (drivers from 595 on).
        RecoverImexDomain = "recover_imex_domain",
        /// Reset the GPU by its bus (drivers from 615 on).
        BusReset = "bus_reset",
        /// Reboot the whole system (drivers from 615 on).
        SystemReboot = "system_reboot",
        /// A value this program doesn't know: the driver wants something, and it is not known what.
        NotUnderstood = "not_understood",
        /// There is no reading.
        Unknown = "unknown",
    }
);

impl RecoveryAction {
    /// The action by its number in nvml.h (nvmlDeviceGpuRecoveryAction_t) and in the kernel's lines.
    pub fn of_number(number: u64) -> Self {
        match number {
            0 => RecoveryAction::None,
            1 => RecoveryAction::GpuReset,
            2 => RecoveryAction::NodeReboot,
            3 => RecoveryAction::DrainP2p,
            4 => RecoveryAction::DrainAndReset,
            5 => RecoveryAction::RecoverImexDomain,
            6 => RecoveryAction::BusReset,
            7 => RecoveryAction::SystemReboot,
            _ => RecoveryAction::NotUnderstood,
        }
    }

    /// Whether the driver asks for something that does not concern the use of this GPU, or that is not known here: that
    /// is reported, and nothing is held for it.
    pub const fn is_only_reported(self) -> bool {
        matches!(self, RecoveryAction::DrainP2p | RecoveryAction::RecoverImexDomain | RecoveryAction::NotUnderstood)
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

/// One reading of a GPU. Everything was read within a millisecond or so. What this GPU or driver does not say is
/// `None`: unknown, never 0 and never empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuReading {
    /// Bytes in use; `None` where the GPU has no such figure.
    pub memory_used: Option<u64>,
    /// Bytes there are.
    pub memory_total: Option<u64>,
    /// NVML's utilization, 0 to 1, where it has one.
    pub busy: Option<f64>,
    /// nvmlDeviceGetComputeRunningProcesses: MPS clients, servers, and all else that computes; `None` where NVML does
    /// not list them (some vGPUs).
    pub compute: Option<Vec<GpuProcess>>,
    /// nvmlDeviceGetMPSComputeRunningProcesses: MPS clients only; `None` where the driver has no such list.
    pub mps: Option<Vec<GpuProcess>>,
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
