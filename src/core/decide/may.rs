//! Whether something may be done now: every "no" of the core is said here, with its reason.
//!
//! | asked before | refused because |
//! |---|---|
//! | anything that mends a fault | it is only observed, or an operator holds the group |
//! | the end of a whole group | its daemon has its grace, the budget is spent, evidence is still to come, contexts live |
//! | another attempt of a restart | the budget is spent |
//! | whatever runs on a GPU | it is sick, or can't be read |
//! | the start of an engine | the GPU, a silent daemon, no ACTIVE server, another start on its way |
//! | the search for a culprit, and its moves | it is off or observed, a hold, one engine at a time |
//! | a second server | the GPU takes one only |
//! | the end of a client that no engine owns | the policy reports it only |
//! | the end of a daemon or an engine | it is others', who let the watchdog only look |
//! | the start of a daemon, or of a server without an engine of ours | the daemon is others' |
//!
//! Each question gets the few facts that its answer depends on, and no more. `permission` takes them from a domain.

use std::time::Duration;

use super::facts::{ControlFacts, GpuFacts, SERVER_FRESH, ServerFacts};
use super::policy::{IsolationMode, RecoveryPolicy, StartOrder, UnknownClients, WhenSpent};
use crate::decide::facts::gpu_health::Ailment;
use crate::decide::facts::guard::Attempts;
use crate::decide::facts::spread::Reach;
use crate::model::gpu::ComputeMode;
use crate::model::{Custody, Hold, Mode, Moment, ServerState};

pub(super) use crate::model::Refusal;

/// Whether something may be done now: `Ok`, or the refusal.
pub(super) type May = Result<(), Refusal>;

/// Ends the question with a "no" where the condition holds.
macro_rules! refuse {
    ($refusal:ident if $condition:expr) => {
        if $condition {
            return Err(Refusal::$refusal);
        }
    };
}

/// Time for which a fault that a restart did not mend must be gone before a restart is tried again.
const GONE_FOR: Duration = Duration::from_secs(600);

/// How the engines of a domain are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// Every engine that is to run serves.
    All,
    /// One that is to run does not serve.
    NotAll,
}

/// Whether engines are on their way up or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// None is.
    AtRest,
    /// One is.
    Underway,
}

/// Whether the pids that NVML shows are those that the kernel gives here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pids {
    /// The pids match.
    Match,
    /// They are those of another namespace.
    Differ,
}

/// Acting on a fault of this mode. A restart that is on its way when a hold begins does not ask again and goes on to
/// its end: one that stopped half-way would leave the group down.
pub(super) fn act_on(mode: Mode, hold: Option<&Hold>) -> May {
    go_further(mode)?;
    refuse!(Hold if hold.is_some());
    Ok(())
}

/// Ending processes, and seeing that they start again.
pub(super) fn end_processes(custody: impl IntoIterator<Item = Custody>) -> May {
    refuse!(NotOurs if !custody.into_iter().all(Custody::may_end));
    Ok(())
}

/// Starting a control daemon: one that others run is theirs to start, unless they are to be asked for it.
pub(super) fn start_control(custody: Custody) -> May {
    refuse!(NotOurs if !custody.may_start());
    Ok(())
}

/// Ending a control daemon in order, and sweeping its directory.
pub(super) fn stop_control(custody: Custody) -> May {
    end_processes([custody])
}

/// Starting an engine's processes: of one that others run they are theirs to start, unless they are to be asked for it.
pub(super) fn start_processes(engine: Custody) -> May {
    refuse!(NotOurs if !engine.may_start());
    Ok(())
}

/// Asking a control daemon for a server. One that others run gets one as any client of it would: for an engine that the
/// watchdog has started, which is about to be its client. `started`: how many those are.
pub(super) fn start_server(daemon: Custody, started: usize) -> May {
    refuse!(NotOurs if daemon.is_others() && started == 0);
    Ok(())
}

/// Going further with a restart that is on its way, for another fault of this mode.
pub(super) fn go_further(mode: Mode) -> May {
    refuse!(Observe if mode == Mode::Observe);
    Ok(())
}

/// Restarting an engine for a fault that a restart was tried for before. `last_there`: when it was last there.
pub(super) fn try_again(last_there: Option<Moment>, now: Moment) -> May {
    refuse!(TriedInVain if last_there.is_some_and(|last| now.since(last) <= GONE_FOR));
    Ok(())
}

/// Ending a whole group because its daemon does not answer: not before its grace is over, nor where the group would
/// then be held though its engines serve.
pub(super) fn end_for_a_wedge(grace_ends: Option<Moment>, engines: Served, attempt: May, now: Moment) -> May {
    refuse!(InGrace if grace_ends.is_some_and(|due| now < due));
    if engines == Served::NotAll { Ok(()) } else { attempt }
}

