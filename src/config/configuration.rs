//! What a configuration says, every default filled in. Decides nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::decide::policy::{IsolationPolicy, OverlapPolicy, RecoveryPolicy, UnknownClients};
use crate::model::{EngineName, Fault, GpuUuid, GroupName, Hook, Mode};

use super::problem::Places;

/// The default of `web.listen_addresses`.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10677);

/// A whole file.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// NVML's library: a name that the loader finds, or a path.
    pub nvml_library: String,
    /// The kernel log.
    pub kernel_log: PathBuf,
    /// Where what must survive a restart is kept.
    pub state_directory: PathBuf,
    /// HTTP.
    pub web: Web,
    /// Commands told of events.
    pub hooks: Hooks,
    /// Groups, in the file's order; at least one.
    pub groups: Vec<GroupConfiguration>,
    /// Where each key stands, for what is checked later.
    pub(super) places: Places,
}

/// HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Where it listens; at least one.
    pub listen_addresses: Vec<SocketAddr>,
}

/// Commands told of events: program and arguments, by what they are called for.
pub type Hooks = BTreeMap<Hook, Vec<String>>;

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupConfiguration {
    /// Its name, unique.
    pub name: GroupName,
    /// Its GPU.
    pub gpu: GpuChoice,
    /// What the watchdog may do.
    pub mode: Mode,
    /// Its control daemon.
    pub mps: MpsConfiguration,
    /// Each fault's own mode.
    pub faults: BTreeMap<Fault, Mode>,
    /// What becomes of clients that no engine owns.
    pub unknown_clients: UnknownClients,
    /// What is done when faults of the whole group repeat.
    pub isolation: IsolationPolicy,
    /// What is measured of the engines' sharing of the GPU. Its baselines: this file's own, and once it is loaded
    /// those of the study's file.
    pub overlap: OverlapPolicy,
    /// The study's file of baselines; at its default path it may be missing.
    pub baselines: PathBuf,
    /// Restarts and their limits.
    pub recovery: RecoveryPolicy,
    /// Engines, in the order of their start; at least one.
    pub engines: Vec<EngineConfiguration>,
}

/// How a GPU is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuChoice {
    /// By NVML's UUID, whole.
    Uuid(GpuUuid),
    /// By NVML's index.
    Index(u32),
}

/// A control daemon of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MpsConfiguration {
    /// `nvidia-cuda-mps-control`, found on PATH, or a path.
    pub binary: PathBuf,
    /// CUDA_MPS_PIPE_DIRECTORY, unique.
    pub pipe_directory: PathBuf,
    /// CUDA_MPS_LOG_DIRECTORY, unique.
    pub log_directory: PathBuf,
}

/// One engine.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfiguration {
    /// Its name, unique within its group.
    pub name: EngineName,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The user it runs as; `None`: the watchdog's.
    pub user: Option<String>,
    /// Its working directory; `None`: the watchdog's.
    pub working_directory: Option<PathBuf>,
    /// Environment, over the watchdog's own and the file's.
    pub environment: BTreeMap<String, String>,
    /// `KEY=value` lines.
    pub environment_file: Option<PathBuf>,
    /// `http://host:port`.
    pub url: String,
    /// Under the URL.
    pub health_path: String,
    /// Under the URL.
    pub metrics_path: String,
    /// Over 0, at most 100.
    pub sm_percentage: Option<f64>,
    /// Bytes.
    pub device_memory_limit: Option<u64>,
    /// Its kernels are recorded in sampled windows.
    pub probe: bool,
    /// Bytes of host memory.
    pub memory_max: Option<u64>,
    /// From its start to serving.
    pub start_timeout: Duration,
    /// For its requests to end before a planned stop.
    pub drain_timeout: Duration,
    /// Between TERM and KILL.
    pub stop_timeout: Duration,
    /// Requests running and no token, or no answer, for so long: it hangs.
    pub hang_after: Duration,
}

impl Configuration {
    /// Where a group's baselines are, if the file does not say: under the state directory.
    pub(super) fn default_baselines(state_directory: &Path, group: &str) -> PathBuf {
        state_directory.join("baselines").join(format!("{group}.json"))
    }
}
