//! Actions that the core sends. Each gets exactly one outcome, by its deadline.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words::words;
use super::{ActionId, DomainId, EngineName, GpuUuid, GroupName, InstanceId, Member, Moment, ProcessId};

/// An action with its name and the latest moment for its outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SentAction {
    /// Names the outcome that belongs to it.
    pub id: ActionId,
    /// When the executor answers `TimedOut` whatever became of it.
    pub deadline: Moment,
    /// The action.
    pub action: Action,
}

/// An action of the core. The caller carries out all in the order given; `Save` before anything after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Read something and answer with observations, then the outcome. Touches nothing.
    Look(Look),
    /// Keep what must survive a crash of the watchdog; serialized by the core.
    Save {
        /// The core's memory as JSON.
        memory: String,
    },
    /// Follow the end of a server that the control daemon started.
    WatchServer {
        /// Domain of the server.
        domain: DomainId,
        /// Pid of the server.
        server: u32,
    },
    /// Start the control daemon and wait until it answers a command.
    StartControl {
        /// Domain of the daemon.
        domain: DomainId,
    },
    /// Find the control daemon that others run, and wait until it answers a command. Touches nothing.
    FindControl {
        /// Domain of the daemon.
        domain: DomainId,
    },
    /// `quit -t`, then KILL of the daemon and server if they live, proven by start time; then sweep
    /// the pipe directory if no process uses it.
    StopControl {
        /// Domain of the daemon.
        domain: DomainId,
        /// The `-t` of quit; zero: no quit, KILL at once.
        grace: Duration,
        /// The server, if one is known, to be proven gone.
        server: Option<ProcessId>,
    },
    /// `start_server -uid` with the watchdog's own uid.
    StartServer {
        /// Domain of the server.
        domain: DomainId,
    },
    /// Start one engine in a session (and cgroup) of its own.
    StartEngine {
        /// The incarnation that is started.
        instance: InstanceId,
        /// Outside MPS, whatever daemon runs.
        outside: bool,
    },
    /// Find an engine that others run, and watch its main process. Touches nothing.
    FindEngine {
        /// The incarnation that it is here.
        instance: InstanceId,
    },
    /// Give the engine no new request and wait for its last one to end: `Done` then, `TimedOut` where its time is over
    /// first. What is in flight is known from the readings of its load and connections meanwhile.
    Fence {
        /// The engine.
        engine: Member,
        /// Longest time that its requests may take.
        within: Duration,
    },
    /// KILL every process of these engines at once, children too, and these strays.
    KillEngines {
        /// Domain of the engines.
        domain: DomainId,
        /// Names of the engines.
        engines: Vec<EngineName>,
        /// Clients of the server that no engine owns and that the policy gives up: killed only if they
        /// still are in its client list once a pidfd is open on them.
        strays: Vec<u32>,
    },
    /// Wait until every process that was signalled, and every other of these engines, is gone.
    AwaitGone {
        /// Domain of the engines.
        domain: DomainId,
        /// Names of the engines.
        engines: Vec<EngineName>,
        /// Processes that were signalled.
        processes: Vec<ProcessId>,
    },
    /// `terminate_client` for each, one at a time, each bounded at 2 s.
    TerminateClients {
        /// The engine that owns them.
        engine: Member,
        /// The server.
        server: u32,
        /// The clients.
        clients: Vec<u32>,
    },
    /// Close NVML and wait until nothing of ours has it open. The next reading of a GPU opens it anew.
    LetGoOfDriver,
    /// TERM to the main process, KILL to all that is left after `grace`, proven gone.
    StopEngine {
        /// The engine that is stopped.
        engine: Member,
        /// Time between TERM and KILL; zero: KILL at once.
        grace: Duration,
    },
}

impl Action {
    /// Whether it changes the world outside (a look, a watch, a save and a fence do not, nor does finding what others
    /// run, nor closing NVML).
    pub fn intervenes(&self) -> bool {
        match self {
            Action::Look(_)
            | Action::Save { .. }
            | Action::WatchServer { .. }
            | Action::FindControl { .. }
            | Action::FindEngine { .. }
            | Action::LetGoOfDriver
            | Action::Fence { .. } => false,
            Action::StartControl { .. }
            | Action::StopControl { .. }
            | Action::StartServer { .. }
            | Action::StartEngine { .. }
            | Action::KillEngines { .. }
            | Action::AwaitGone { .. }
            | Action::TerminateClients { .. }
            | Action::StopEngine { .. } => true,
        }
    }
}

words!(
    /// An action whose failure is reported, or whose outcome did not come in time.
    FailedAction {
        /// Start the control daemon.
        StartControl = "start_control",
        /// Find the control daemon that others run.
        FindControl = "find_control",
        /// Stop the control daemon.
        StopControl = "stop_control",
        /// Wait for the server to be ACTIVE.
        AwaitActive = "await_active",
        /// End every process of a group.
        Kill = "kill",
        /// Wait for every process that was signalled to be gone.
        AwaitGone = "gone",
        /// Start an engine.
        StartEngine = "start",
        /// Find an engine that others run.
        FindEngine = "find",
        /// Stop an engine.
        StopEngine = "stop",
        /// Close NVML.
        LetGoOfDriver = "let_go_of_driver",
        /// Take an engine's clients off the server.
        TerminateClients = "terminate_client",
    }
);

/// A reading that the core asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Look {
    /// One NVML reading.
    Gpu(GpuUuid),
    /// The server's list and state: two control commands, one if the pid is given.
    Server {
        /// Domain of the server.
        domain: DomainId,
        /// Its pid, if known.
        server: Option<u32>,
    },
    /// The server's client list: one control command.
    Clients {
        /// Domain of the server.
        domain: DomainId,
        /// The server.
        server: u32,
    },
    /// The processes of all engines of a domain.
    Trees(DomainId),
    /// Which processes of its engines have a connection to its pipe directory.
    Pipe(DomainId),
    /// What /proc says of processes that no engine owns.
    CommandLines {
        /// Domain that asks.
        domain: DomainId,
        /// Pids of the processes.
        pids: Vec<u32>,
    },
    /// One engine's health endpoint.
    Health(Member),
    /// One engine's own metrics.
    Load(Member),
    /// Settings of MPS that one engine's processes were started with.
    Environment(Member),
    /// The connections to one engine's port.
    Traffic(Member),
    /// One token of an engine, where its configuration lets it be asked for.
    Token(Member),
    /// One window of the kernel probe, of all of a group's engines that have one, in whichever domain.
    Overlap(GroupName),
}
