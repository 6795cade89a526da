//! Gauges of one GPU, and the label that names it.

use super::catalogue as metric;
use super::families::Families;
use super::gauges::write_known;
use crate::model::gpu::{ComputeMode, RecoveryAction};
use crate::model::{GpuStatus, GpuUuid, Status};

/// The `gpu` label of a GPU: its index, its UUID where that is not known; empty for one that is not known.
pub(super) fn gpu_label(status: &Status, uuid: Option<&GpuUuid>) -> String {
    let Some(uuid) = uuid else { return String::new() };
    let known = status.gpus.iter().find(|gpu| gpu.identity.uuid == *uuid);
    known.map(|gpu| gpu.identity.label()).unwrap_or_default()
}

/// Adds them.
pub(super) fn write(families: &mut Families, gpu: &GpuStatus) {
    let identity = &gpu.identity;
    let index = identity.label();
    let labels = &[index.as_str()];
    let text = |known: &Option<String>| known.clone().unwrap_or_default();
    let (pci, name, driver) = (text(&identity.pci_bus_id), text(&identity.name), text(&identity.driver_version));
    let dialect = identity.mps_dialect().unwrap_or_default();
    let simulated = if identity.is_simulated() { "true" } else { "false" };
    let info = &[index.as_str(), identity.uuid.as_str(), &pci, &name, &driver, dialect, simulated];
    families.number(&metric::GPU_INFO, info, 1.0);
    write_known(families, &metric::GPU_MEMORY_TOTAL, labels, identity.memory_total.map(|bytes| bytes as f64));
    write_known(families, &metric::GPU_MEMORY_USED, labels, gpu.memory_used.map(|bytes| bytes as f64));
    write_known(families, &metric::GPU_BUSY, labels, gpu.busy);
    write_known(families, &metric::FOREIGN_PROCESSES, labels, gpu.foreign_processes.map(f64::from));
    let activity = gpu.activity.unwrap_or_default();
    write_known(families, &metric::GPU_SM_ACTIVE, labels, activity.sm_active);
    write_known(families, &metric::GPU_SM_OCCUPANCY, labels, activity.sm_occupancy);
    write_known(families, &metric::GPU_DRAM_ACTIVE, labels, activity.dram_active);
    write_known(families, &metric::GPU_TENSOR_ACTIVE, labels, activity.tensor_active);
    let modes = ComputeMode::ALL.iter().map(|mode| mode.as_str());
    families.states(&metric::GPU_COMPUTE_MODE, labels, modes, Some(gpu.compute_mode.as_str()));
    let actions = RecoveryAction::ALL.iter().map(|action| action.as_str());
    let wanted = gpu.recovery_action.unwrap_or(RecoveryAction::Unknown);
    families.states(&metric::GPU_RECOVERY_ACTION, labels, actions, Some(wanted.as_str()));
}
