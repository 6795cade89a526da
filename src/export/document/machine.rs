//! GPUs, processes and sources for programs.

use schemars::JsonSchema;
use serde::Serialize;

use super::times::{Wall, finite, seconds};
use super::word::Word;
use crate::model::gpu::{ComputeMode, GpuActivity, RecoveryAction};
use crate::model::{GpuIdentity, GpuStatus, ProcessId, Slot, Source, SourceScope, SourceState, SourceStatus};

/// A process that no reused pid can stand in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Process")]
pub(super) struct ProcessDocument {
    /// The pid, in the watchdog's namespace.
    pid: u32,
    /// Clock ticks from the boot to its start: field 22 of /proc/PID/stat.
    start_ticks: u64,
}

impl ProcessDocument {
    pub(super) fn of(process: ProcessId) -> ProcessDocument {
        let ProcessId { pid, started_at } = process;
        ProcessDocument { pid, start_ticks: started_at }
    }
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Gpu")]
pub(super) struct GpuDocument {
    /// NVML's UUID; of a GPU that the configuration names by its index and that was never read, `index-N`.
    uuid: String,
    /// NVML's index.
    index: Option<u32>,
    /// The bus address as NVML spells it, `00000000:00:06.0`.
    pci_bus_id: Option<String>,
    /// The product's name.
    name: Option<String>,
    /// The driver's version, `580.159.04`.
    driver_version: Option<String>,
    /// Whether NVML has never identified it: the configuration names it, and that is all that is known.
    absent: bool,
    /// Device memory that the GPU has; null on GPUs that share the host's.
    memory_total_bytes: Option<u64>,
    /// Device memory in use.
    memory_used_bytes: Option<u64>,
    /// Share of time in which a kernel was on the GPU, as NVML counts it.
    busy_ratio: Option<f64>,
    /// How busy its parts were; null where the driver does not count it.
    activity: Option<ActivityDocument>,
    /// Processes that compute on it and belong to no group.
    foreign_processes: Option<u32>,
    /// Who may make contexts there.
    compute_mode: Word<ComputeMode>,
    /// What the driver wants done to the GPU.
    recovery_action: Option<Word<RecoveryAction>>,
}

/// How busy the parts of a GPU were of late.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "GpuActivity")]
struct ActivityDocument {
    /// Share of time in which an SM had a warp, over all SMs.
    sm_active_ratio: Option<f64>,
    /// Share of the warps that fit on the SMs.
    sm_occupancy_ratio: Option<f64>,
    /// Share of time in which the device memory was read or written.
    dram_active_ratio: Option<f64>,
    /// Share of time in which the tensor cores worked.
    tensor_active_ratio: Option<f64>,
}

impl GpuDocument {
    pub(super) fn of(gpu: &GpuStatus) -> GpuDocument {
        let GpuStatus { identity, memory_used, busy, activity, foreign_processes, compute_mode, recovery_action } = gpu;
        // The mode of the last reading counts, not that of the first.
        let GpuIdentity { uuid, index, pci_bus_id, name, memory_total, compute_mode: _, driver_version, absent } =
            identity;
        GpuDocument {
            uuid: uuid.to_string(),
            index: *index,
            pci_bus_id: pci_bus_id.clone(),
            name: name.clone(),
            driver_version: driver_version.clone(),
            absent: *absent,
            memory_total_bytes: *memory_total,
            memory_used_bytes: *memory_used,
            busy_ratio: finite(*busy),
            activity: activity.map(ActivityDocument::of),
            foreign_processes: *foreign_processes,
            compute_mode: Word(*compute_mode),
            recovery_action: recovery_action.map(Word),
        }
    }
}

impl ActivityDocument {
    fn of(activity: GpuActivity) -> ActivityDocument {
        let GpuActivity { sm_active, sm_occupancy, dram_active, tensor_active } = activity;
        ActivityDocument {
            sm_active_ratio: finite(sm_active),
            sm_occupancy_ratio: finite(sm_occupancy),
            dram_active_ratio: finite(dram_active),
            tensor_active_ratio: finite(tensor_active),
        }
    }
}

/// One source that is read, and what it is read for.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "SourceReading")]
pub(super) struct SourceDocument {
    /// The source.
    source: Word<Source>,
    /// The group that it is read for; null: the whole machine, or a GPU.
    group: Option<String>,
    /// Which of the group's fault domains it is read for; null: the group, an engine or a GPU as such.
    domain: Option<Word<Slot>>,
    /// The engine that it is read for.
    engine: Option<String>,
    /// The UUID of the GPU that it is read for.
    gpu: Option<String>,
    /// How the source stands.
    state: Word<SourceState>,
    /// Why it does not answer; null: it does, or it is not asked.
    why: Option<String>,
    /// When it last worked.
    #[schemars(extend("format" = "date-time"))]
    last_success: Option<String>,
    /// When it last worked, in seconds since 1970.
    last_success_timestamp_seconds: Option<f64>,
    /// How long its last reading took.
    took_seconds: Option<f64>,
}

impl SourceDocument {
    pub(super) fn of(status: &SourceStatus, wall: Wall) -> SourceDocument {
        let SourceStatus { scope, state, why, last_success, took } = status;
        let SourceScope { source, group, domain, engine, gpu } = scope;
        let (last_success, last_success_timestamp_seconds) = wall.both_of(*last_success);
        let group_of_engine = engine.as_ref().map(|key| key.group.to_string());
        SourceDocument {
            source: Word(*source),
            group: group.as_ref().map(ToString::to_string).or(group_of_engine),
            domain: domain.map(Word),
            engine: engine.as_ref().map(|key| key.engine.to_string()),
            gpu: gpu.as_ref().map(ToString::to_string),
            state: Word(*state),
            why: why.clone(),
            last_success,
            last_success_timestamp_seconds,
            took_seconds: took.map(seconds),
        }
    }
}
