//! What is wrong with a group: as a whole, with its engines, with its budget.

use super::concern::{Concern, Rank, Todo};
use super::gpus::is_held_for_its_gpu;
use super::situation::Situation;
use super::{engines, faults, todo};
use crate::export::history::Subject;
use crate::export::needed::{Need, needs};
use crate::model::status::RecoveryStatus;
use crate::model::{
    EngineName, EngineState, Fault, GroupState, GroupStatus, HeldReason, NeededAction, RecoveryStep, Tier,
};
use crate::text::span::age;

/// Everything that is wrong with it.
pub(super) fn concerns(of: &Situation<'_>, group: &GroupStatus) -> Vec<Concern> {
    let whole = as_a_whole(of, group);
    let explained = whole.is_some() || is_held_for_its_gpu(group) || group.state == GroupState::Unknown;
    let mut found: Vec<Concern> = whole.into_iter().collect();
    for engine in &group.engines {
        found.extend(engines::concern(of, group, engine, explained));
    }
    if found.is_empty() && group.state == GroupState::Degraded {
        found.push(concern(of, group, Rank::EngineDown, "is degraded", Todo::nothing("it changes by itself")));
    }
    let told: Vec<Option<&str>> = found.iter().map(|concern| concern.why.as_deref()).collect();
    let is_told = |fault: Fault| told.iter().flatten().any(|why| why.contains(&format!("({fault})")));
    let lasting = group.faults.iter().filter(|(_, fault)| !is_told(*fault) && (!explained || is_reported(*fault)));
    let lasting: Vec<Concern> = lasting.map(|(engine, fault)| reported(of, group, engine.as_ref(), *fault)).collect();
    found.extend(lasting);
    found.extend(searching(group));
    found.extend(on_hold(of, group));
    if group.budget_remaining == 0 && !explained {
        found.push(no_budget(of, group));
    }
    found
}

/// A fault that takes nothing down by itself.
fn is_reported(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::ForeignProcess
            | Fault::UnknownClient
            | Fault::ClientLimit
            | Fault::UidMismatch
            | Fault::LimitMissing
            | Fault::LimitExceeded
            | Fault::Starved
    )
}

/// What is wrong with all of it, and so with each of its engines.
fn as_a_whole(of: &Situation<'_>, group: &GroupStatus) -> Option<Concern> {
    if is_held_for_its_gpu(group) {
        return None;
    }
    let need = needs(of.status, group).into_iter().find(|need| need.engine.is_none());
    match (group.state, need, &group.held) {
        (_, Some(need), Some((reason, detail))) if *reason != HeldReason::Operator => {
            Some(held(of, group, &need, *reason, detail))
        }
        (_, Some(need), _) if need.action == NeededAction::Restart => Some(left_alone(of, group, &need)),
        (GroupState::Recovering, ..) => Some(recovering(of, group)),
        (GroupState::Starting, ..) => Some(starting(of, group)),
        (GroupState::Stopped, ..) => {
            let todo =
                Todo::of("start it once it is wanted", Some(format!("mpswarden start {}", group.name)), "MpsGroupDown");
            Some(concern(of, group, Rank::Stopped, "is stopped", todo))
        }
        (GroupState::Unknown, ..) if of.status.ready => {
            let todo =
                Todo::of("look whether its engines answer; nothing is done to them meanwhile", None, "MpswardenBlind");
            Some(concern(of, group, Rank::Blind, "can't be seen", todo))
        }
        _ => None,
    }
}

fn concern(of: &Situation<'_>, group: &GroupStatus, rank: Rank, is: &str, todo: Todo) -> Concern {
    let since = of.since(&Subject::Group(group.name.clone()));
    Concern { rank, what: format!("{} {is}", group.name), since, why: None, todo }
}

fn held(of: &Situation<'_>, group: &GroupStatus, need: &Need<'_>, reason: HeldReason, detail: &str) -> Concern {
    let mut todo = todo::of_need(of, group, need.action, None);
    if let Some(next) = group.recovery.and_then(|recovery| recovery.next_try) {
        todo.words = format!("{} ({})", todo.words, of.next_try(next));
    }
    let why = Some(format!("{detail} ({reason})"));
    Concern { why, ..concern(of, group, Rank::Held, &format!("is held, {}", serving(group)), todo) }
}

fn left_alone(of: &Situation<'_>, group: &GroupStatus, need: &Need<'_>) -> Concern {
    let todo = todo::of_need(of, group, need.action, None);
    let keeps_out = if group.hold.is_some() { "an operator's hold" } else { "observe mode" };
    let fault = group.faults.iter().find(|(engine, _)| engine.is_none());
    let why = fault.map(|(_, fault)| format!("{}; {keeps_out} keeps mpswarden out", faults::words(*fault)));
    let since = fault.and_then(|(_, fault)| of.since(&Subject::Fault(group.name.clone(), None, *fault)));
    let found = concern(of, group, Rank::LeftAlone, "is down and left alone", todo);
    Concern { why, since: since.or(found.since), ..found }
}

