//! Since when things are as a status says: an engine serves or does not, a fault is there, a GPU wants something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{EngineName, EngineState, Fault, GpuUuid, GroupName, GroupState, Moment, Status};

/// What stays as it is for a while, and has a time since which it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// Whether a group serves.
    Group(GroupName),
    /// Whether an engine serves.
    Engine(GroupName, EngineName),
    /// Whether a group has no restart left.
    Budget(GroupName),
    /// What the driver wants for a GPU.
    Gpu(GpuUuid),
    /// A fault that is there: of an engine, or of the whole group.
    Fault(GroupName, Option<EngineName>, Fault),
}

/// Times since which the things of a status are as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since(Vec<(Subject, Moment)>);

impl Since {
    /// Time since which it is as it is; `None`: that is not known.
    pub fn of(&self, subject: &Subject) -> Option<Moment> {
        self.0.iter().find(|(known, _)| known == subject).map(|(_, since)| *since)
    }
}

/// What is known of every subject: how it is, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(BTreeMap<Subject, (&'static str, Moment)>);

impl Changes {
    /// Takes in a status. What it does not have any more is forgotten.
    pub(super) fn look(&mut self, status: &Status) {
        let before = std::mem::take(&mut self.0);
        self.0 = conditions(status)
            .into_iter()
            .map(|(subject, word)| {
                let since = before.get(&subject).filter(|(known, _)| *known == word).map_or(status.at, |known| known.1);
                (subject, (word, since))
            })
            .collect();
    }

    /// The times of a status; what it says otherwise than the last one that was looked at is as new as it is.
    pub(super) fn of(&self, status: &Status) -> Since {
        let since = |(subject, word): (Subject, &'static str)| {
            let known = self.0.get(&subject).filter(|(known, _)| *known == word);
            let since = known.map_or(status.at, |known| known.1);
            (subject, since)
        };
        Since(conditions(status).into_iter().map(since).collect())
    }
}

/// How every subject of a status is, in a word.
fn conditions(status: &Status) -> Vec<(Subject, &'static str)> {
    let serves = |yes: bool| if yes { "serves" } else { "does not" };
    let gpus = status
        .gpus
        .iter()
        .map(|gpu| (Subject::Gpu(gpu.identity.uuid.clone()), gpu.recovery_action.map_or("", |action| action.as_str())));
    let mut found: Vec<(Subject, &'static str)> = gpus.collect();
    for group in &status.groups {
        let name = &group.name;
        found.push((Subject::Group(name.clone()), serves(group.state == GroupState::Serving)));
        found.push((Subject::Budget(name.clone()), if group.budget_remaining == 0 { "spent" } else { "left" }));
        found.extend(group.engines.iter().map(|engine| {
            (Subject::Engine(name.clone(), engine.name.clone()), serves(engine.state == EngineState::Serving))
        }));
        let there = |(engine, fault): &(Option<EngineName>, Fault)| {
            (Subject::Fault(name.clone(), engine.clone(), *fault), "there")
        };
        found.extend(group.faults.iter().map(there));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing;
    use crate::model::GroupStatus;

    fn status(seconds: u64, state: GroupState) -> Status {
        let at = Moment::from_nanos(seconds * 1_000_000_000);
        Status { at, ..testing::status(vec![GroupStatus { state, ..testing::group("llms") }]) }
    }

    fn seconds(since: &Since) -> Option<f64> {
        since.of(&Subject::Group("llms".into())).map(Moment::as_secs_f64)
    }

    #[test]
    fn a_group_that_is_restarted_after_a_fault_does_not_serve_since_the_fault() {
        let mut changes = Changes::default();
        changes.look(&status(1, GroupState::Serving));
        changes.look(&status(5, GroupState::Serving));
        assert_eq!(seconds(&changes.of(&status(5, GroupState::Serving))), Some(1.0));
        changes.look(&status(6, GroupState::Degraded));
        changes.look(&status(7, GroupState::Recovering));
        assert_eq!(seconds(&changes.of(&status(8, GroupState::Held))), Some(6.0));
    }

    #[test]
    fn what_is_newer_than_the_last_look_is_as_old_as_its_status() {
        let mut changes = Changes::default();
        changes.look(&status(1, GroupState::Serving));
        assert_eq!(seconds(&changes.of(&status(9, GroupState::Held))), Some(9.0));
        assert_eq!(seconds(&Since::default()), None);
    }
}
