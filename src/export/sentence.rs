//! Events in words: the one place that says in English what was done and why. Pure text.

use std::time::Duration;

use crate::model::gpu::RecoveryAction;
use crate::model::saying::cuda_words;
use crate::model::{
    Advice, AdviceReason, Doubt, EngineName, Event, GpuUuid, IsolationResult, Moment, Reason, SourceScope, SourceState,
    Tier, Verb, What,
};
use crate::text::figures::plural;
use crate::text::plain::one_line;
use crate::text::span::span;

/// One word for the event, for a column: the fault's name, or what was done.
pub fn word(event: &Event) -> &'static str {
    match &event.what {
        What::FaultBegan { fault, .. } | What::FaultChanged { fault, .. } => fault.as_str(),
        What::FaultEnded { .. } => "fault_over",
        What::Suspected { .. } => "suspects",
        What::RestartBegan { .. } => "restart",
        What::StepEnded { .. } => "step",
        What::RestartEnded { result, .. } => result.as_str(),
        What::Held { .. } => "held",
        What::Released { .. } => "released",
        What::Suppressed { .. } => "suppressed",
        What::ControlStarted { .. } => "control_up",
        What::ServerStarted { .. } => "server_up",
        What::EngineStarted { .. } => "started",
        What::EngineFound { .. } => "found",
        What::EngineServing { .. } => "serving",
        What::EngineFailing { .. } => "failing",
        What::Draining { .. } => "draining",
        What::Drained { .. } => "drained",
        What::EngineExited { .. } => "exited",
        What::BackoffBegan { .. } => "backoff",
        What::EngineQuarantined { .. } => "quarantined",
        What::Isolating { .. } => "isolating",
        What::Proven { .. } => "guilty",
        What::IsolationEnded { .. } => "isolation_over",
        What::AdviceBegan { .. } => "advice",
        What::AdviceEnded { .. } => "advice_over",
        What::Xid { .. } => "xid",
        What::DriverWants { .. } => "driver_wants",
        What::CudaError { .. } => "cuda_error",
        What::Doubted { .. } => "doubted",
        What::Command { .. } => "command",
        What::SourceDown { .. } => "source_down",
        What::SourceUp { .. } => "source_up",
        What::ActionFailed { .. } => "action_failed",
        What::Stopped => "stopped",
        What::WorkDone => "work_done",
        What::DriverLetGo => "driver_let_go",
        What::Ordered { .. } => "ordered",
        What::HoldBegan { .. } => "hold",
        What::HoldEnded { .. } => "hold_over",
        What::Reloaded { .. } => "reloaded",
        What::ReloadFailed { .. } => "reload_failed",
        What::HttpDown { .. } => "http_down",
        What::HttpUp { .. } => "http_up",
        What::HookEnded { .. } => "hook",
    }
}

/// The place of an event: `group`, `group/engine`, or nothing.
pub fn place(event: &Event) -> String {
    match (&event.group, &event.engine) {
        (Some(group), Some(engine)) => format!("{group}/{engine}"),
        (Some(group), None) => group.to_string(),
        _ => String::new(),
    }
}

/// What happened or was done, and why; without the word and the place; always one line.
pub fn sentence(event: &Event) -> String {
    one_line(&words(event, None))
}

/// The same for those who read it now: the next try as a time of day too.
pub fn sentence_now(event: &Event, time_of_day: TimeOfDay) -> String {
    one_line(&words(event, Some(time_of_day)))
}

/// A moment as a time of day, with its zone: `14:31:54 CET`.
pub type TimeOfDay = fn(Moment) -> String;