fn recovering(of: &Situation<'_>, group: &GroupStatus) -> Concern {
    let recovery = group.recovery;
    let what = match recovery.map(|recovery| recovery.tier) {
        Some(Tier::Daemon) => "restarts all its engines and its control daemon",
        Some(Tier::Clients | Tier::Engine) | None => "restarts all its engines",
    };
    let first = group.faults.first().map(|(_, fault)| faults::words(*fault));
    let why = recovery.and_then(|recovery| faults::reason(recovery.reason)).or(first);
    let todo = Todo::nothing(&progress(of, group, recovery)).see("MpsRecoveryInProgress");
    Concern { why, ..concern(of, group, Rank::Recovering, &format!("{what}, {}", serving(group)), todo) }
}

fn starting(of: &Situation<'_>, group: &GroupStatus) -> Concern {
    let todo = Todo::nothing(&progress(of, group, group.recovery));
    concern(of, group, Rank::Starting, &format!("is starting, {}", serving(group)), todo)
}

/// `next try at 14:31:54 UTC, in 4 min`, or the step that it is in.
fn progress(of: &Situation<'_>, group: &GroupStatus, recovery: Option<RecoveryStatus>) -> String {
    let waiting = group.engines.iter().filter_map(|engine| engine.next_try).min();
    match (recovery.and_then(|recovery| recovery.next_try).or(waiting), recovery) {
        (Some(next), _) => of.next_try(next),
        (None, Some(recovery)) => format!("mpswarden is {}", doing(recovery.step)),
        (None, None) => "mpswarden is at it".to_owned(),
    }
}

/// A step as what is being done.
fn doing(step: RecoveryStep) -> &'static str {
    match step {
        RecoveryStep::Decide => "deciding",
        RecoveryStep::Kill => "ending the old engines",
        RecoveryStep::Gone => "waiting until the old engines are proven gone",
        RecoveryStep::Gpu => "waiting until the GPU is well",
        RecoveryStep::Memory => "waiting until the old engines' memory is back",
        RecoveryStep::Backoff => "waiting before the next try",
        RecoveryStep::Active => "bringing up the MPS server",
        RecoveryStep::Start => "starting the engines",
        RecoveryStep::Ready => "waiting until the engines serve",
    }
}

/// `1 of 3 engines serve`.
fn serving(group: &GroupStatus) -> String {
    let serving = group.engines.iter().filter(|engine| engine.state == EngineState::Serving).count();
    match (serving, group.engines.len()) {
        (0, 1) => "its engine does not serve".to_owned(),
        (0, count) => format!("none of its {count} engines serves"),
        (1, count) => format!("1 of {count} engines serves"),
        (serving, count) => format!("{serving} of {count} engines serve"),
    }
}

fn reported(of: &Situation<'_>, group: &GroupStatus, engine: Option<&EngineName>, fault: Fault) -> Concern {
    let what = match engine {
        Some(engine) => format!("{}/{engine} serves with a fault", group.name),
        None if is_reported(fault) => format!("{} has a fault that harms no engine yet", group.name),
        None => format!("{} has a fault that nobody works on", group.name),
    };
    Concern {
        rank: Rank::Reported,
        what,
        since: of.since(&Subject::Fault(group.name.clone(), engine.cloned(), fault)),
        why: Some(faults::words(fault)),
        todo: Todo::of(faults::to_do(fault), None, faults::runbook(fault)),
    }
}

fn searching(group: &GroupStatus) -> Option<Concern> {
    let isolation = group.isolation.as_ref()?;
    let since = isolation.since?;
    let names = |names: &[EngineName]| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let apart = match isolation.apart.is_empty() {
        true => String::new(),
        false => format!("; {} on a second MPS server", names(&isolation.apart)),
    };
    let todo =
        Todo::nothing("each further fault narrows it down, and the engines serve meanwhile").see("MpsIsolationActive");
    Some(Concern {
        rank: Rank::Searching,
        what: format!("The cause of {}'s repeated faults is being searched for", group.name),
        since: Some(since),
        why: Some(format!("one of {} may bring them{apart}", names(&isolation.suspects))),
        todo,
    })
}

fn on_hold(of: &Situation<'_>, group: &GroupStatus) -> Option<Concern> {
    let hold = group.hold.as_ref()?;
    let command = Some(format!("mpswarden resume {}", group.name));
    let words = match hold.until {
        Some(until) => {
            format!(
                "nothing: the hold ends at {}, in {}; or end it now",
                of.time(until),
                age(until.since(of.status.at))
            )
        }
        None => "end the hold once its reason is gone".to_owned(),
    };
    Some(Concern {
        rank: Rank::OnHold,
        what: format!("{} is on hold: nothing there is repaired by itself", group.name),
        since: Some(hold.since),
        why: Some(hold.reason.clone()),
        todo: Todo::of(words, command, "MpsGroupOnHold"),
    })
}

fn no_budget(of: &Situation<'_>, group: &GroupStatus) -> Concern {
    Concern {
        rank: Rank::NoBudget,
        what: format!("{} has no restart left in its budget", group.name),
        since: of.since(&Subject::Budget(group.name.clone())),
        why: Some("it was restarted too often of late; after the next fault it waits long, or for a person".to_owned()),
        todo: Todo::of(
            "find what the incidents have in common, and take the engine out that brings them",
            Some(format!("mpswarden incidents --group {}", group.name)),
            "MpsRestartBudgetSpent",
        ),
    }
}
