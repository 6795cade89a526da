//! How decisions are written down in scenario files: one line each, in the words of the model.

use std::fmt::Write as _;

use mpswarden_core::model::{Action, CommandResult, EngineName, Event, GroupStatus, ProbeState, Status, What};

/// The words of an action; `None`: looks, watches and saves are left out.
pub(super) fn action(action: &Action) -> Option<String> {
    let text = match action {
        Action::Look(_) | Action::Save { .. } | Action::WatchServer { .. } => return None,
        Action::FindControl { .. } | Action::FindEngine { .. } => return None,
        Action::StartControl { domain } => format!("start control daemon of {domain}"),
        Action::StopControl { domain, grace, .. } => {
            format!("stop control daemon of {domain}, grace {} s", grace.as_secs())
        }
        Action::StartServer { domain } => format!("start server of {domain}"),
        Action::StartEngine { instance, outside: false } => format!("start {instance}"),
        Action::StartEngine { instance, .. } => format!("start {instance} outside MPS"),
        Action::KillEngines { domain, engines, strays } if strays.is_empty() => {
            format!("kill {domain}: {}", list(engines))
        }
        Action::KillEngines { strays, .. } => format!("kill strays {strays:?}"),
        Action::AwaitGone { domain, engines, processes } => {
            let pids: Vec<String> = processes.iter().map(ToString::to_string).collect();
            format!("await the end of {domain}: {} (signalled: {})", list(engines), pids.join(" "))
        }
        Action::TerminateClients { engine, clients, .. } => format!("terminate clients {clients:?} of {engine}"),
        Action::Fence { engine, within } => format!("fence {engine}, for {} s at most", within.as_secs_f64()),
        Action::LetGoOfDriver => "let go of the driver".to_owned(),
        Action::StopEngine { engine, grace } => format!("stop {engine}, grace {} s", grace.as_secs()),
    };
    Some(text)
}

fn list(engines: &[EngineName]) -> String {
    engines.iter().map(EngineName::as_str).collect::<Vec<_>>().join(" ")
}

/// The words of an event; `None`: an answered command says nothing.
pub(super) fn event(event: &Event) -> Option<String> {
    let said = what(&event.what)?;
    Some(match (&event.group, &event.engine) {
        (Some(group), Some(engine)) => format!("{group}/{engine} {said}"),
        (Some(group), None) => format!("{group} {said}"),
        _ => said,
    })
}

fn what(what: &What) -> Option<String> {
    Some(match what {
        What::Command { result: CommandResult::Answered } => return None,
        What::Command { result } => format!("command: {result}"),
        What::FaultBegan { fault, evidence_at, because } => {
            format!("{fault} began (evidence {evidence_at}): {because}")
        }
        What::FaultChanged { fault, because } => format!("{fault} goes on: {because}"),
        What::Suspected { suspicions, verdict, .. } => {
            let of = |held: &mpswarden_core::model::Suspicion| format!("{} {}", held.engine, held.strength);
            format!("who: {verdict} [{}]", suspicions.iter().map(of).collect::<Vec<_>>().join(", "))
        }
        What::FaultEnded { fault, lasted } => format!("{fault} ended after {lasted:?}"),
        What::RestartBegan { tier, reason, attempt, budget_left } => {
            format!("restart {tier} for {reason}: attempt {attempt}, {budget_left} left")
        }
        What::StepEnded { step, took } => format!("step {step} took {took:?}"),
        What::RestartEnded { tier, result, took } => format!("restart {tier} ended: {result} after {took:?}"),
        What::Held { reason, detail } => format!("HELD {reason}: {detail}"),
        What::Released { reason } => format!("released: {reason}"),
        What::Suppressed { action, reason, detail } => format!("would {action} ({reason}): {detail}"),
        What::ControlStarted { process } => format!("control daemon {process} started"),
        What::ServerStarted { server } => format!("server {server} started"),
        What::EngineFound { process, incarnation } => format!("#{incarnation} found as {process}"),
        What::EngineStarted { process, incarnation } => format!("#{incarnation} started as {process}"),
        What::EngineServing { took } => format!("serves after {took:?}"),
        What::EngineFailing { because } => format!("failing: {because}"),
        What::Draining { requests, at_most } => format!("draining: {requests} in flight, for {at_most:?} at most"),
        What::Drained { took, left } => format!("drained after {took:?}, left: {left:?}"),
        What::EngineExited { exit, cause } => format!("exited with {exit}: {cause}"),
        What::BackoffBegan { wait, attempts, budget } => format!("waits {wait:?} after {attempts} of {budget}"),
        What::EngineQuarantined { failures } => format!("QUARANTINED after {failures} failures"),
        What::Isolating { suspects, apart, faults } => {
            format!("isolating, fault {faults}: suspects {}; apart {}", list(suspects), list(apart))
        }
        What::Proven { faults } => format!("GUILTY, proven by fault {faults}"),
        What::IsolationEnded { result, faults, lasted } => {
            format!("isolation over: {result} after {lasted:?} and {faults} faults")
        }
        What::AdviceBegan { reason, value, lasted } => {
            format!("sharing does not pay: {reason}, {value:.2} for {lasted:?}")
        }
        What::AdviceEnded { reason, value, lasted } => {
            let value = value.map_or("unknown".to_owned(), |value| format!("{value:.2}"));
            format!("sharing pays again: {reason}, {value} after {lasted:?}")
        }
        What::Xid { xid, .. } => format!("Xid {xid}"),
        What::DriverWants { action, .. } => format!("the driver wants {action}"),
        What::CudaError { code, .. } => format!("CUDA error {code}"),
        What::Doubted { code, how, lines } => format!("{lines} lines of CUDA error {code}: {how}"),
        What::SourceDown { source, why, .. } => format!("source {} down: {why}", source.source),
        What::SourceUp { source } => format!("source {} up", source.source),
        What::ActionFailed { action, why } => format!("FAILED {action}: {why}"),
        What::Stopped => "stopped".to_owned(),
        What::WorkDone => "all work done".to_owned(),
        What::DriverLetGo => "the driver is let go of".to_owned(),
        What::Ordered { order, detail } => format!("ordered {order}: {detail}"),
        What::HoldBegan { reason, lasts } => format!("HOLD for {lasts:?}: {reason}"),
        What::HoldEnded { lasted, expired } => format!("hold over after {lasted:?}, expired: {expired}"),
        What::Reloaded { detail } => format!("reloaded: {detail}"),
        What::HttpDown { address, why } => format!("http down on {address}: {why}"),
        What::HttpUp { address } => format!("http up on {address}"),
        What::ReloadFailed { why } => format!("reload failed: {why}"),
        What::HookEnded { hook, result, .. } => format!("hook {hook}: {result}"),
    })
}

