//! A group's domains as the one group that the outside knows.

use crate::decide::domain::state::Domain;
use crate::decide::group::Group;
use crate::model::{EngineIsolation, EngineStatus, GroupState, GroupStatus, HeldReason, IsolationStatus, ServerState};

/// The status of a group, made of that of its domains. One whose main domain is gone for good is shown no more.
pub(crate) fn one_of(group: &Group, status: impl Fn(&Domain) -> GroupStatus) -> Option<GroupStatus> {
    let mut shown = Some(status(&group.main)).filter(|_| !group.main.is_forgotten())?;
    shown.hold = group.hold.clone();
    shown.isolation = group.isolation_status();
    (shown.isolated, shown.time_sliced) = (group.isolated.isolated, group.isolated.sliced);
    for engine in &mut shown.engines {
        engine.isolation = group.isolation.of(&engine.name);
    }
    if let Some(second) = &group.second {
        take_in(&mut shown, status(second), second);
    }
    shown.held = shown.held.take().or_else(|| group.held_by_an_operator());
    note_who_is_apart(&mut shown);
    Some(shown)
}

impl Group {
    /// The hold as a reason why the group is held; its state stays what its engines are.
    fn held_by_an_operator(&self) -> Option<(HeldReason, String)> {
        self.hold.as_ref().map(|hold| (HeldReason::Operator, hold.reason.clone()))
    }

    fn isolation_status(&self) -> Option<IsolationStatus> {
        if self.isolation.is_idle() {
            return None;
        }
        let search = self.isolation.search();
        Some(IsolationStatus {
            since: search.map(|search| search.since),
            suspects: search.map_or_else(Vec::new, |search| search.suspects.clone()),
            faults: search.map_or(0, |search| search.faults),
            guilty: self.isolation.guilty.keys().cloned().collect(),
            ..nobody_apart()
        })
    }
}

fn nobody_apart() -> IsolationStatus {
    IsolationStatus {
        since: None,
        suspects: Vec::new(),
        apart: Vec::new(),
        guilty: Vec::new(),
        faults: 0,
        server: ServerState::None,
        server_pid: None,
        control: None,
    }
}

fn take_in(home: &mut GroupStatus, side: GroupStatus, group: &Domain) {
    let isolation = home.isolation.get_or_insert_with(nobody_apart);
    (isolation.server, isolation.server_pid, isolation.control) = (side.server, side.server_pid, side.control);
    isolation.apart = side.engines.iter().map(|engine| engine.name.clone()).collect();
    if !side.engines.is_empty() {
        home.state = both(home.state, side.state);
    }
    home.recovery = home.recovery.or(side.recovery);
    home.held = home.held.take().or(side.held);
    if side.server_pid.is_some() {
        home.clients_limit = home.clients_limit.zip(side.clients_limit).map(|(here, there)| here + there);
    }
    home.clients = home.clients.zip(side.clients).map(|(here, there)| here + there);
    home.unknown_clients = home.unknown_clients.zip(side.unknown_clients).map(|(here, there)| here + there);
    home.budget_remaining = home.budget_remaining.min(side.budget_remaining);
    home.faults.extend(side.faults);
    home.faults.sort();
    home.faults.dedup();
    let known = home.isolation.clone();
    for mut engine in side.engines {
        engine.isolation = judged(&engine, known.as_ref());
        let rank =
            |name| group.scene.policy.engines.iter().position(|policy| policy.name == name).unwrap_or(usize::MAX);
        let place = rank(engine.name.clone());
        let at = home.engines.partition_point(|known| rank(known.name.clone()) < place);
        home.engines.insert(at, engine);
    }
}

/// Says of an engine that serves, and of which nothing else is to be said, why it runs where it does.
fn note_who_is_apart(group: &mut GroupStatus) {
    let Some(isolation) = &group.isolation else { return };
    for engine in group.engines.iter_mut().filter(|engine| engine.note.is_none()) {
        let apart = isolation.apart.contains(&engine.name);
        let note = match engine.isolation {
            EngineIsolation::Guilty => {
                "proven guilty of its group's repeated faults; isolated from the others until it is released"
            }
            EngineIsolation::Apart if apart => {
                "runs isolated on a second MPS server: its group's faults repeat, and it may be the cause"
            }
            EngineIsolation::None if apart => {
                "runs isolated on a second MPS server, and runs with the others again once its turn comes"
            }
            EngineIsolation::None | EngineIsolation::Suspect | EngineIsolation::Apart => continue,
        };
        engine.note = Some(note.to_owned());
    }
}

/// One that is still apart and under no suspicion any more is on its way home.
fn judged(engine: &EngineStatus, isolation: Option<&IsolationStatus>) -> EngineIsolation {
    let Some(isolation) = isolation else { return EngineIsolation::None };
    if isolation.guilty.contains(&engine.name) {
        EngineIsolation::Guilty
    } else if isolation.suspects.contains(&engine.name) {
        EngineIsolation::Apart
    } else {
        EngineIsolation::None
    }
}

/// The worse of both domains' states; a second domain that only starts makes a serving group degraded, no more.
fn both(home: GroupState, side: GroupState) -> GroupState {
    match (home, side) {
        (GroupState::Serving, GroupState::Serving) => GroupState::Serving,
        (_, GroupState::Held) => GroupState::Held,
        (GroupState::Serving | GroupState::Degraded, GroupState::Recovering | GroupState::Unknown) => side,
        (GroupState::Serving, _) => GroupState::Degraded,
        _ => home,
    }
}
