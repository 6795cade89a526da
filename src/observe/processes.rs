//! Observes which processes each engine of a group has, and what they use, from one reading. Signals nobody.

use super::Hands;
use super::reports::Reports;
use crate::model::{GroupName, Observation};

pub(super) fn look(hands: &dyn Hands, group: &GroupName, reports: &Reports) -> Result<(), String> {
    for (engine, processes) in hands.trees(group)? {
        let tree = processes.iter().map(|usage| usage.process).collect();
        reports.observed(Observation::Tree { engine: engine.clone(), processes: tree });
        reports.observed(Observation::Usage { engine, processes });
    }
    Ok(())
}
