//! What the operator allows and wants, as the core needs it. Made from the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{
    Baseline, ContainerName, Custody, EngineAddress, EngineKind, EngineName, Fault, GpuIdentity, GpuSet, GroupName,
    Mode, MpsEnvironment, ProcessId,
};

/// Everything the core must know beforehand.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// GPUs that groups use.
    pub gpus: Vec<GpuIdentity>,
    /// Groups, in the order of the configuration.
    pub groups: Vec<GroupPolicy>,
    /// Where jitter comes from: randomness is a value.
    pub seed: u64,
}

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupPolicy {
    /// Name of the group.
    pub name: GroupName,
    /// GPUs of the group, which its control daemon serves.
    pub gpus: GpuSet,
    /// Whose its control daemon is.
    pub custody: Custody,
    /// What the watchdog may do.
    pub mode: Mode,
    /// Faults with a mode of their own; a group that observes observes them all.
    pub faults: BTreeMap<Fault, Mode>,
    /// What becomes of clients that no engine owns.
    pub unknown_clients: UnknownClients,
    /// What a fault on some of its GPUs is to the engines on the others.
    pub spread: Spread,
    /// What is done when faults of the whole group repeat.
    pub isolation: IsolationPolicy,
    /// What is measured of the engines' sharing of the GPU.
    pub overlap: OverlapPolicy,
    /// Restarts and their limits.
    pub recovery: RecoveryPolicy,
    /// Engines, in the order of their start.
    pub engines: Vec<EnginePolicy>,
    /// Clients that the server takes by the driver's version (48, measured with driver 580), until a server says how
    /// many; `None`: not known.
    pub clients_limit: Option<u32>,
}

/// What a fault that hit some of a server's GPUs is to the engines on the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Who lost no context serves on. New engines wait until the server is ACTIVE again.
    #[default]
    Wait,
    /// All engines are restarted.
    RestartAll,
}

/// What becomes of a client of the server that no engine owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownClients {
    /// The process is reported.
    Report,
    /// It is killed when it holds the server in FAULT.
    KillOnFault,
}

/// What is done when faults of the whole group repeat: the search for their culprit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsolationPolicy {
    /// Whether it is searched for.
    pub mode: IsolationMode,
    /// A fault so soon after the last one is a repetition; so long without one ends the search.
    pub window: Duration,
    /// What becomes of an engine that was proven guilty.
    pub quarantine: Quarantine,
}

/// Whether the culprit of repeated faults is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationMode {
    /// The culprit is searched for.
    Enforce,
    /// It is only reported that the culprit would be searched for.
    Observe,
    /// The culprit is not searched for.
    Off,
}

/// What becomes of an engine that was proven guilty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// It serves on, alone on a second server of the same GPU: its faults harm no other engine.
    Apart,
    /// It serves on outside MPS: its faults harm no other engine, and no limit of MPS binds it.
    Outside,
    /// The engine is stopped.
    Stopped,
}

/// What is measured of the engines' sharing of the GPU, and when it does not pay.
#[derive(Clone, Debug, PartialEq)]
pub struct OverlapPolicy {
    /// How long a window of the kernel probe is.
    pub window: Duration,
    /// Time from one window to the next, on average.
    pub period: Duration,
    /// How fast engines are alone: the configuration's word, and a study's.
    pub baselines: Vec<Baseline>,
    /// A gain under this does not pay.
    pub low_gain: f64,
    /// A slow-down of one engine over this does not pay; `None`: any does.
    pub most_slowdown: Option<f64>,
    /// Time without a break before advice is given.
    pub advice_after: Duration,
}

/// Restarts and their limits.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveryPolicy {
    /// Whole-group restarts within `budget_window`.
    pub budget: u32,
    /// The window of both budgets.
    pub budget_window: Duration,
    /// Serving so long gives the budget back.
    pub stable_after: Duration,
    /// What is done when the budget is spent.
    pub when_spent: WhenSpent,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Failures of one engine within the window before it is quarantined.
    pub engine_budget: u32,
    /// Upper bound for the old generation's device memory to come back.
    pub memory_timeout: Duration,
    /// A control daemon that does not answer gets this long while the engines are fine.
    pub wedge_grace: Duration,
    /// Order in which engines start.
    pub start: StartOrder,
}

/// When the budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenSpent {
    /// Go on at the longest back-off.
    Slow,
    /// Hold the group.
    Hold,
}

/// The orders in which engines start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOrder {
    /// Each once the one before it serves: engines that profile free memory need it.
    Sequential,
    /// Each once the one before it has allocated its memory.
    Staggered,
    /// All at once.
    Parallel,
}

/// Waits between attempts: `first`, then `next`, each later one `factor` times longer, `most` at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// Pause before the first attempt.
    pub first: Duration,
    /// Pause before the second.
    pub next: Duration,
    /// Factor from each pause to the next.
    pub factor: f64,
    /// The longest.
    pub most: Duration,
    /// Each wait varies by this share, up or down: 0 to 1.
    pub jitter: f64,
}

