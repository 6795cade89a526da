//! control_died: the control daemon's process ended (pidfd). Its server goes with it, and all clients get 806.

use super::Finding;
use crate::decide::facts::scene::Scene;
use crate::model::Fault;

pub(super) fn find(scene: &Scene) -> Option<Finding> {
    let (at, exit) = scene.control.died?;
    let because = match scene.control.process {
        Some(process) => format!("control daemon {process} ended with {exit}"),
        None => format!("the control daemon ended with {exit}"),
    };
    Some(Finding::of_group(Fault::ControlDied, at, because))
}