#[expect(clippy::too_many_lines, reason = "one match over all events, each said once")]
fn words(event: &Event, time_of_day: Option<TimeOfDay>) -> String {
    match &event.what {
        What::FaultBegan { because, .. } | What::FaultChanged { because, .. } | What::EngineFailing { because } => {
            because.clone()
        }
        What::Suspected { verdict, .. } => format!("who: {verdict}"),
        What::FaultEnded { fault, lasted } => format!("{fault} is over after {}", span(*lasted)),
        What::RestartBegan { tier, reason: Reason::Operator, .. } => {
            format!("restarting {} because an operator said so (not counted)", all_of(*tier))
        }
        What::RestartBegan { tier, reason, attempt, budget_left } => {
            let whose = if *tier == Tier::Engine { "its own budget" } else { "the group's budget" };
            format!(
                "restarting {} because of {reason} (attempt {attempt}, {budget_left} left in {whose})",
                all_of(*tier)
            )
        }
        What::StepEnded { step, took } => format!("{step} took {}", span(*took)),
        What::RestartEnded { tier, result, took } => {
            format!("restart of {} ended {result} after {}", all_of(*tier), span(*took))
        }
        What::Held { reason, detail } => format!("{reason}: {detail}"),
        What::Released { reason } => format!("no longer held for {reason}"),
        What::Suppressed { action, reason, detail } => format!("would {action}, but {reason}: {detail}"),
        What::ControlStarted { process } => format!("control daemon {process} answers"),
        What::ServerStarted { server } => format!("server {server} is there"),
        What::EngineStarted { process, incarnation } => format!("process {process} started, incarnation {incarnation}"),
        What::EngineFound { process, incarnation } => {
            format!("process {process}, which others run, was found, incarnation {incarnation}")
        }
        What::EngineServing { took } => format!("healthy and attached {} after its start", span(*took)),
        What::Draining { requests, at_most } => {
            format!("takes no new request; {requests} in flight may end, for {} at most", span(*at_most))
        }
        What::Drained { took, left } => drained(*took, *left),
        What::EngineExited { exit, cause } => format!("main process ended with {exit} ({cause})"),
        What::BackoffBegan { wait, attempts, budget } => {
            let what = match &event.engine {
                Some(_) => format!("{} in the window, of {budget} in its own budget", failed(*attempts)),
                None => {
                    format!(
                        "{} in the window, of {budget} in the group's budget",
                        plural(*attempts as usize, "restart")
                    )
                }
            };
            let at = time_of_day.map(|says| format!("at {}, ", says(event.at.after(*wait)))).unwrap_or_default();
            format!("next try {at}in {}: {what}", span(*wait))
        }
        What::EngineQuarantined { failures } => {
            format!("not started any more before it is released: {} in the window of its own budget", failed(*failures))
        }
        What::Isolating { suspects, apart, faults } => {
            let (suspects, apart) = (names(suspects), names(apart));
            let times =
                if *faults == 1 { "faults repeat".to_owned() } else { format!("fault {faults} since it began") };
            format!("{times}: {suspects} may be the cause; isolated from the others to find out: {apart}")
        }
        What::Proven { faults } => {
            format!("proven guilty of the group's repeated faults: it alone ran where fault {faults} came")
        }
        What::IsolationEnded { result, faults, lasted } => {
            let how = match result {
                IsolationResult::Proven => "the cause is found",
                IsolationResult::Expired => "no fault came any more, and no engine is accused",
                IsolationResult::Contradiction => "a fault came where no suspect ran: two causes, or the hardware",
                IsolationResult::Ended => "the configuration wants it no more",
            };
            format!("the search ended {result} after {} and {faults} faults: {how}", span(*lasted))
        }
        What::AdviceBegan { reason: AdviceReason::LowGain, value, lasted } => {
            format!("sharing does not pay here: a gain of {value:.2} for {}", span(*lasted))
        }
        What::AdviceBegan { reason: AdviceReason::Slowdown, value, lasted } => {
            format!("sharing does not pay for it: {value:.2} times slower than alone for {}", span(*lasted))
        }
        What::AdviceEnded { reason, value, lasted } => {
            let value = value.map_or("unknown".to_owned(), |value| format!("{value:.2}"));
            let what = if *reason == AdviceReason::LowGain { "the gain" } else { "its slow-down" };
            format!("no word against sharing any more: {what} is {value}, after {}", span(*lasted))
        }
        What::Xid { gpu, xid, pid } => xid_sentence(gpu.as_ref(), *xid, *pid),
        What::DriverWants { gpu, action } => driver_wants(gpu, *action),
        What::CudaError { code, place } => {
            format!("output names {} ({place}): nothing follows before a fact agrees", cuda_words(*code))
        }
        What::Doubted { code, how: Doubt::Refuted, lines } => {
            format!("{} of {} proved wrong: the same client is listed and at work", count(*lines), cuda_words(*code))
        }
        What::Doubted { code, how: Doubt::Undecided, lines } => {
            format!("{} of {} came to nothing: no fact decided within a minute", count(*lines), cuda_words(*code))
        }
        What::Command { result } => format!("control command {result}"),
        What::SourceDown { source, state, why } => format!("{} {}: {why}", source_words(source), blind_words(*state)),
        What::SourceUp { source } => format!("{} answers again", source_words(source)),
        What::ActionFailed { action, why } => format!("{action} failed: {why}"),
        What::Stopped => "stopped in order".to_owned(),
        What::DriverLetGo => {
            "every group is stopped and NVML is closed: nothing of mpswarden's uses the driver until a group is started"
                .to_owned()
        }
        What::WorkDone => "every engine ended in order, as on_clean_end says: mpswarden ends too".to_owned(),
        What::Ordered { order: Verb::End, detail } => format!("told to stop: {detail}"),
        What::Ordered { order, detail } => format!("an operator's {order}: {detail}"),
        What::HoldBegan { reason, lasts } => {
            let lasts = lasts.map_or("until it is resumed".to_owned(), |lasts| format!("for {}", span(lasts)));
            format!("nothing is done by itself {lasts}: {reason}")
        }
        What::HoldEnded { lasted, expired } => {
            let why = if *expired { "its time ran out" } else { "resumed" };
            format!("the hold is over after {}: {why}", span(*lasted))
        }
        What::Reloaded { detail } => format!("the configuration was read again: {detail}"),
        What::HttpDown { why, .. } => format!("{why}; the groups are watched without it, and it is tried again"),
        What::HttpUp { address } => format!("HTTP is served on {address} now"),
        What::ReloadFailed { why } => format!("the configuration stays as it was: {why}"),
        What::HookEnded { hook, result, why } if why.is_empty() => format!("{hook} ended: {result}"),
        What::HookEnded { hook, result, why } => format!("{hook} ended: {result}: {why}"),
    }
}

