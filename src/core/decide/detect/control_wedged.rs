//! control_wedged: the control daemon lives and left three commands in a row without an answer.

use super::Finding;
use crate::decide::facts::scene::Scene;
use crate::model::Fault;

pub(super) fn find(scene: &Scene) -> Option<Finding> {
    let control = &scene.control;
    if control.wedged_at.is_none() || control.died.is_some() || control.process.is_none() {
        return None;
    }
    let because = format!("the control daemon lives and left {} commands in a row without an answer", control.silent);
    Some(Finding::of_group(Fault::ControlWedged, control.silent_since, because))
}
