//! A group for programs, with the restart on its way, its hold, its isolation and what sharing the GPU brings.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::engine::EngineDocument;
use super::machine::ProcessDocument;
use super::times::{Wall, finite, seconds};
use super::word::Word;
use crate::model::status::{IsolationStatus, RecoveryStatus};
use crate::model::{
    Advice, AdviceReason, Fault, GroupState, GroupStatus, HeldReason, Hold, ManagedBy, Mode, OverlapStatus, Reason,
    RecoveryStep, ServerState, Tier,
};

/// One group: a control daemon, its server and the engines that share its fate.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Group")]
pub(super) struct GroupDocument {
    /// The group's name.
    name: String,
    /// UUID of its first GPU; most have one.
    gpu: String,
    /// UUIDs of all of its GPUs.
    gpus: Vec<String>,
    /// What the watchdog may do to it.
    mode: Word<Mode>,
    /// Who starts and stops its control daemon.
    managed_by: Word<ManagedBy>,
    /// How the group stands.
    state: Word<GroupState>,
    /// Starts of the whole group so far.
    generation: u32,
    /// Whether the control daemon lives and answers.
    control_up: Option<bool>,
    /// The control daemon's process.
    control: Option<ProcessDocument>,
    /// The state of the MPS server.
    server: Word<ServerState>,
    /// The server's pid.
    server_pid: Option<u32>,
    /// When the server was first seen.
    #[schemars(extend("format" = "date-time"))]
    server_since: Option<String>,
    /// When the server was first seen, in seconds since 1970.
    server_since_timestamp_seconds: Option<f64>,
    /// Clients of the server.
    clients: Option<u32>,
    /// Clients that the server takes.
    clients_limit: Option<u32>,
    /// Clients that no engine owns.
    unknown_clients: Option<u32>,
    /// The restart on its way.
    recovery: Option<RecoveryDocument>,
    /// Why the watchdog can't go on here; null: it can.
    held: Option<HeldDocument>,
    /// An operator's word that nothing is to be done here by itself.
    hold: Option<HoldDocument>,
    /// Whole-group restarts that are left in the window.
    budget_remaining: u32,
    /// Time with exactly so many engines having requests in flight, since the watchdog's start.
    active: Vec<ActiveDocument>,
    /// Faults that are there now.
    faults: Vec<FaultDocument>,
    /// The search for the engine whose faults repeat; null: there is none, and no second server.
    isolation: Option<IsolationDocument>,
    /// Time with engines serving on two servers, since the watchdog's start.
    isolated_seconds: f64,
    /// Time with requests in flight on two servers, which share the GPU by time slices.
    time_sliced_seconds: f64,
    /// What the kernel probe saw, and whether sharing the GPU pays.
    overlap: OverlapDocument,
    /// The engines, in the order of the configuration.
    engines: Vec<EngineDocument>,
}

/// A restart on its way.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Recovery")]
struct RecoveryDocument {
    /// How far it goes.
    tier: Word<Tier>,
    /// Why it is done; null: it is the first start.
    reason: Option<Word<Reason>>,
    /// The step that it is in.
    step: Word<RecoveryStep>,
    /// When its latest attempt was decided: a higher tier, another try and a `resume` are a new one.
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// When its latest attempt was decided, in seconds since 1970.
    since_timestamp_seconds: f64,
    /// When the next try is due; null: nothing waits for a time.
    #[schemars(extend("format" = "date-time"))]
    next_try: Option<String>,
    /// When the next try is due, in seconds since 1970.
    next_try_timestamp_seconds: Option<f64>,
}

/// Why the watchdog can't go on by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Held")]
struct HeldDocument {
    /// The reason, as the metrics spell it.
    reason: Word<HeldReason>,
    /// The reason in words, with what to do.
    detail: String,
}

/// An operator's word that nothing is to be done by itself.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Hold")]
struct HoldDocument {
    /// Why, as the operator wrote it.
    reason: String,
    /// When the hold began.
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// When the hold began, in seconds since 1970.
    since_timestamp_seconds: f64,
    /// When the hold ends by itself; null: when somebody resumes the group.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// When the hold ends by itself, in seconds since 1970.
    until_timestamp_seconds: Option<f64>,
}

