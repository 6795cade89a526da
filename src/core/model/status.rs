//! What the core knows, for gauges, JSON and people. Made whole each time; nothing stale remains.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gpu::{ComputeMode, GpuActivity, RecoveryAction};
use super::{
    Advice, Baseline, ContainerName, Custody, Doubt, EngineAddress, EngineIsolation, EngineKind, EngineLoad,
    EngineName, EngineState, Fault, GpuIdentity, GpuSet, GroupName, GroupState, HeldReason, Mode, Moment, ProbeState,
    ProcessId, Reason, RecoveryStep, ServerState, SourceStatus, Tier, Unknown,
};

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// When it was made.
    pub at: Moment,
    /// Whether every source has reported once.
    pub ready: bool,
    /// Groups by configuration order.
    pub groups: Vec<GroupStatus>,
    /// GPUs by index.
    pub gpus: Vec<GpuStatus>,
    /// Every source that is read.
    pub sources: Vec<SourceStatus>,
    /// Whether nothing of the watchdog's uses the driver: every group is stopped, and NVML is closed.
    #[serde(default)]
    pub driver_let_go: bool,
}

/// An address that HTTP is served on, or is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAddress {
    /// The address.
    pub address: String,
    /// Why it is not served now, for people; it is tried again. `None`: it is served.
    pub down: Option<String>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Name of the group.
    pub name: GroupName,
    /// GPUs of the group, which its control daemon serves.
    pub gpus: GpuSet,
    /// What the watchdog may do.
    pub mode: Mode,
    /// Custody of its control daemon: whose it is.
    #[serde(default)]
    pub custody: Custody,
    /// State of the group.
    pub state: GroupState,
    /// Whole-group starts so far.
    pub generation: u32,
    /// The control daemon: lives and answers; `None`: unknown, or it is down on purpose.
    pub control_up: Option<bool>,
    /// The control daemon's process.
    pub control: Option<ProcessId>,
    /// The server's state.
    pub server: ServerState,
    /// The server's pid.
    pub server_pid: Option<u32>,
    /// When the server was first seen.
    pub server_since: Option<Moment>,
    /// Number of the server's clients; `None`: unknown.
    pub clients: Option<u32>,
    /// How many it takes.
    pub clients_limit: Option<u32>,
    /// Clients that no engine owns; `None`: unknown.
    pub unknown_clients: Option<u32>,
    /// The restart on its way.
    pub recovery: Option<RecoveryStatus>,
    /// Why it is held, and in words.
    pub held: Option<(HeldReason, String)>,
    /// An operator's word that nothing is to be done here.
    pub hold: Option<Hold>,
    /// Whole-group restarts left in the window.
    pub budget_remaining: u32,
    /// Time with exactly so many engines having requests in flight, by their number from 0; since the
    /// watchdog's start, without times in which a load was unknown.
    pub active: Vec<Duration>,
    /// Faults that are there now; of the whole group where no engine is named.
    pub faults: Vec<(Option<EngineName>, Fault)>,
    /// The second side on the same GPU and the search that it is for; `None`: neither is there.
    #[serde(default)]
    pub isolation: Option<IsolationStatus>,
    /// Time with engines serving on both sides, since the watchdog's start.
    #[serde(default)]
    pub isolated: Duration,
    /// Part of `isolated` with requests in flight on both: two servers share the GPU by time slices and do not overlap.
    #[serde(default)]
    pub time_sliced: Duration,
    /// What the kernel probe saw, and whether sharing the GPU pays.
    #[serde(default)]
    pub overlap: OverlapStatus,
    /// Engines by configuration order, wherever they run.
    pub engines: Vec<EngineStatus>,
}

/// What the kernel probe saw of a group since the watchdog's start, and whether sharing the GPU pays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OverlapStatus {
    /// Windows that were counted.
    pub windows: u64,
    /// Time in them.
    pub sampled: Duration,
    /// Part of `sampled` with exactly so many clients' kernels on the GPU, by their number from 0.
    pub by_clients: Vec<Duration>,
    /// When the last one was counted.
    pub last_window: Option<Moment>,
    /// Sum over the engines with work of their rate together over their rate alone, at like load, of late.
    /// `None`: an engine with work has no baseline at such a load.
    pub gain: Option<f64>,
    /// Why sharing does not pay; empty: it does, or that is not known.
    pub advice: Vec<Advice>,
}

/// One engine's kernels, and how fast it is beside its siblings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineSharing {
    /// What its kernel probe does.
    pub probe: ProbeState,
    /// Why it does not work, for people.
    pub probe_note: Option<String>,
    /// Sampled time in which it had a kernel on the GPU, since the watchdog's start.
    pub kernel_busy: Duration,
    /// Its rate alone over its rate of late, at like load; `None`: no work, or no baseline at such a load.
    pub slowdown: Option<f64>,
    /// The newest of its baselines.
    pub baseline: Option<Baseline>,
    /// How many it has.
    pub baselines: u32,
}

/// The search for the engine whose faults repeat, and the group's second side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationStatus {
    /// Time since which it is searched; `None`: it is not, and the second side is there for one proven guilty.
    pub since: Option<Moment>,
    /// Who may be the culprit, the most suspected first.
    pub suspects: Vec<EngineName>,
    /// Who runs on the second side, by configuration order.
    pub apart: Vec<EngineName>,
    /// Who was proven guilty and was not released since.
    pub guilty: Vec<EngineName>,
    /// Faults since the search began, the one that began it included.
    pub faults: u32,
    /// The second server's state; `none`: there is none.
    pub server: ServerState,
    /// Pid of the server.
    pub server_pid: Option<u32>,
    /// The second control daemon's process.
    pub control: Option<ProcessId>,
}