/// The status in a line for each group.
pub fn status(status: &Status) -> Vec<String> {
    let group = |group: &mpswarden_core::model::GroupStatus| {
        let engines: Vec<String> =
            group.engines.iter().map(|engine| format!("{} {}", engine.name, engine.state)).collect();
        let hold = group.hold.as_ref().map_or_else(String::new, |hold| {
            let until = hold.until.map_or_else(|| "it is ended".to_owned(), |until| until.to_string());
            format!(", on hold until {until}")
        });
        let held = group.held.as_ref().map_or_else(String::new, |(reason, _)| format!(" ({reason})"));
        let faults: Vec<String> = group.faults.iter().map(|(_, fault)| fault.to_string()).collect();
        let faults = if faults.is_empty() { String::new() } else { format!("; faults: {}", faults.join(" ")) };
        let isolation = group.isolation.as_ref().map_or_else(String::new, |isolation| {
            let lists = [&isolation.suspects, &isolation.apart, &isolation.guilty].map(|names| list(names));
            let [suspects, apart, guilty] = lists;
            format!("; isolation: suspects {suspects}; apart {apart} ({}); guilty {guilty}", isolation.server)
        });
        let sharing = sharing(group);
        format!(
            "{} is {}{held}{hold}, generation {}, budget {}: {}{faults}{isolation}{sharing}",
            group.name,
            group.state,
            group.generation,
            group.budget_remaining,
            engines.join(", ")
        )
    };
    status.groups.iter().map(group).collect()
}

/// What is known of how a group shares its GPU; nothing where that is nothing.
fn sharing(group: &GroupStatus) -> String {
    let mut text = String::new();
    let overlap = &group.overlap;
    if overlap.windows > 0 {
        let times: Vec<u128> = overlap.by_clients.iter().map(std::time::Duration::as_millis).collect();
        write!(text, "; {} windows, ms by clients {times:?}", overlap.windows).unwrap();
    }
    if let Some(gain) = overlap.gain {
        write!(text, "; gain {gain:.2}").unwrap();
    }
    for engine in &group.engines {
        let sharing = &engine.sharing;
        if sharing.probe != ProbeState::Off {
            write!(text, "; {} probe {} busy {:?}", engine.name, sharing.probe, sharing.kernel_busy).unwrap();
        }
        if let Some(slowdown) = sharing.slowdown {
            write!(text, "; {} slowed {slowdown:.2}", engine.name).unwrap();
        }
        if let Some(newest) = &sharing.baseline {
            let (source, rate, running) = (newest.source, newest.tokens_per_second, newest.running);
            let all = sharing.baselines;
            write!(text, "; {} alone {source} {rate:.0}/s at {running:.1}, of {all}", engine.name).unwrap();
        }
    }
    for advice in &overlap.advice {
        let engine = advice.engine.as_ref().map_or("all", EngineName::as_str);
        write!(text, "; advice {} {engine} {:.2} since {}", advice.reason, advice.value, advice.since).unwrap();
    }
    text
}