/// Time with exactly so many engines having requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Active")]
struct ActiveDocument {
    /// Number of engines that had requests in flight.
    engines: usize,
    /// Time with that number.
    seconds: f64,
}

/// A fault that is there now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "FaultNow")]
struct FaultDocument {
    /// The engine that has it; null: the whole group.
    engine: Option<String>,
    /// The fault.
    fault: Word<Fault>,
}

/// The search for the engine whose faults repeat, and the group's second server.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Isolation")]
struct IsolationDocument {
    /// When the search began; null: it is over, and the second server is there for one proven guilty.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// When the search began, in seconds since 1970.
    since_timestamp_seconds: Option<f64>,
    /// Engines that may be the culprit, the most suspected first.
    suspects: Vec<String>,
    /// Engines that run on the second server.
    apart: Vec<String>,
    /// Engines that were proven guilty and not released since.
    guilty: Vec<String>,
    /// Faults since the search began, the one that began it included.
    faults: u32,
    /// The second server's state.
    server: Word<ServerState>,
    /// The second server's pid.
    server_pid: Option<u32>,
    /// The second control daemon's process.
    control: Option<ProcessDocument>,
}

/// What the kernel probe saw of a group, and whether sharing the GPU pays.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Overlap")]
struct OverlapDocument {
    /// Windows that were counted.
    windows: u64,
    /// Time in these windows.
    sampled_seconds: f64,
    /// Time with exactly so many clients' kernels on the GPU.
    by_clients: Vec<ClientsDocument>,
    /// When the last window was counted.
    #[schemars(extend("format" = "date-time"))]
    last_window: Option<String>,
    /// When the last window was counted, in seconds since 1970.
    last_window_timestamp_seconds: Option<f64>,
    /// Sum over the engines of their rate together over their rate alone: 1 is what one engine at a time gets done.
    gain: Option<f64>,
    /// Why sharing does not pay; empty: it does, or nobody knows.
    advice: Vec<AdviceDocument>,
}

/// Time with exactly so many clients' kernels on the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ByClients")]
struct ClientsDocument {
    /// Number of clients that had a kernel there.
    clients: usize,
    /// Time with that number.
    seconds: f64,
}

/// Sharing has not paid for so long that somebody should know.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Advice")]
struct AdviceDocument {
    /// Why sharing does not pay.
    reason: Word<AdviceReason>,
    /// The engine that is slowed down; null: it is about the group.
    engine: Option<String>,
    /// Moment since which sharing has not paid, without a break.
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// Moment since which sharing has not paid, in seconds since 1970.
    since_timestamp_seconds: f64,
    /// The gain, or the factor by which the engine is slower than alone.
    value: Option<f64>,
}

impl GroupDocument {
    pub(super) fn of(group: &GroupStatus, wall: Wall) -> GroupDocument {
        #[rustfmt::skip]
        let GroupStatus {
            name, gpus, mode, custody, state, generation, control_up, control, server, server_pid, server_since,
            clients, clients_limit, unknown_clients, recovery, held, hold, budget_remaining, active, faults, isolation, isolated,
            time_sliced, overlap, engines,
        } = group;
        let (server_since, server_since_timestamp_seconds) = wall.both_of(*server_since);
        let held = held.as_ref().map(|(reason, detail)| HeldDocument { reason: Word(*reason), detail: detail.clone() });
        let fault = |(engine, fault): &(Option<crate::model::EngineName>, Fault)| FaultDocument {
            engine: engine.as_ref().map(ToString::to_string),
            fault: Word(*fault),
        };
        GroupDocument {
            name: name.to_string(),
            gpu: gpus.first().to_string(),
            gpus: gpus.iter().map(ToString::to_string).collect(),
            mode: Word(*mode),
            managed_by: Word(custody.managed_by()),
            state: Word(*state),
            generation: *generation,
            control_up: *control_up,
            control: control.map(ProcessDocument::of),
            server: Word(*server),
            server_pid: *server_pid,
            server_since,
            server_since_timestamp_seconds,
            clients: *clients,
            clients_limit: *clients_limit,
            unknown_clients: *unknown_clients,
            recovery: recovery.map(|recovery| RecoveryDocument::of(recovery, wall)),
            held,
            hold: hold.as_ref().map(|hold| HoldDocument::of(hold, wall)),
            budget_remaining: *budget_remaining,
            active: counted(active, |engines, seconds| ActiveDocument { engines, seconds }),
            faults: faults.iter().map(fault).collect(),
            isolation: isolation.as_ref().map(|isolation| IsolationDocument::of(isolation, wall)),
            isolated_seconds: seconds(*isolated),
            time_sliced_seconds: seconds(*time_sliced),
            overlap: OverlapDocument::of(overlap, wall),
            engines: engines.iter().map(|engine| EngineDocument::of(engine, wall)).collect(),
        }
    }
}

