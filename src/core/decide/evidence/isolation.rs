//! What is known of the culprit of repeated faults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decide::evidence::search::Search;
use crate::model::{EngineIsolation, EngineName, Moment};

/// What is known of the culprit of a group's repeated faults. It survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// The last fault that nothing else explained.
    pub last: Option<Moment>,
    pub(crate) search: Option<Search>,
    /// Engines that were proven guilty, with the number of faults that it took.
    pub guilty: BTreeMap<EngineName, u32>,
}

impl Isolation {
    /// Whether no engine is to be anywhere but where it always is.
    pub(crate) fn is_idle(&self) -> bool {
        self.search.is_none() && self.guilty.is_empty()
    }

    pub(crate) fn search(&self) -> Option<&Search> {
        self.search.as_ref()
    }

    pub(crate) fn is_guilty(&self, engine: &EngineName) -> bool {
        self.guilty.contains_key(engine)
    }

    /// The isolation of an engine as the status shows it.
    pub(crate) fn of(&self, engine: &EngineName) -> EngineIsolation {
        match &self.search {
            _ if self.is_guilty(engine) => EngineIsolation::Guilty,
            Some(search) if search.apart.contains(engine) => EngineIsolation::Apart,
            Some(search) if search.suspects.contains(engine) => EngineIsolation::Suspect,
            _ => EngineIsolation::None,
        }
    }
}
