//! What a configuration says, every default filled in. Decides nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::decide::policy::{CleanEnd, IsolationPolicy, OverlapPolicy, RecoveryPolicy, Spread, UnknownClients};
use crate::model::{EngineKind, EngineName, External, Fault, GpuIdentity, GpuUuid, GroupName, Hook, Mode, RestartBy};

use super::discover::Discover;
use super::problem::{Places, Problem, Problems};

/// The default of `web.listen_addresses`.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10677);

/// A whole file.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// NVML's library: a name that the loader finds, or a path.
    pub nvml_library: String,
    /// The kernel log.
    pub kernel_log: PathBuf,
    /// Where what must survive a restart is kept.
    pub state_directory: PathBuf,
    /// Settings of HTTP.
    pub web: Web,
    /// Commands that are called for events.
    pub hooks: Hooks,
    /// Control daemons of others that come and go.
    pub discover: Discover,
    /// Groups, in the file's order; at least one, unless daemons of others are looked for.
    pub groups: Vec<GroupConfiguration>,
    /// Where each key stands, for what is checked later.
    pub(super) places: Places,
}

/// Settings of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Addresses to listen on; at least one.
    pub listen_addresses: Vec<SocketAddr>,
}

/// Commands that are called for events: program and arguments, by what they are called for.
pub type Hooks = BTreeMap<Hook, Vec<String>>;

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupConfiguration {
    /// Name of the group, unique.
    pub name: GroupName,
    /// GPUs of the group: one at least, and no word for one twice.
    pub gpus: Vec<GpuChoice>,
    /// What the watchdog may do.
    pub mode: Mode,
    /// Settings of the group's control daemon.
    pub mps: MpsConfiguration,
    /// Each fault's own mode.
    pub faults: BTreeMap<Fault, Mode>,
    /// What becomes of clients that no engine owns.
    pub unknown_clients: UnknownClients,
    /// What a fault on some of its GPUs is to the engines on the others.
    pub spread: Spread,
    /// What is done when faults of the whole group repeat.
    pub isolation: IsolationPolicy,
    /// What is measured of the engines' sharing of the GPU. Its baselines: this file's own, and once it is loaded
    /// those of the study's file.
    pub overlap: OverlapPolicy,
    /// The study's file of baselines; at its default path it may be missing.
    pub baselines: PathBuf,
    /// Restarts and their limits.
    pub recovery: RecoveryPolicy,
    /// Engines, in the order of their start; at least one, unless others run the control daemon.
    pub engines: Vec<EngineConfiguration>,
}

/// How a GPU is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuChoice {
    /// A GPU by NVML's UUID, whole.
    Uuid(GpuUuid),
    /// A GPU by NVML's index.
    Index(u32),
}

impl GpuChoice {
    /// Whether it means this GPU.
    pub fn is(&self, gpu: &GpuIdentity) -> bool {
        match self {
            GpuChoice::Uuid(uuid) => gpu.uuid == *uuid,
            GpuChoice::Index(index) => gpu.index == Some(*index),
        }
    }
}

impl fmt::Display for GpuChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GpuChoice::Uuid(uuid) => write!(f, "GPU {uuid}"),
            GpuChoice::Index(index) => write!(f, "GPU {index}"),
        }
    }
}

/// What CUDA_VISIBLE_DEVICES of an engine says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuNaming {
    /// The GPU's UUID.
    Uuid,
    /// A number.
    Index,
}

impl GpuNaming {
    /// The word that the file has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            GpuNaming::Uuid => "uuid",
            GpuNaming::Index => "index",
        }
    }

    /// Where the file does not say: vLLM up to 0.20 takes numbers alone.
    pub(super) fn of(kind: EngineKind) -> GpuNaming {
        if kind == EngineKind::Vllm { GpuNaming::Index } else { GpuNaming::Uuid }
    }
}

/// Who runs a group's control daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunBy {
    /// mpswarden starts and stops it.
    #[default]
    Us,
    /// Others do: it is found, watched and asked.
    Others,
}

impl RunBy {
    /// The word that the file has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            RunBy::Us => "own",
            RunBy::Others => "attach",
        }
    }
}