/// Times by the number that each is for, from 0.
fn counted<T>(times: &[Duration], of: impl Fn(usize, f64) -> T) -> Vec<T> {
    times.iter().enumerate().map(|(number, time)| of(number, seconds(*time))).collect()
}

fn names(names: &[crate::model::EngineName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

impl RecoveryDocument {
    fn of(recovery: RecoveryStatus, wall: Wall) -> RecoveryDocument {
        let RecoveryStatus { tier, reason, step, since, next_try } = recovery;
        let (since, since_timestamp_seconds) = wall.both(since);
        let (next_try, next_try_timestamp_seconds) = wall.both_of(next_try);
        RecoveryDocument {
            tier: Word(tier),
            reason: reason.map(Word),
            step: Word(step),
            since,
            since_timestamp_seconds,
            next_try,
            next_try_timestamp_seconds,
        }
    }
}

impl HoldDocument {
    fn of(hold: &Hold, wall: Wall) -> HoldDocument {
        let Hold { reason, since, until } = hold;
        let (since, since_timestamp_seconds) = wall.both(*since);
        let (until, until_timestamp_seconds) = wall.both_of(*until);
        HoldDocument { reason: reason.clone(), since, since_timestamp_seconds, until, until_timestamp_seconds }
    }
}

impl IsolationDocument {
    fn of(isolation: &IsolationStatus, wall: Wall) -> IsolationDocument {
        let IsolationStatus { since, suspects, apart, guilty, faults, server, server_pid, control } = isolation;
        let (since, since_timestamp_seconds) = wall.both_of(*since);
        IsolationDocument {
            since,
            since_timestamp_seconds,
            suspects: names(suspects),
            apart: names(apart),
            guilty: names(guilty),
            faults: *faults,
            server: Word(*server),
            server_pid: *server_pid,
            control: control.map(ProcessDocument::of),
        }
    }
}

impl OverlapDocument {
    fn of(overlap: &OverlapStatus, wall: Wall) -> OverlapDocument {
        let OverlapStatus { windows, sampled, by_clients, last_window, gain, advice } = overlap;
        let (last_window, last_window_timestamp_seconds) = wall.both_of(*last_window);
        OverlapDocument {
            windows: *windows,
            sampled_seconds: seconds(*sampled),
            by_clients: counted(by_clients, |clients, seconds| ClientsDocument { clients, seconds }),
            last_window,
            last_window_timestamp_seconds,
            gain: finite(*gain),
            advice: advice.iter().map(|advice| AdviceDocument::of(advice, wall)).collect(),
        }
    }
}

impl AdviceDocument {
    fn of(advice: &Advice, wall: Wall) -> AdviceDocument {
        let Advice { reason, engine, since, value } = advice;
        let (since, since_timestamp_seconds) = wall.both(*since);
        AdviceDocument {
            reason: Word(*reason),
            engine: engine.as_ref().map(ToString::to_string),
            since,
            since_timestamp_seconds,
            value: finite(Some(*value)),
        }
    }
}
