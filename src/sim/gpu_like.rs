//! The NVML of other GPUs and drivers than the H200 with driver 580 that the simulation otherwise is, by documentation
//! and public reports: which calls there are, and which answer nothing.

use std::fs;
use std::io;
use std::path::Path;

/// Which GPU and driver NVML speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GpuLike {
    /// An H200 with driver 580.
    #[default]
    H200,
    /// A GB10, which shares the host's memory: NVML has no figure of it.
    Gb10,
    /// Any GPU with a driver before 510: no list of MPS clients, no recovery action, no performance monitoring.
    Pre510,
    /// A vGPU: no lists of processes, no events, no performance monitoring.
    Vgpu,
    /// A driver 615.
    R615,
    /// A container in which NVML lists no processes.
    Container,
    /// A container in which NVML lists the host's pids.
    HostPids,
}

const GB10: &str = "name NVIDIA GB10
driver 580.95.05
nvmlDeviceGetMemoryInfo 3
nvmlDeviceGetMemoryInfo_v2 3
nvmlGpmQueryDeviceSupport 3
";

const PRE_510: &str = "name Tesla V100-SXM2-32GB
driver 470.256.02
nvmlDeviceGetMemoryInfo_v2 13
nvmlDeviceGetComputeRunningProcesses_v3 13
nvmlDeviceGetMPSComputeRunningProcesses_v3 13
nvmlDeviceGetFieldValues 13
nvmlGpmQueryDeviceSupport 13
";

const VGPU: &str = "name NVIDIA L40S-48Q
driver 570.133.20
nvmlDeviceGetComputeRunningProcesses_v3 3
nvmlDeviceGetComputeRunningProcesses_v2 3
nvmlDeviceGetMPSComputeRunningProcesses_v3 3
nvmlDeviceRegisterEvents 3
nvmlGpmQueryDeviceSupport 3
";

const R615: &str = "driver 615.10
";

const CONTAINER: &str = "nvmlDeviceGetComputeRunningProcesses_v3 empty
nvmlDeviceGetMPSComputeRunningProcesses_v3 empty
";

const HOST_PIDS: &str = "pids 4000000
";

impl GpuLike {
    /// The rules for the stand-in library.
    pub const fn script(self) -> &'static str {
        match self {
            GpuLike::H200 => "",
            GpuLike::Gb10 => GB10,
            GpuLike::Pre510 => PRE_510,
            GpuLike::Vgpu => VGPU,
            GpuLike::R615 => R615,
            GpuLike::Container => CONTAINER,
            GpuLike::HostPids => HOST_PIDS,
        }
    }
}

/// Gives the library beside which `directory` is these rules, all at once.
pub(super) fn tell(directory: &Path, rules: &str) -> io::Result<()> {
    let new = directory.join("nvml.script.new");
    fs::write(&new, rules)?;
    fs::rename(new, directory.join("nvml.script"))
}
