//! control_died: the control daemon's process ended (pidfd). Its server goes with it, and all clients get 806.

use crate::decide::domain::Domain;
use crate::model::Fault;

use super::Finding;

pub(super) fn find(group: &Domain) -> Option<Finding> {
    let (at, exit) = group.control.died?;
    let because = match group.control.process {
        Some(process) => format!("control daemon {process} ended with {exit}"),
        None => format!("the control daemon ended with {exit}"),
    };
    Some(Finding::of_group(Fault::ControlDied, at, because))
}
