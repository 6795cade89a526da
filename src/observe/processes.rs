//! Observes which processes each engine of a group has. Signals nobody.

use super::Hands;
use super::reports::Reports;
use crate::model::{GroupName, Observation};

pub(super) fn look(hands: &dyn Hands, group: &GroupName, reports: &Reports) -> Result<(), String> {
    for (engine, processes) in hands.trees(group)? {
        reports.observed(Observation::Tree { engine, processes });
    }
    Ok(())
}
