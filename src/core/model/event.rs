//! What happened and what was decided: the stuff of log lines, counters and incidents.

use std::time::Duration;

use serde::Serialize;

use super::gpu::RecoveryAction;
use super::{
    AdviceReason, CommandResult, Doubt, EngineName, EvidenceLine, Exit, ExitCause, FailedAction, Fault, GpuUuid,
    GroupName, HeldReason, Hook, HookResult, IsolationResult, LinePlace, Moment, ProcessId, Reason, RecoveryResult,
    RecoveryStep, Refusal, SourceScope, SourceState, SuppressedAction, Suspicion, Tier, Verb,
};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// When the core said so.
    pub at: Moment,
    /// Which group, where it has one.
    pub group: Option<GroupName>,
    /// Which engine, where it has one.
    pub engine: Option<EngineName>,
    /// The event itself.
    #[serde(flatten)]
    pub what: What,
}

/// The kinds of events.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A fault began. Counted in `mps_faults_total` and, with `evidence_at`, `mps_fault_detection_seconds`.
    FaultBegan {
        /// The fault.
        fault: Fault,
        /// The evidence's own time.
        evidence_at: Moment,
        /// The evidence, for people.
        because: String,
    },
    /// A fault goes on, and there is more evidence. Counted nowhere.
    FaultChanged {
        /// The fault.
        fault: Fault,
        /// The evidence now, for people.
        because: String,
    },
    /// A fault is over.
    FaultEnded {
        /// The fault.
        fault: Fault,
        /// How long it lasted.
        lasted: Duration,
    },
    /// Who is suspected of a fault of the whole group. Emitted once for each, and again when later evidence changes it.
    Suspected {
        /// Every engine, most suspected first.
        suspicions: Vec<Suspicion>,
        /// The fault is the aftershock of this engine's end, which was brought about from outside.
        explained: Option<EngineName>,
        /// Verdict for people.
        verdict: String,
        /// Evidence by its own time; bounded.
        evidence: Vec<EvidenceLine>,
    },
    /// The driver wants something done to a GPU for which nothing is stopped or held: it does not concern the GPU's
    /// use, or this program doesn't know what it is.
    DriverWants {
        /// GPU that the driver speaks of.
        gpu: GpuUuid,
        /// Action that the driver wants.
        action: RecoveryAction,
    },
    /// A restart was ordered; an attempt. Counted in `mps_restarts_total`.
    RestartBegan {
        /// How far it goes.
        tier: Tier,
        /// Reason for the restart.
        reason: Reason,
        /// Which attempt in the window, from 1; an operator's is none and adds nothing.
        attempt: u32,
        /// Attempts left in the window.
        budget_left: u32,
    },
    /// A step of a whole-group restart is over. Observed in `mps_recovery_step_seconds`.
    StepEnded {
        /// The step.
        step: RecoveryStep,
        /// How long it took.
        took: Duration,
    },
    /// A restart is over. Counted in `mps_recoveries_total`, observed in `mps_recovery_seconds`.
    RestartEnded {
        /// Tier of the restart.
        tier: Tier,
        /// Result of the restart.
        result: RecoveryResult,
        /// Time from the decision.
        took: Duration,
    },
    /// The group waits for new facts or a person.
    Held {
        /// Reason for the hold.
        reason: HeldReason,
        /// Exactly what, for people.
        detail: String,
    },
    /// It waits no longer.
    Released {
        /// What it had waited for.
        reason: HeldReason,
    },
    /// What would have been done. Counted in `mps_actions_suppressed_total`.
    Suppressed {
        /// The verb.
        action: SuppressedAction,
        /// Why it was not done.
        reason: Refusal,
        /// Sentence for people.
        detail: String,
    },
    /// The control daemon answers.
    ControlStarted {
        /// Process of the daemon.
        process: ProcessId,
    },
    /// A server is there. Counted in `mps_server_starts_total`.
    ServerStarted {
        /// Pid of the server.
        server: u32,
    },
    /// An engine's process was started.
    EngineStarted {
        /// Main process of the engine.
        process: ProcessId,
        /// Number of the incarnation.
        incarnation: u32,
    },
    /// An engine that others run was found running.
    EngineFound {
        /// Main process of the engine.
        process: ProcessId,
        /// Number of the incarnation, as it was found here.
        incarnation: u32,
    },
    /// An engine serves.
    EngineServing {
        /// Time since its process was started.
        took: Duration,
    },
    /// An engine no longer serves, though its process lives.
    EngineFailing {
        /// Reason for people.
        because: String,
    },
    /// A planned stop of an engine lets its requests in flight end first.
    Draining {
        /// How many there are.
        requests: f64,
        /// Longest duration of the drain.
        at_most: Duration,
    },
    /// They have ended, or their time is over.
    Drained {
        /// Time since its readiness went off.
        took: Duration,
        /// How many are left and end with the engine; `None`: it does not say.
        left: Option<f64>,
    },
    /// An engine's main process ended. Counted in `mps_engine_exits_total`.
    EngineExited {
        /// Exit of the process.
        exit: Exit,
        /// Cause of the exit.
        cause: ExitCause,
    },
    /// An engine, or a group whose restart is on its way, starts later.
    BackoffBegan {
        /// Time until the start.
        wait: Duration,
        /// Failures of the engine, or restarts of the group, in the window.
        attempts: u32,
        /// How many its budget allows.
        budget: u32,
    },
    /// An engine is not started any more.
    EngineQuarantined {
        /// Failures in the window.
        failures: u32,
    },
    /// Faults repeat: these engines run isolated from their siblings from now on, to find the culprit. Emitted again
    /// whenever that changes.
    Isolating {
        /// Who may have done it, the most suspected first.
        suspects: Vec<EngineName>,
        /// Those of them that run apart; where the GPU allows one server only, those that are stopped.
        apart: Vec<EngineName>,
        /// Faults since it began, the one that began it included.
        faults: u32,
    },
    /// An engine alone on its server brought the fault again: it is the culprit. Emitted before the end of the search.
    Proven {
        /// Faults since the search began.
        faults: u32,
    },
    /// The search is over. Counted in `mps_isolations_total`.
    IsolationEnded {
        /// Result of the search.
        result: IsolationResult,
        /// Faults since it began.
        faults: u32,
        /// How long it took.
        lasted: Duration,
    },
    /// Sharing the GPU has not paid for so long that a person should know; of one engine: it pays for the others.
    AdviceBegan {
        /// Reason why it does not pay.
        reason: AdviceReason,
        /// The gain, or the slow-down, now.
        value: f64,
        /// Duration so far, without a break.
        lasted: Duration,
    },
    /// Sharing pays again, or no longer can be judged.
    AdviceEnded {
        /// Why it did not pay.
        reason: AdviceReason,
        /// The gain, or the slow-down, now; `None`: it has not been known for too long.
        value: Option<f64>,
        /// How long it had lasted.
        lasted: Duration,
    },
    /// The driver reported an Xid. Counted in `mps_gpu_xid_errors_total`.
    Xid {
        /// GPU of the Xid, where it is known.
        gpu: Option<GpuUuid>,
        /// Number of the Xid.
        xid: u32,
        /// The pid in the line.
        pid: Option<u32>,
    },
    /// An engine's output named a CUDA error: a word, of which nothing follows before a fact agrees.
    CudaError {
        /// The code.
        code: u32,
        /// Where the line stands.
        place: LinePlace,
    },
    /// No fact confirmed an engine's error lines. The status counts them.
    Doubted {
        /// Error code of the lines.
        code: u32,
        /// Result of the doubt.
        how: Doubt,
        /// Number of lines since the last report.
        lines: u64,
    },
    /// A control command ended. Counted in `mps_control_commands_total`.
    Command {
        /// Result of the command.
        result: CommandResult,
    },
    /// A source shows nothing any more.
    SourceDown {
        /// The source.
        source: SourceScope,
        /// State of the source.
        state: SourceState,
        /// Reason for people.
        why: String,
    },
    /// A source answers again.
    SourceUp {
        /// The source.
        source: SourceScope,
    },
    /// An order failed or timed out.
    ActionFailed {
        /// The verb.
        action: FailedAction,
        /// Reason for people.
        why: String,
    },
    /// The group was stopped in order.
    Stopped,
    /// Every group is stopped, and nothing of the watchdog's uses the driver any more.
    DriverLetGo,
    /// Every engine of every group ended in order and is not to be started again: the watchdog ends too.
    WorkDone,
    /// An operator ordered something and it was accepted.
    Ordered {
        /// The verb.
        order: Verb,
        /// Sentence for people.
        detail: String,
    },
    /// The watchdog does nothing by itself in this group.
    HoldBegan {
        /// Reason for people.
        reason: String,
        /// Duration of the hold; `None`: until it is ended.
        lasts: Option<Duration>,
    },
    /// The watchdog acts by itself again.
    HoldEnded {
        /// How long it held.
        lasted: Duration,
        /// Its time ran out; `false`: an operator ended it.
        expired: bool,
    },
    /// A changed configuration was applied.
    Reloaded {
        /// What changed, for people.
        detail: String,
    },
    /// HTTP is not served on an address; it is tried again.
    HttpDown {
        /// The address.
        address: String,
        /// Who has it, or what else forbids it, and the cure.
        why: String,
    },
    /// HTTP is served on an address that could not be had before.
    HttpUp {
        /// The address.
        address: String,
    },
    /// A changed configuration was not applied; the old one stays.
    ReloadFailed {
        /// Every problem, for people.
        why: String,
    },
    /// A hook's command ended. Counted in `mpswarden_hook_runs_total`.
    HookEnded {
        /// The hook.
        hook: Hook,
        /// Result of the hook.
        result: HookResult,
        /// How it failed, for people; empty: it did not.
        why: String,
    },
}