/// A group's control daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MpsConfiguration {
    /// Whether it is ours or others' to run.
    pub run_by: RunBy,
    /// `nvidia-cuda-mps-control`, found on PATH, or a path.
    pub binary: PathBuf,
    /// CUDA_MPS_PIPE_DIRECTORY, unique.
    pub pipe_directory: PathBuf,
    /// CUDA_MPS_LOG_DIRECTORY, unique.
    pub log_directory: PathBuf,
    /// Through whom it is restarted, where others run it.
    pub restart_by: RestartBy,
    /// Engines that others start find a gate in the pipe directory.
    pub gate: bool,
}

/// One engine.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfiguration {
    /// Its name, unique within its group.
    pub name: EngineName,
    /// Program and arguments; none of one that others run.
    pub command: Vec<String>,
    /// Where it is found and through whom it is restarted, where others run it.
    pub external: Option<External>,
    /// Which program it is: the file's word, else a guess from the command.
    pub kind: EngineKind,
    /// The user it runs as; `None`: the watchdog's.
    pub user: Option<String>,
    /// Working directory; `None`: the watchdog's.
    pub working_directory: Option<PathBuf>,
    /// Environment, over the watchdog's own and the file's.
    pub environment: BTreeMap<String, String>,
    /// `KEY=value` lines.
    pub environment_file: Option<PathBuf>,
    /// GPUs of its group that it uses; empty: all of them.
    pub gpus: Vec<GpuChoice>,
    /// What its CUDA_VISIBLE_DEVICES says.
    pub gpu_named_by: GpuNaming,
    /// `http://host:port`, `https://host:port` or `unix:/path`.
    pub url: String,
    /// Path of the health check under the URL.
    pub health_path: String,
    /// How long its health and its metrics may take to answer.
    pub health_timeout: Duration,
    /// Path of the metrics under the URL, unless `metrics_url` is there.
    pub metrics_path: String,
    /// Where its metrics are, if not under the URL.
    pub metrics_url: Option<MetricsUrl>,
    /// It may be asked for a token.
    pub probe_request: bool,
    /// What follows where it ends in order by itself.
    pub on_clean_end: CleanEnd,
    /// Share of the SMs in percent: over 0, at most 100.
    pub sm_percentage: Option<f64>,
    /// Limit of device memory in bytes.
    pub device_memory_limit: Option<u64>,
    /// Its kernels are recorded in sampled windows.
    pub probe: bool,
    /// Bytes of host memory.
    pub memory_max: Option<u64>,
    /// Upper bound from its start to serving.
    pub start_timeout: Duration,
    /// Upper bound for its requests to end before a planned stop.
    pub drain_timeout: Duration,
    /// Upper bound between TERM and KILL.
    pub stop_timeout: Duration,
    /// Requests running and no token, or no answer, for so long: it hangs.
    pub hang_after: Duration,
    /// Memory grows and load does not for so long: it leaks. It is restarted so long before its memory ends.
    pub leak_after: Duration,
}

/// Where an engine's metrics are, if not under its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsUrl {
    /// The metrics are at this URL, without a path, and this path.
    At(String, String),
    /// The engine has no metrics.
    Nowhere,
}

impl fmt::Display for MetricsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The path of a socket is no place for another.
            MetricsUrl::At(url, _) if url.starts_with("unix:") => f.write_str(url),
            MetricsUrl::At(url, path) => write!(f, "{url}{path}"),
            MetricsUrl::Nowhere => f.write_str("none"),
        }
    }
}

impl Configuration {
    /// Where a group's baselines are, if the file does not say: under the state directory.
    pub(super) fn default_baselines(state_directory: &Path, group: &str) -> PathBuf {
        state_directory.join("baselines").join(format!("{group}.json"))
    }

    /// Where a group's engines write their outputs: beside the logs of its control daemon, unless those are of others.
    pub fn outputs_directory(&self, group: &GroupConfiguration) -> PathBuf {
        match group.mps.run_by {
            RunBy::Us => group.mps.log_directory.clone(),
            RunBy::Others => self.state_directory.join("outputs").join(group.name.as_str()),
        }
    }

    /// What is wrong with the value of a key on this machine, with its place in the file.
    pub fn problem_of(&self, key: &str, what: String, hint: &str) -> Problems {
        Problems { file: self.places.file.clone(), list: vec![self.places.problem(key, what, hint)] }
    }

    /// A warning about the value of a key, with its place in the file.
    pub fn warning_of(&self, key: &str, what: String, hint: &str) -> Problem {
        self.places.warning(key, what, hint)
    }

    /// Whether the file says something of a key, and it is not the default that counts.
    pub fn is_written(&self, key: &str) -> bool {
        self.places.at.contains_key(key)
    }
}
