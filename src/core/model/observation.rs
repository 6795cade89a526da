//! Observations: facts come into the core in this shape and in no other.

use serde::{Deserialize, Serialize};

use super::gpu::RecoveryAction;
use super::{
    CommandLine, CommandResult, DomainId, EngineLoad, Exit, GpuReading, GpuUuid, GroupName, InstanceId, LinePlace,
    Member, Moment, MpsEnvironment, OverlapWindow, Owner, ProbeState, ProcessId, ProcessUsage, Saying, ServerLine,
    ServerState, SourceScope, SourceState, Traffic,
};

/// One fact from the outside world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Observation {
    /// NVML read a GPU.
    Gpu {
        /// The GPU.
        gpu: GpuUuid,
        /// The reading.
        reading: GpuReading,
    },
    /// NVML says that a GPU is lost.
    GpuLost {
        /// The GPU.
        gpu: GpuUuid,
        /// NVML's words.
        why: String,
    },
    /// NVML says that a GPU needs a reset. Every other error of NVML is blindness.
    GpuResetNeeded {
        /// The GPU.
        gpu: GpuUuid,
        /// NVML's words.
        why: String,
    },
    /// The driver announced in the kernel log that it wants something done to a GPU from now on (Xid 154).
    RecoveryAction {
        /// The GPU.
        gpu: GpuUuid,
        /// The action.
        action: RecoveryAction,
    },
    /// The driver reported an Xid. The server is asked; what else it means stands in one table
    /// of the core.
    Xid {
        /// The GPU, where the line names one that is known.
        gpu: Option<GpuUuid>,
        /// The Xid's number.
        xid: u32,
        /// The pid in the line: close to worthless, kept as evidence.
        pid: Option<u32>,
        /// Where it came from.
        via: XidVia,
    },
    /// A line of a group's daemon log.
    Log {
        /// Domain whose daemon wrote the log.
        domain: DomainId,
        /// The line.
        line: ServerLine,
        /// The line's own time.
        stamped: Moment,
    },
    /// A server wrote a line that is none of the known ones. Words, kept for the case that it comes to nothing.
    ServerSaid {
        /// Domain of the server.
        domain: DomainId,
        /// The server's pid.
        server: u32,
        /// Words of the server, shortened.
        words: String,
        /// Something went wrong, by these words.
        trouble: bool,
    },
    /// Which processes of a group's engines have a connection to its pipe directory, accepted or not.
    Pipe {
        /// Domain of the pipe.
        domain: DomainId,
        /// Pids of those that are connected.
        connected: Vec<u32>,
    },
    /// A control command ended.
    ControlReply {
        /// Domain of the daemon.
        domain: DomainId,
        /// Result of the command.
        result: CommandResult,
    },
    /// `get_server_list` and `get_server_status` answered. `server` is `None` with `ServerState::None`.
    Server {
        /// Domain of the server.
        domain: DomainId,
        /// The server's pid.
        server: Option<u32>,
        /// State of the server.
        state: ServerState,
    },
    /// `get_client_list` answered.
    Clients {
        /// Domain of the server.
        domain: DomainId,
        /// The server that was asked.
        server: u32,
        /// Pids of its clients.
        clients: Vec<u32>,
    },
    /// A watched process ended.
    Ended {
        /// Owner of the process.
        owner: Owner,
        /// Identity of the process.
        process: ProcessId,
        /// Exit of the process.
        exit: Exit,
    },
    /// An engine that others run was taken away, or left in order: its cgroup is gone, or its main process ended as one
    /// does that was asked to.
    Removed {
        /// The incarnation that it was here.
        instance: InstanceId,
        /// Main process of this incarnation.
        process: ProcessId,
        /// Exit of the process.
        exit: Exit,
    },
    /// All living processes of an engine, its cgroup or its session and descendants.
    Tree {
        /// The engine.
        engine: Member,
        /// Processes of the tree; empty when none is left.
        processes: Vec<ProcessId>,
    },
    /// Processes that know the engine's word and that nothing else shows to be the engine's; its tree is observed next.
    /// They end with it, and are no evidence against it.
    Claimed {
        /// Whose word it is.
        engine: Member,
        /// Identities of the processes.
        processes: Vec<ProcessId>,
    },
    /// What /proc says of processes that no engine owns.
    CommandLines {
        /// Domain that asked.
        domain: DomainId,
        /// Pids that were asked for.
        asked: Vec<u32>,
        /// Those of them that are there.
        found: Vec<CommandLine>,
    },
    /// An engine's health endpoint.
    Health {
        /// The engine.
        engine: Member,
        /// The answer.
        health: Health,
    },
    /// What all living processes of an engine use.
    Usage {
        /// The engine.
        engine: Member,
        /// Which and how much; empty when none is left.
        processes: Vec<ProcessUsage>,
    },
    /// What an engine says of its load.
    Load {
        /// The engine.
        engine: Member,
        /// Load as the engine reports it.
        load: EngineLoad,
    },
    /// A line of an engine's output was recognized. A word, never a fact.
    Said {
        /// The engine.
        engine: Member,
        /// What it seems to say.
        saying: Saying,
        /// Where the line stands.
        place: LinePlace,
    },
    /// The connections to an engine's port, or why they can't be seen.
    Traffic {
        /// The engine.
        engine: Member,
        /// What the kernel said.
        traffic: Result<Traffic, String>,
    },
    /// An engine was asked for one token. Where its answer says nothing of that there is no observation.
    Token {
        /// The engine.
        engine: Member,
        /// The engine gave the token; `false`: no answer came in time.
        given: bool,
    },
    /// The kernel's OOM killer took a process, by the kernel log. Whose it was is found out by its pid.
    OomKill {
        /// Pid of the process.
        pid: u32,
        /// What the kernel said, cut at 300 bytes.
        line: String,
    },
    /// How many processes of an engine the kernel's OOM killer took since its start, by its cgroup.
    MemoryEvents {
        /// The engine.
        engine: Member,
        /// `oom_kill` of memory.events.
        oom_kills: u64,
    },
    /// Host memory that is left for new processes, of the whole machine.
    HostMemory {
        /// The domain whose engines were looked at.
        domain: DomainId,
        /// Bytes: MemAvailable.
        available: u64,
    },
    /// Settings of MPS that the processes of an engine were started with.
    Environment {
        /// The engine.
        engine: Member,
        /// Those that could be read.
        processes: Vec<MpsEnvironment>,
        /// Those that have overwritten it, as `setproctitle` does: their settings can't be seen any more.
        overwritten: Vec<ProcessId>,
    },
    /// A window of the kernel probe ended, and every probed engine of the group answered.
    Overlap {
        /// The group.
        group: GroupName,
        /// Contents of the window.
        window: OverlapWindow,
    },
    /// An engine's kernel probe changed its state.
    Probe {
        /// The engine.
        engine: Member,
        /// What it does now.
        state: ProbeState,
        /// Why it can't work, for people.
        why: Option<String>,
    },
    /// A source that comes by itself, as a log does, is read and understood again.
    Heard {
        /// Source that is heard again, and what it is read for.
        scope: SourceScope,
    },
    /// A source could not be read. It says nothing about what it would have shown.
    Blind {
        /// Source that can't be read, and what it is read for.
        scope: SourceScope,
        /// State of the source; never [`SourceState::Answers`].
        state: SourceState,
        /// Reason for people.
        why: String,
    },
}

/// Where an Xid was seen; one Xid often comes both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum XidVia {
    /// The kernel log.
    Kmsg,
    /// An NVML event.
    Nvml,
}

/// What a health endpoint said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// The status 200.
    Ok,
    /// Another status.
    Status(u16),
    /// No connection: nothing listens.
    Refused,
    /// A connection and no answer in time, or garbage.
    NoAnswer,
}