/// One engine.
#[derive(Clone, Debug, PartialEq)]
pub struct EnginePolicy {
    /// Name of the engine.
    pub name: EngineName,
    /// Custody of its processes: whose they are.
    pub custody: Custody,
    /// Whether it stays where it has no process.
    pub origin: Origin,
    /// What those who run it call its container, where others do.
    pub container: ContainerName,
    /// Where it answers HTTP; for readers of the status. Empty: that is not known, so that it is not asked.
    pub address: EngineAddress,
    /// CUDA_MPS_PINNED_DEVICE_MEM_LIMIT in bytes.
    pub device_memory_limit: Option<u64>,
    /// Bytes of host memory that its cgroup allows, where it has one.
    pub memory_max: Option<u64>,
    /// Upper bound from its start to serving.
    pub start_timeout: Duration,
    /// Upper bound between TERM and KILL.
    pub stop_timeout: Duration,
    /// Upper bound for requests in flight to end before an ordered stop.
    pub drain_timeout: Duration,
    /// Requests running and no token for so long.
    pub hang_after: Duration,
    /// Memory grows and load does not for so long; also how long before its end it is restarted.
    pub leak_after: Duration,
    /// CUDA_MPS_ACTIVE_THREAD_PERCENTAGE is set.
    pub sm_limited: bool,
    /// Its value, 0 to 100; `None`: it is not known here, or not set.
    pub sm_percentage: Option<f64>,
    /// Which program it is: the configuration's word, else a guess from its command.
    pub kind: EngineKind,
    /// How long its health and its metrics may take to answer.
    pub health_timeout: Duration,
    /// It may be asked for a token where nothing else tells whether it hangs.
    pub probe_request: bool,
    /// Its kernels are recorded in sampled windows.
    pub probe: bool,
    /// What follows where it ends in order by itself.
    pub on_clean_end: CleanEnd,
    /// Number of how it is started: with another number what was learnt of it is void.
    pub launch: u64,
}

/// Where an engine is known from, and so whether it stays where it has no process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// It is configured, and stays.
    #[default]
    Configured,
    /// It was found running, and is forgotten once those who run it have taken it away.
    Found,
}

/// What follows where an engine that served ends by itself, in order: with status 0, its GPU process not before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CleanEnd {
    /// The engine failed, and is started again: a server has no end of its own.
    #[default]
    Restart,
    /// Its work is done, and it stays down.
    Stop,
}

/// How an engine uses MPS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MpsUse {
    /// The engine is a client of its group's server.
    #[default]
    Client,
    /// Not at all.
    Outside,
}

impl EnginePolicy {
    /// Whether it can be asked for its health and its load.
    pub fn is_asked(&self) -> bool {
        !self.address.as_str().is_empty()
    }

    /// Settings of MPS that its main process is started with.
    pub fn mps_environment(&self, process: ProcessId, mps: MpsUse) -> MpsEnvironment {
        let inside = mps == MpsUse::Client;
        MpsEnvironment {
            process,
            own_pipe: inside,
            thread_percentage: inside && self.sm_limited,
            percentage: self.sm_percentage.filter(|_| inside).map(|percent| (percent * 100.0).round() as u32),
            memory_limit: inside && self.device_memory_limit.is_some(),
        }
    }
}

impl GroupPolicy {
    /// What may be done about `fault` in this group.
    pub fn mode_of(&self, fault: Fault) -> Mode {
        match self.mode {
            Mode::Observe => Mode::Observe,
            Mode::Enforce => self.faults.get(&fault).copied().unwrap_or(Mode::Enforce),
        }
    }
}

impl Default for IsolationPolicy {
    fn default() -> Self {
        let window = Duration::from_secs(3600);
        IsolationPolicy { mode: IsolationMode::Enforce, window, quarantine: Quarantine::Apart }
    }
}

impl Default for OverlapPolicy {
    fn default() -> Self {
        OverlapPolicy {
            window: Duration::from_millis(50),
            period: Duration::from_secs(10),
            baselines: Vec::new(),
            low_gain: 1.05,
            most_slowdown: None,
            advice_after: Duration::from_secs(3600),
        }
    }
}

impl Default for RecoveryPolicy {
    /// The defaults that the configuration promises.
    fn default() -> Self {
        RecoveryPolicy {
            budget: 5,
            budget_window: Duration::from_secs(3600),
            stable_after: Duration::from_secs(600),
            when_spent: WhenSpent::Slow,
            backoff: Backoff::default(),
            engine_budget: 5,
            memory_timeout: Duration::from_secs(30),
            wedge_grace: Duration::from_secs(15),
            start: StartOrder::Sequential,
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            first: Duration::ZERO,
            next: Duration::from_secs(1),
            factor: 2.0,
            most: Duration::from_secs(600),
            jitter: 0.2,
        }
    }
}