/// Ending a whole group while evidence of who did it may come until `evidence_due`.
pub(super) fn end_before_the_evidence(evidence_due: Option<Moment>, now: Moment) -> May {
    refuse!(EvidenceOutstanding if evidence_due.is_some_and(|due| now < due));
    Ok(())
}

/// Ending all engines for a fault that reached so far.
pub(super) fn end_all(reach: Reach) -> May {
    refuse!(EvidenceOutstanding if reach == Reach::NotKnown);
    refuse!(ContextsLive if reach == Reach::Part);
    Ok(())
}

/// Another attempt to restart a group.
pub(super) fn attempt(recovery: &RecoveryPolicy, attempts: &Attempts, now: Moment) -> May {
    let spent = attempts.within(recovery.budget_window, now) >= recovery.budget;
    refuse!(BudgetSpent if spent && recovery.when_spent == WhenSpent::Hold);
    Ok(())
}

/// Stopping a group for what is wrong with its GPU. `excused`: until then an operator let it go on.
pub(super) fn stop_for(ailment: &Ailment, excused: Option<Moment>) -> May {
    refuse!(Excused if excused.is_some_and(|until| ailment.since <= until));
    Ok(())
}

/// Running something on a GPU that suffers from this, of this mode. A hold changes nothing about that: it is no leave
/// to start on a sick GPU.
pub(super) fn run_with(ailment: &Ailment, mode: Mode, excused: Option<Moment>) -> May {
    refuse!(GpuSick if mode == Mode::Enforce && stop_for(ailment, excused).is_ok());
    Ok(())
}

/// Starting a domain on its GPU. `run`: whether something may run on it.
pub(super) fn use_gpu(gpu: &GpuFacts, run: May) -> May {
    run?;
    refuse!(GpuUnreadable if gpu.identity.absent || gpu.reading.last().is_none());
    Ok(())
}

/// Asking the control daemon for a server. `run`: whether something may run on the GPU.
pub(super) fn ask_for_a_server(control: &ControlFacts, server: &ServerFacts, run: May) -> May {
    refuse!(ServerNotActive if server.fatal.is_some() || server.died.is_some());
    run?;
    let answers = control.process.is_some() && control.died.is_none() && control.silent == 0;
    refuse!(ControlSilent if !answers);
    Ok(())
}

/// Starting an engine: it would become a client of an ACTIVE server.
pub(super) fn start_engine(control: &ControlFacts, server: &ServerFacts, run: May, now: Moment) -> May {
    ask_for_a_server(control, server, run)?;
    let active = server.state.fresh(SERVER_FRESH, now) == Some(&ServerState::Active);
    refuse!(ServerNotActive if !active);
    Ok(())
}

/// Starting another engine while others may be on their way: `starting` up to serving, `allocating` up to having
/// their memory.
pub(super) fn start_another(order: StartOrder, starting: Others, allocating: Others) -> May {
    let underway = match order {
        StartOrder::Parallel => Others::AtRest,
        StartOrder::Sequential => starting,
        StartOrder::Staggered => allocating,
    };
    refuse!(OneAtATime if underway == Others::Underway);
    Ok(())
}

/// Taking clients off a server: several at once harm the others.
pub(super) fn terminate_clients(others: Others) -> May {
    refuse!(OneAtATime if others == Others::Underway);
    Ok(())
}

/// Beginning a search for the culprit of repeated faults. `act`: whether those faults may be acted on.
pub(super) fn search(mode: IsolationMode, act: May) -> May {
    match mode {
        IsolationMode::Enforce => act,
        IsolationMode::Observe => Err(Refusal::Observe),
        IsolationMode::Off => Err(Refusal::Off),
    }
}

/// Taking an engine out to run it elsewhere. `act`: whether the faults that it is suspected of may be acted on.
pub(super) fn move_engine(act: May, others: Others) -> May {
    act?;
    refuse!(OneAtATime if others == Others::Underway);
    Ok(())
}

/// Running a second server on a GPU. Where NVML shows other pids than ours, two domains on one GPU could not tell
/// whose memory is whose.
pub(super) fn run_a_second_server(pids: Pids, compute_mode: Option<ComputeMode>) -> May {
    let exclusive = compute_mode == Some(ComputeMode::ExclusiveProcess);
    refuse!(OneServer if pids == Pids::Differ || exclusive);
    Ok(())
}

/// Ending clients that no engine owns and that hold the server in FAULT, where that fault has this mode.
pub(super) fn kill_unknown_clients(mode: Mode, policy: UnknownClients) -> May {
    go_further(mode)?;
    refuse!(Policy if policy == UnknownClients::Report);
    Ok(())
}

#[cfg(test)]
#[path = "may_tests.rs"]
mod tests;
