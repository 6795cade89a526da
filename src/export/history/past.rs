//! The last hour of every group, engine and GPU.

use std::collections::BTreeMap;

use super::course::Course;
use super::lane::Lane;
use super::since::{Changes, Since};
use crate::model::{EngineKey, EngineState, EngineStatus, GpuUuid, GroupName, GroupState, Moment, Status};

/// Engines whose lanes and courses are kept, so that the memory is bounded: about 5 KiB each.
const MOST_ENGINES: usize = 128;

/// What was in the last hour.
#[derive(Clone, Debug, Default)]
pub struct History {
    begun: Option<Moment>,
    changes: Changes,
    groups: BTreeMap<GroupName, Lane<GroupState>>,
    engines: BTreeMap<EngineKey, EngineHistory>,
    gpus: BTreeMap<GpuUuid, Course>,
}

/// What was with one engine in the last hour.
#[derive(Clone, Debug, Default)]
pub struct EngineHistory {
    /// States of the engine.
    pub states: Lane<EngineState>,
    /// Requests that it works on, and that wait.
    pub requests: Course,
    /// Bytes of device memory.
    pub memory: Course,
}

impl History {
    /// Takes in a status: each one that is published, or the newest of several.
    pub fn look(&mut self, status: &Status) {
        self.begun.get_or_insert(status.at);
        self.changes.look(status);
        self.groups.retain(|name, _| status.group(name.as_str()).is_some());
        self.engines.retain(|key, _| engine_of(status, key).is_some());
        self.gpus.retain(|uuid, _| status.gpus.iter().any(|gpu| gpu.identity.uuid == *uuid));
        for gpu in &status.gpus {
            let course = self.gpus.entry(gpu.identity.uuid.clone()).or_default();
            course.look(status.at, gpu.memory_used.map(|bytes| bytes as f64));
        }
        for group in &status.groups {
            self.groups.entry(group.name.clone()).or_default().look(status.at, group.state);
            for engine in &group.engines {
                let key = EngineKey::new(&group.name, &engine.name);
                if self.engines.len() < MOST_ENGINES || self.engines.contains_key(&key) {
                    self.engines.entry(key).or_default().look(status, engine);
                }
            }
        }
    }

    /// When the first status was taken in; `None`: none was yet.
    pub fn begun(&self) -> Option<Moment> {
        self.begun
    }

    /// Times since which the things of a status are as it says.
    pub fn since(&self, status: &Status) -> Since {
        self.changes.of(status)
    }

    /// A group's states.
    pub fn group(&self, name: &GroupName) -> Option<&Lane<GroupState>> {
        self.groups.get(name)
    }

    /// What was with an engine.
    pub fn engine(&self, key: &EngineKey) -> Option<&EngineHistory> {
        self.engines.get(key)
    }

    /// A GPU's memory in use.
    pub fn gpu_memory(&self, uuid: &GpuUuid) -> Option<&Course> {
        self.gpus.get(uuid)
    }
}

impl EngineHistory {
    fn look(&mut self, status: &Status, engine: &EngineStatus) {
        self.states.look(status.at, engine.state);
        let load = engine.load.as_ref();
        let requests = load.and_then(|load| Some(load.running? + load.waiting.unwrap_or(0.0)));
        self.requests.look(status.at, requests);
        self.memory.look(status.at, engine.device_memory.map(|bytes| bytes as f64));
    }
}

fn engine_of<'a>(status: &'a Status, key: &EngineKey) -> Option<&'a EngineStatus> {
    status.group(key.group.as_str())?.engine(key.engine.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::export::history::HOUR;
    use crate::export::testing;
    use crate::model::GroupStatus;

    fn status(seconds: u64, engines: &[String]) -> Status {
        let engines = engines.iter().map(|name| testing::engine(name)).collect();
        let at = Moment::from_nanos(seconds * 1_000_000_000);
        Status { at, ..testing::status(vec![GroupStatus { engines, ..testing::group("llms") }]) }
    }

    #[test]
    fn what_the_status_has_no_more_is_forgotten_and_the_rest_is_bounded() {
        let names: Vec<String> = (0..200).map(|number| format!("engine-{number}")).collect();
        let mut history = History::default();
        history.look(&status(1, &names));
        assert_eq!(history.engines.len(), MOST_ENGINES);
        history.look(&status(2, &names[..1]));
        assert_eq!(history.engines.len(), 1);
        assert_eq!(history.group(&"llms".into()).unwrap().spans(Moment::from_nanos(3_000_000_000), HOUR).len(), 1);
    }
}