/// An operator's word that nothing is to be done by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Reason for people.
    pub reason: String,
    /// Time since which it holds.
    pub since: Moment,
    /// Time until which it holds; `None`: until it is ended.
    pub until: Option<Moment>,
}

/// A restart on its way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecoveryStatus {
    /// How far it goes.
    pub tier: Tier,
    /// Reason for the recovery; `None`: the first start.
    pub reason: Option<Reason>,
    /// The step it is in.
    pub step: RecoveryStep,
    /// When its latest attempt was decided: a higher tier, another try and an operator's `resume` are a new one.
    pub since: Moment,
    /// When the next try is due; `None`: nothing waits for a time.
    #[serde(default)]
    pub next_try: Option<Moment>,
}

/// One engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Name of the engine.
    pub name: EngineName,
    /// Custody of its processes: whose they are.
    #[serde(default)]
    pub custody: Custody,
    /// What those who run it call its container; empty names: none, or not known.
    #[serde(default)]
    pub container: ContainerName,
    /// Where it answers HTTP; empty: an earlier version did not say, or it was found running and that is not known.
    #[serde(default = "no_address")]
    pub address: EngineAddress,
    /// State of the engine.
    pub state: EngineState,
    /// All of it is clients of this group's server; `false`: it computes outside it; `None`: unknown, or it
    /// has nothing on the GPU.
    pub attached: Option<bool>,
    /// Bytes of device memory of its whole tree; `None`: unknown.
    pub device_memory: Option<u64>,
    /// Its limit in bytes, if one is set.
    pub device_memory_limit: Option<u64>,
    /// Time until its device memory reaches its limit, or the GPU's end, as it grew lately; `None`: it does not grow,
    /// or it is not known.
    pub memory_time_to_limit: Option<Duration>,
    /// Share of the SMs that MPS lets it use, as its processes were told, 0 to 1; `None`: unknown, or it has no process.
    #[serde(default)]
    pub sm_limit: Option<f64>,
    /// Bytes of host memory of its whole tree; `None`: unknown.
    pub resident_memory: Option<u64>,
    /// CPU time of all its processes that were seen, since the watchdog's start.
    pub cpu: Duration,
    /// What it says of its load; `None`: unknown.
    pub load: Option<EngineLoad>,
    /// Which program it is: the configuration's word, else what its metrics show, else a guess from its command.
    #[serde(default)]
    pub kind: EngineKind,
    /// What can't be known of it, and why.
    #[serde(default)]
    pub unknown: Vec<Unknown>,
    /// Error lines of its output that no fact confirmed since the watchdog's start, by their code.
    #[serde(default)]
    pub doubted: Vec<(u32, Doubt, u64)>,
    /// Main process of the engine.
    pub main: Option<ProcessId>,
    /// Its processes that are clients.
    pub clients: Vec<u32>,
    /// Starts so far.
    pub incarnation: u32,
    /// Failures in the window.
    pub failures: u32,
    /// When its next start, or the next try to end it, is due; `None`: nothing waits for a time.
    #[serde(default)]
    pub next_try: Option<Moment>,
    /// What the search for the cause of repeated faults makes of it.
    #[serde(default = "no_suspicion")]
    pub isolation: EngineIsolation,
    /// Its kernels, and how fast it is beside its siblings.
    #[serde(default)]
    pub sharing: EngineSharing,
    /// Sentence about why it does not serve.
    pub note: Option<String>,
    /// Others run it, and it has not been found since the watchdog's start.
    #[serde(default)]
    pub missing: bool,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuStatus {
    /// Identity of the GPU.
    pub identity: GpuIdentity,
    /// Bytes in use; `None`: unknown.
    pub memory_used: Option<u64>,
    /// 0 to 1; `None`: unknown.
    pub busy: Option<f64>,
    /// How busy its parts were; `None`: unknown, or not counted.
    pub activity: Option<GpuActivity>,
    /// Processes that compute on it and belong to no group; `None`: unknown.
    pub foreign_processes: Option<u32>,
    /// Who may make contexts.
    pub compute_mode: ComputeMode,
    /// What the driver wants; `None`: unknown.
    pub recovery_action: Option<RecoveryAction>,
}

fn no_address() -> EngineAddress {
    EngineAddress::from("")
}

fn no_suspicion() -> EngineIsolation {
    EngineIsolation::None
}

impl Status {
    /// The group of that name.
    pub fn group(&self, name: &str) -> Option<&GroupStatus> {
        self.groups.iter().find(|group| group.name.as_str() == name)
    }

    /// Whether a GPU of it is simulated: then nothing in it is about real hardware.
    pub fn is_simulated(&self) -> bool {
        self.gpus.iter().any(|gpu| gpu.identity.is_simulated())
    }
}

impl OverlapStatus {
    /// Share of the sampled time with exactly so many clients' kernels on the GPU, by their number from 0;
    /// empty: none was sampled.
    pub fn shares(&self) -> Vec<f64> {
        let sampled = self.sampled.as_secs_f64();
        if sampled <= 0.0 {
            return Vec::new();
        }
        self.by_clients.iter().map(|time| time.as_secs_f64() / sampled).collect()
    }
}

impl GroupStatus {
    /// The engine of that name.
    pub fn engine(&self, name: &str) -> Option<&EngineStatus> {
        self.engines.iter().find(|engine| engine.name.as_str() == name)
    }
}
