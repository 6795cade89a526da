//! Whether what an order aims at is reached, out of reach, or on its way. Pure; it waits for nothing.

use std::time::Duration;

use crate::model::{Awaited, EngineKey, EngineState, EngineStatus, GroupState, GroupStatus, Moment, Status};

/// Time after which a state counts that looks like the end of all hope: it may be a moment's.
const SETTLED: Duration = Duration::from_secs(3);

/// How it stands with all goals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// All are reached.
    Reached,
    /// Some are not yet; what they wait for.
    OnItsWay(String),
    /// One won't be by itself, and why.
    Failed(String),
}

/// Goals that are waited for.
#[derive(Debug)]
pub(super) struct Goals {
    goals: Vec<Awaited>,
    hopeless_since: Option<Moment>,
}

/// How it stands with one goal.
enum One {
    Reached,
    OnItsWay(String),
    Hopeless(String),
}

impl Goals {
    /// Goals of a plan.
    pub(super) fn of(goals: Vec<Awaited>) -> Goals {
        Goals { goals, hopeless_since: None }
    }

    /// How it stands with them by this status; statuses come in their order.
    pub(super) fn look(&mut self, status: &Status) -> Standing {
        let all: Vec<One> = self.goals.iter().map(|goal| standing(goal, status)).collect();
        let first_hopeless = all.iter().find_map(|one| match one {
            One::Hopeless(why) => Some(why.clone()),
            One::Reached | One::OnItsWay(_) => None,
        });
        let Some(why) = first_hopeless else {
            self.hopeless_since = None;
            return on_their_way(&all);
        };
        let since = *self.hopeless_since.get_or_insert(status.at);
        if status.at.since(since) >= SETTLED { Standing::Failed(why) } else { Standing::OnItsWay(why) }
    }

    /// What was reached, in words.
    pub(super) fn reached(&self, status: &Status) -> String {
        let said: Vec<String> = self.goals.iter().map(|goal| reached(goal, status)).collect();
        said.join("; ")
    }
}

fn on_their_way(all: &[One]) -> Standing {
    let waits = all.iter().filter_map(|one| match one {
        One::OnItsWay(what) => Some(what.as_str()),
        One::Reached | One::Hopeless(_) => None,
    });
    let waits: Vec<&str> = waits.collect();
    if waits.is_empty() { Standing::Reached } else { Standing::OnItsWay(waits.join("; ")) }
}

fn standing(goal: &Awaited, status: &Status) -> One {
    match goal {
        Awaited::GroupServes { group, generation } => match status.group(group.as_str()) {
            Some(found) => group_serves(found, *generation),
            None => One::Hopeless(gone(group)),
        },
        Awaited::GroupStopped(group) => match status.group(group.as_str()) {
            Some(found) if found.state != GroupState::Stopped => One::OnItsWay(so_far(found)),
            // One that left the configuration has been stopped before.
            _ => One::Reached,
        },
        Awaited::DriverLetGo if status.driver_let_go => One::Reached,
        Awaited::DriverLetGo => One::OnItsWay("NVML is still open".to_owned()),
        Awaited::EngineServes { engine, incarnation } => match find(engine, status) {
            Some((group, found)) => engine_serves(group, found, *incarnation),
            None => One::Hopeless(gone(engine)),
        },
        Awaited::EngineStopped(engine) => match find(engine, status) {
            Some((_, found)) if !is_stopped(found) => One::OnItsWay(format!("{engine} is {}", found.state)),
            _ => One::Reached,
        },
    }
}

fn group_serves(group: &GroupStatus, generation: u32) -> One {
    let name = &group.name;
    match group.state {
        GroupState::Serving if group.generation >= generation => One::Reached,
        GroupState::Held => One::Hopeless(held(group)),
        GroupState::Stopped => One::Hopeless(format!("{name} is stopped")),
        GroupState::Starting
        | GroupState::Serving
        | GroupState::Degraded
        | GroupState::Recovering
        | GroupState::Unknown => One::OnItsWay(so_far(group)),
    }
}

fn engine_serves(group: &GroupStatus, engine: &EngineStatus, incarnation: u32) -> One {
    let name = format!("{}/{}", group.name, engine.name);
    match engine.state {
        EngineState::Serving if engine.incarnation >= incarnation => One::Reached,
        EngineState::Quarantined => {
            One::Hopeless(format!("{name} is quarantined: find out why it fails, then release it"))
        }
        _ if group.state == GroupState::Held => One::Hopeless(held(group)),
        _ if group.state == GroupState::Stopped => One::Hopeless(format!("{} is stopped", group.name)),
        state @ (EngineState::Stopped
        | EngineState::Starting
        | EngineState::Serving
        | EngineState::Failing
        | EngineState::Stopping
        | EngineState::Unknown) => One::OnItsWay(format!("{name} is {state}")),
    }
}

fn is_stopped(engine: &EngineStatus) -> bool {
    let ended = matches!(engine.state, EngineState::Stopped | EngineState::Quarantined);
    ended && engine.main.is_none() && engine.clients.is_empty()
}

fn held(group: &GroupStatus) -> String {
    match &group.held {
        Some((reason, detail)) => format!("{} is held ({reason}): {detail}", group.name),
        None => format!("{} is held", group.name),
    }
}

fn gone(name: &impl std::fmt::Display) -> String {
    format!("{name} is not there any more: it left the configuration")
}

/// A group and its engines that do not serve, in a few words.
fn so_far(group: &GroupStatus) -> String {
    let step = group.recovery.map(|recovery| format!(", step {}", recovery.step)).unwrap_or_default();
    let engines = group.engines.iter().filter(|engine| engine.state != EngineState::Serving);
    let engines: String = engines.map(|engine| format!(", {} {}", engine.name, engine.state)).collect();
    format!("{} is {}{step}{engines}", group.name, group.state)
}

fn reached(goal: &Awaited, status: &Status) -> String {
    match goal {
        Awaited::GroupServes { group, .. } => {
            let generation = status.group(group.as_str()).map_or(0, |found| found.generation);
            format!("{group} serves in generation {generation}")
        }
        Awaited::GroupStopped(group) => format!("{group} is stopped"),
        Awaited::DriverLetGo => "nothing of mpswarden's uses the driver".to_owned(),
        Awaited::EngineServes { engine, .. } => {
            let incarnation = find(engine, status).map_or(0, |(_, found)| found.incarnation);
            format!("{engine} serves in incarnation {incarnation}")
        }
        Awaited::EngineStopped(engine) => format!("{engine} is stopped"),
    }
}

fn find<'a>(key: &EngineKey, status: &'a Status) -> Option<(&'a GroupStatus, &'a EngineStatus)> {
    let group = status.group(key.group.as_str())?;
    Some((group, group.engine(key.engine.as_str())?))
}