fn all_of(tier: Tier) -> &'static str {
    match tier {
        Tier::Engine => "the engine",
        Tier::Clients => "all clients",
        Tier::Daemon => "all clients and the control daemon",
    }
}

fn drained(took: Duration, left: Option<f64>) -> String {
    let took = span(took);
    match left {
        Some(left) if left > 0.0 => format!("{left} requests in flight are cut off after {took}"),
        Some(_) => format!("its last request ended after {took}"),
        None => format!("whether requests are in flight could not be read for {took}"),
    }
}

fn names(engines: &[EngineName]) -> String {
    engines.iter().map(EngineName::as_str).collect::<Vec<_>>().join(", ")
}

fn count(lines: u64) -> String {
    if lines == 1 { "a line".to_owned() } else { format!("{lines} lines") }
}

fn failed(count: u32) -> String {
    plural(count as usize, "failure")
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others are said by their name")]
fn driver_wants(gpu: &GpuUuid, action: RecoveryAction) -> String {
    match action {
        RecoveryAction::RecoverImexDomain => format!(
            "the driver of {gpu} wants its IMEX domain recovered (the service nvidia-imex on the domain's nodes); the GPU \
             itself is well, so nothing is stopped"
        ),
        RecoveryAction::DrainP2p => format!(
            "the driver of {gpu} wants peer-to-peer traffic to end: end what talks to other GPUs, then it says what else it \
             wants; nothing is stopped"
        ),
        RecoveryAction::NotUnderstood => format!(
            "the driver of {gpu} wants something done that this mpswarden does not know: see `nvidia-smi -q -i {gpu}` under \
             GPU Recovery Action; nothing is stopped"
        ),
        action => format!("the driver of {gpu} wants {action}"),
    }
}

fn xid_sentence(gpu: Option<&GpuUuid>, xid: u32, pid: Option<u32>) -> String {
    let on = gpu.map_or("a GPU that is not known".to_owned(), ToString::to_string);
    // The pid is no proof of who did it: the driver names a bystander as often as the culprit.
    let pid = pid.map(|pid| format!(", its line names pid {pid}")).unwrap_or_default();
    format!("Xid {xid} on {on}{pid}")
}

/// Why sharing the GPU does not pay, without since when.
pub fn advice_words(advice: &Advice) -> String {
    match (advice.reason, &advice.engine) {
        (AdviceReason::LowGain, _) => format!("sharing does not pay: gain {:.2}", advice.value),
        (AdviceReason::Slowdown, Some(engine)) => {
            format!("{engine} is {:.2} times slower than alone", advice.value)
        }
        (AdviceReason::Slowdown, None) => format!("engines are {:.2} times slower than alone", advice.value),
    }
}

/// Name of the runbook that says what to do about it.
pub fn advice_runbook(reason: AdviceReason) -> &'static str {
    match reason {
        AdviceReason::LowGain => "MpsSharingDoesNotPay",
        AdviceReason::Slowdown => "MpsEngineSlowedDown",
    }
}

