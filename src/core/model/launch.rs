//! What is started and how: made from the configuration, carried out by `act`, of no interest to the core.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{Custody, DomainId, EngineKind, External, Found, GpuSet, Member, RestartBy};

/// Everything of one domain that is started.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupLaunch {
    /// The domain.
    pub domain: DomainId,
    /// Its GPUs, for CUDA_VISIBLE_DEVICES of the daemon.
    pub gpus: GpuSet,
    /// Launch of the control daemon.
    pub control: ControlLaunch,
    /// Where its engines write their outputs, `ENGINE.log`; absolute.
    pub outputs: PathBuf,
    /// Its engines, in the order of their start.
    pub engines: Vec<EngineLaunch>,
}

/// A control daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlLaunch {
    /// `nvidia-cuda-mps-control`, found on PATH, or a path.
    pub binary: PathBuf,
    /// CUDA_MPS_PIPE_DIRECTORY, absolute.
    pub pipe_directory: PathBuf,
    /// CUDA_MPS_LOG_DIRECTORY, absolute. The output of a daemon of ours (`daemon.log`) goes there; one that others run
    /// has its `control.log` and `server.log` there.
    pub log_directory: PathBuf,
    /// Custody of the daemon: whose it is.
    pub custody: Custody,
    /// Through whom it is restarted, where others run it.
    pub restart_by: RestartBy,
    /// Whether engines that others start find a gate in the pipe directory.
    pub gate: bool,
}

/// Where an engine's own metrics are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsPlace {
    /// The metrics are at this path under its URL.
    Under(String),
    /// The metrics are at another address: a URL without a path, and the path.
    Elsewhere(String, String),
    /// The engine has no metrics.
    Nowhere,
}

/// What CUDA_VISIBLE_DEVICES of an engine says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuNamedBy {
    /// The GPUs' UUIDs.
    Uuid,
    /// Indexes of the GPUs: for a client of the control daemon their places among the daemon's; of an engine outside MPS
    /// these, NVML's.
    Index(Vec<u32>),
}

/// An engine.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineLaunch {
    /// The engine.
    pub member: Member,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The user it runs as; `None`: the watchdog's.
    pub user: Option<String>,
    /// Working directory; `None`: the watchdog's.
    pub working_directory: Option<PathBuf>,
    /// Environment, over the watchdog's own and the file's.
    pub environment: BTreeMap<String, String>,
    /// `KEY=value` lines, read at each start.
    pub environment_file: Option<PathBuf>,
    /// Which program it is: the configuration's word, else a guess from its command.
    pub kind: EngineKind,
    /// `http://host:port`, `https://host:port` or `unix:/path`, without a path of HTTP.
    pub url: String,
    /// Path of the health check under the URL.
    pub health_path: String,
    /// How long its health and its metrics may take to answer.
    pub health_timeout: Duration,
    /// Where its metrics are.
    pub metrics: MetricsPlace,
    /// Its GPUs, for its own CUDA_VISIBLE_DEVICES: all of its group's, or some of them.
    pub gpus: GpuSet,
    /// Way in which CUDA_VISIBLE_DEVICES names them.
    pub gpu_named_by: GpuNamedBy,
    /// CUDA_MPS_ACTIVE_THREAD_PERCENTAGE, over 0 to 100.
    pub sm_percentage: Option<f64>,
    /// CUDA_MPS_PINNED_DEVICE_MEM_LIMIT, bytes.
    pub device_memory_limit: Option<u64>,
    /// It loads the kernel probe.
    pub probe: bool,
    /// Bytes of host memory, where cgroups allow.
    pub memory_max: Option<u64>,
    /// Where it was found, of one that others run: nothing of the above starts it.
    pub found: Option<Found>,
    /// Where it is found and through whom it is restarted, of a configured one that others run: the same.
    pub external: Option<External>,
}

impl EngineLaunch {
    /// URL and path of its metrics; `None`: it has none.
    pub fn metrics_at(&self) -> Option<(&str, &str)> {
        match &self.metrics {
            MetricsPlace::Under(path) => Some((&self.url, path)),
            MetricsPlace::Elsewhere(url, path) => Some((url, path)),
            MetricsPlace::Nowhere => None,
        }
    }
}
