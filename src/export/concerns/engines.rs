//! What is wrong with one engine.

use super::concern::{Concern, Rank, Todo};
use super::situation::Situation;
use super::{faults, todo};
use crate::export::history::Subject;
use crate::export::needed::needs;
use crate::model::{EngineIsolation, EngineState, EngineStatus, Fault, GroupState, GroupStatus, NeededAction};

/// What is wrong with it; of what all its group has, `explained`, only what is left when that is over.
pub(super) fn concern(
    of: &Situation<'_>,
    group: &GroupStatus,
    engine: &EngineStatus,
    explained: bool,
) -> Option<Concern> {
    let needs = needs(of.status, group);
    let need = needs.iter().find(|need| need.engine == Some(&engine.name)).map(|need| need.action);
    let todo = |action| todo::of_need(of, group, action, Some(&engine.name));
    let make = |rank, is: &str, why, todo| {
        let subject = Subject::Engine(group.name.clone(), engine.name.clone());
        Concern { rank, what: format!("{}/{} {is}", group.name, engine.name), since: of.since(&subject), why, todo }
    };
    match (need, engine.state) {
        (Some(action), EngineState::Quarantined) => {
            let why = why(group, engine).unwrap_or_else(|| "it failed too often".to_owned());
            Some(make(Rank::EngineOut, "is quarantined and not started any more", Some(why), todo(action)))
        }
        (Some(NeededAction::Release), _) => {
            let is = if engine.state == EngineState::Serving { "serves apart from the others" } else { "is kept out" };
            let why = "it was proven guilty of its group's repeated faults".to_owned();
            Some(make(Rank::Guilty, is, Some(why), todo(NeededAction::Release)))
        }
        _ if explained => None,
        (Some(action), EngineState::Serving | EngineState::Failing) if has(group, engine, Fault::Hang) => {
            let found = make(Rank::EngineOut, "hangs", why(group, engine), todo(action).see("MpsEngineHang"));
            let since = of.since(&Subject::Fault(group.name.clone(), Some(engine.name.clone()), Fault::Hang));
            Some(Concern { since: since.or(found.since), ..found })
        }
        (Some(action), _) => Some(make(Rank::EngineOut, "is down and left alone", why(group, engine), todo(action))),
        (None, EngineState::Serving) => None,
        (None, EngineState::Unknown) => {
            let todo = Todo::of("look whether it answers; nothing is done to it meanwhile", None, "MpswardenBlind");
            Some(make(Rank::Unread, "can't be seen", why(group, engine), todo))
        }
        (None, EngineState::Stopped) if is_wanted_so(group, engine) => {
            let start = Some(format!("mpswarden start {}/{}", group.name, engine.name));
            let todo = Todo::of("start it once it is wanted", start, "MpsEngineNotServing");
            Some(make(Rank::Stopped, "is stopped", engine.note.clone(), todo))
        }
        (None, _) => {
            let todo = Todo::nothing(&progress(of, engine)).see(runbook(group, engine));
            Some(make(rank(group, engine), is(engine), why(group, engine), todo))
        }
    }
}

fn own_faults<'a>(group: &'a GroupStatus, engine: &'a EngineStatus) -> impl Iterator<Item = Fault> + 'a {
    group.faults.iter().filter(|(owner, _)| owner.as_ref() == Some(&engine.name)).map(|(_, fault)| *fault)
}

fn has(group: &GroupStatus, engine: &EngineStatus, fault: Fault) -> bool {
    own_faults(group, engine).any(|known| known == fault)
}

/// Its fault in words, and its note where that says more.
fn why(group: &GroupStatus, engine: &EngineStatus) -> Option<String> {
    let fault = own_faults(group, engine).next().map(faults::words);
    match (engine.note.clone(), fault) {
        (Some(note), Some(fault)) => Some(format!("{note}; {fault}")),
        (note, fault) => note.or(fault),
    }
}

fn runbook(group: &GroupStatus, engine: &EngineStatus) -> &'static str {
    own_faults(group, engine).next().map_or("MpsEngineNotServing", faults::runbook)
}

/// Somebody took it out, and nothing is wrong with it.
fn is_wanted_so(group: &GroupStatus, engine: &EngineStatus) -> bool {
    let waits = engine.next_try.is_some() || group.state == GroupState::Starting;
    let noted = engine.note.is_some() && engine.isolation == EngineIsolation::None;
    own_faults(group, engine).next().is_none() && !waits && noted
}

fn rank(group: &GroupStatus, engine: &EngineStatus) -> Rank {
    let first = engine.incarnation <= 1 && engine.state == EngineState::Starting;
    if first && own_faults(group, engine).next().is_none() { Rank::Starting } else { Rank::EngineDown }
}

fn is(engine: &EngineStatus) -> &'static str {
    match engine.state {
        EngineState::Starting => "is starting",
        EngineState::Stopping => "is being ended",
        EngineState::Failing if engine.main.is_some() => "does not serve any more",
        EngineState::Failing
        | EngineState::Stopped
        | EngineState::Serving
        | EngineState::Quarantined
        | EngineState::Unknown => "is down",
    }
}

/// What is being done about it.
fn progress(of: &Situation<'_>, engine: &EngineStatus) -> String {
    if let Some(next) = engine.next_try {
        return of.next_try(next);
    }
    match engine.state {
        EngineState::Starting => format!("its start number {} is on its way", engine.incarnation),
        EngineState::Stopping => "it is ended without harm to its siblings, and started again".to_owned(),
        EngineState::Failing if engine.main.is_some() => "it is restarted if it does not come back".to_owned(),
        EngineState::Failing
        | EngineState::Stopped
        | EngineState::Serving
        | EngineState::Quarantined
        | EngineState::Unknown => "mpswarden starts it when its turn comes".to_owned(),
    }
}