/// What is wrong with a source that shows nothing, as a predicate.
pub fn blind_words(state: SourceState) -> &'static str {
    match state {
        SourceState::NotUnderstood => "is not understood",
        SourceState::NotAsked => "can't be asked",
        SourceState::Silent | SourceState::Answers => "does not answer",
    }
}

/// A source and what it is read for: `engine of small-llms/qwen-a`.
pub fn source_words(scope: &SourceScope) -> String {
    let gpu = scope.gpu.as_ref().map(|gpu| format!(" of {gpu}"));
    let engine = scope.engine.as_ref().map(|engine| format!(" of {engine}"));
    let domain = scope.of_which_domain().map(|domain| format!(" of {domain}"));
    let group = scope.group.as_ref().map(|group| format!(" of {group}"));
    format!("{}{}", scope.source, engine.or(domain).or(group).or(gpu).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::model::{Exit, ExitCause, Fault, Moment, RecoveryResult};

    fn event(engine: Option<&str>, what: What) -> Event {
        Event { at: Moment::ZERO, group: Some("small-llms".into()), engine: engine.map(Into::into), what }
    }

    #[test]
    fn a_fault_is_told_by_its_evidence() {
        let because = "server 624 is handling a fatal GPU error".to_owned();
        let fault = event(None, What::FaultBegan { fault: Fault::GpuFault, evidence_at: Moment::ZERO, because });
        assert_eq!((word(&fault), place(&fault).as_str()), ("gpu_fault", "small-llms"));
        assert_eq!(sentence(&fault), "server 624 is handling a fatal GPU error");
    }

    #[test]
    fn a_restart_says_why_and_what_is_left() {
        let restart =
            What::RestartBegan { tier: Tier::Clients, reason: Fault::GpuFault.into(), attempt: 1, budget_left: 4 };
        assert_eq!(
            sentence(&event(None, restart)),
            "restarting all clients because of gpu_fault (attempt 1, 4 left in the group's budget)"
        );
        let took = Duration::from_millis(1_834);
        let ended = What::RestartEnded { tier: Tier::Daemon, result: RecoveryResult::Partly, took };
        assert_eq!(
            sentence(&event(None, ended)),
            "restart of all clients and the control daemon ended partly after 1.83 s"
        );
    }

    #[test]
    fn a_back_off_says_how_long_and_which_budget_it_is_about() {
        let waits = What::BackoffBegan { wait: Duration::from_secs(242), attempts: 3, budget: 5 };
        let said = |engine| sentence(&event(engine, waits.clone()));
        assert_eq!(said(Some("qwen-a")), "next try in 4 min 2 s: 3 failures in the window, of 5 in its own budget");
        assert_eq!(said(None), "next try in 4 min 2 s: 3 restarts in the window, of 5 in the group's budget");
        let said = sentence_now(&event(None, waits), |at| format!("{} s", at.as_secs_f64()));
        assert_eq!(said, "next try at 242 s, in 4 min 2 s: 3 restarts in the window, of 5 in the group's budget");
    }

    #[test]
    fn an_exit_names_the_engine_and_the_cause() {
        let exited = event(Some("qwen-a"), What::EngineExited { exit: Exit::Signal(9), cause: ExitCause::HostOom });
        assert_eq!(place(&exited), "small-llms/qwen-a");
        assert_eq!(sentence(&exited), "main process ended with signal 9 (host_oom)");
    }

    #[test]
    fn an_xid_without_a_known_gpu_is_told_all_the_same() {
        let xid = event(None, What::Xid { gpu: None, xid: 31, pid: Some(630) });
        assert_eq!(sentence(&xid), "Xid 31 on a GPU that is not known, its line names pid 630");
    }

    #[test]
    fn an_engines_output_neither_breaks_the_line_nor_drives_the_terminal() {
        let error = What::EngineFailing { because: "a\nb\u{1b}[2J\n".to_owned() };
        assert_eq!(sentence(&event(Some("qwen-a"), error)), "a b\u{fffd}[2J");
    }
}
