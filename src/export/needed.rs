//! What somebody must do in a group, from one status.

use crate::model::gpu::RecoveryAction;
use crate::model::{
    EngineIsolation, EngineName, EngineState, EngineStatus, Fault, GroupStatus, HeldReason, Mode, NeededAction, Status,
};

/// Faults that leave contexts dead until a restart.
const DEADLY: [Fault; 4] = [Fault::GpuFault, Fault::ServerDied, Fault::ServerStuck, Fault::ControlDied];

/// Faults that a restart of the control daemon mends, and nothing less.
const BY_THE_DAEMON: [Fault; 3] = [Fault::ControlWedged, Fault::ServerStuck, Fault::NewcomersHang];

/// Something that somebody must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need<'a> {
    /// What is to be done.
    pub action: NeededAction,
    /// The engine that it is about; `None`: the whole group.
    pub engine: Option<&'a EngineName>,
}

/// Everything that somebody must do in a group before it can go on as it should, each kind of action once.
pub fn needed(status: &Status, group: &GroupStatus) -> Vec<NeededAction> {
    let mut actions: Vec<NeededAction> = needs(status, group).iter().map(|need| need.action).collect();
    actions.sort();
    actions.dedup();
    actions
}

/// The same with the engines, those of the whole group first.
pub fn needs<'a>(status: &Status, group: &'a GroupStatus) -> Vec<Need<'a>> {
    let held = group.held.as_ref().and_then(|(reason, _)| of_held(status, group, *reason));
    let restart = is_left_alone(group).then(|| of_the_dead(group)).flatten().or_else(|| of_others(group));
    let whole = held.into_iter().chain(restart).map(|action| Need { action, engine: None });
    let of_engine =
        |engine: &'a EngineStatus| of_engine(group, engine).map(|action| Need { action, engine: Some(&engine.name) });
    whole.chain(group.engines.iter().filter_map(of_engine)).collect()
}

fn of_engine(group: &GroupStatus, engine: &EngineStatus) -> Option<NeededAction> {
    let taken_out = engine.state == EngineState::Quarantined || engine.isolation == EngineIsolation::Guilty;
    let has = |fault| group.faults.contains(&(Some(engine.name.clone()), fault));
    if engine.missing {
        return Some(NeededAction::StartEngines);
    }
    if !engine.custody.may_start() {
        let failed = has(Fault::EngineDied) && !is_left_alone(group);
        return failed.then_some(NeededAction::RestartEngines);
    }
    let up = matches!(engine.state, EngineState::Serving | EngineState::Failing);
    let hangs = up && has(Fault::Hang);
    // An engine that is down, and that mpswarden would start if it might.
    let down = keeps_out(group) && !is_left_alone(group) && engine.main.is_none() && has(Fault::EngineDied);
    if taken_out {
        return Some(NeededAction::Release);
    }
    ((hangs || down) && group.recovery.is_none()).then_some(NeededAction::Restart)
}

/// The restart of what has dead contexts: by an operator, or by those who run it; `None`: another need comes first.
fn of_the_dead(group: &GroupStatus) -> Option<NeededAction> {
    let nobodys = |engine: &EngineStatus| !engine.custody.may_end();
    let theirs = group.custody.is_others() && group.engines.iter().all(nobodys);
    match group.held {
        Some((HeldReason::ControlAbsent, _)) => None,
        _ if theirs => Some(NeededAction::RestartEngines),
        _ => Some(NeededAction::Restart),
    }
}

/// A fault that only the restart of a control daemon mends, where that is others' to restart.
fn of_others(group: &GroupStatus) -> Option<NeededAction> {
    let has = |fault: &Fault| group.faults.contains(&(None, *fault));
    let mended = group.custody.is_others() && group.held.is_none() && BY_THE_DAEMON.iter().any(has);
    mended.then_some(NeededAction::RestartControl)
}

/// Whether mpswarden only observes the group, or an operator told it to keep out.
fn keeps_out(group: &GroupStatus) -> bool {
    group.mode == Mode::Observe || group.hold.is_some()
}

fn of_held(status: &Status, group: &GroupStatus, reason: HeldReason) -> Option<NeededAction> {
    Some(match reason {
        HeldReason::BudgetSpent => NeededAction::Resume,
        HeldReason::ProcessStuck => NeededAction::EndProcess,
        HeldReason::MemoryNotBack => NeededAction::FreeMemory,
        HeldReason::MemoryUnknown | HeldReason::GpuUnreadable => NeededAction::MendDriver,
        HeldReason::GpuResetNeeded => cure(status, group),
        HeldReason::GpuLost => NeededAction::RebootNode,
        HeldReason::ServerCannotStart => NeededAction::MendServer,
        HeldReason::MpsBinaryMissing => NeededAction::InstallMps,
        HeldReason::PipeDirectoryOccupied => NeededAction::FreePipeDirectory,
        HeldReason::ControlAbsent => NeededAction::StartControl,
        HeldReason::ControlNotOurs => NeededAction::RestartControl,
        HeldReason::EnginesNotOurs => NeededAction::RestartEngines,
        HeldReason::WatchedByAnother => NeededAction::StopOtherWatchdog,
        HeldReason::OutOfResources => NeededAction::RaiseLimits,
        HeldReason::Operator => return None,
    })
}

/// What mends a GPU that needs a reset.
pub(super) fn cure(status: &Status, group: &GroupStatus) -> NeededAction {
    let mut gpus = status.gpus.iter().filter(|gpu| group.gpus.contains(&gpu.identity.uuid));
    match gpus.find_map(|gpu| gpu.recovery_action.filter(|action| *action != RecoveryAction::None)) {
        Some(RecoveryAction::NodeReboot | RecoveryAction::SystemReboot) => NeededAction::RebootNode,
        Some(_) | None => NeededAction::ResetGpu,
    }
}

/// Contexts are dead, and nobody works on it: mpswarden only observes, or an operator told it to keep out.
fn is_left_alone(group: &GroupStatus) -> bool {
    let is_dead = group.faults.iter().any(|(engine, fault)| engine.is_none() && DEADLY.contains(fault));
    // Where an engine is others' to restart its whole group is left to them.
    let theirs = group.engines.iter().any(|engine| !engine.custody.may_end());
    (keeps_out(group) || theirs) && is_dead && group.recovery.is_none()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::export::testing;
    use crate::model::{Custody, Hold, Moment, Powers};

    fn of(group: GroupStatus) -> Vec<NeededAction> {
        let status = testing::status(vec![group]);
        needed(&status, &status.groups[0])
    }

    fn held(reason: HeldReason) -> GroupStatus {
        GroupStatus { held: Some((reason, String::new())), ..testing::group("llms") }
    }

    #[test]
    fn a_group_that_serves_needs_nobody() {
        assert!(of(GroupStatus { engines: vec![testing::engine("a")], ..testing::group("llms") }).is_empty());
    }

    #[test]
    fn every_reason_to_hold_a_group_but_an_operators_word_needs_somebody() {
        for reason in HeldReason::ALL {
            assert_eq!(of(held(*reason)).is_empty(), *reason == HeldReason::Operator, "{reason}");
        }
    }

    #[test]
    fn an_engine_that_was_taken_out_for_good_waits_for_its_release() {
        let quarantined = crate::model::EngineStatus { state: EngineState::Quarantined, ..testing::engine("a") };
        let guilty = crate::model::EngineStatus { isolation: EngineIsolation::Guilty, ..testing::engine("a") };
        for engine in [quarantined, guilty] {
            let group = GroupStatus { engines: vec![engine], ..testing::group("llms") };
            assert_eq!(of(group), [NeededAction::Release]);
        }
    }

    #[test]
    fn an_engine_that_hangs_or_died_is_an_operators_where_mpswarden_does_nothing_about_it() {
        let engine = |state, main| EngineStatus { state, main, ..testing::engine("a") };
        let with = |fault, engine| GroupStatus {
            faults: vec![(Some("a".into()), fault)],
            engines: vec![engine],
            ..testing::group("llms")
        };
        let hangs = with(Fault::Hang, engine(EngineState::Serving, None));
        let died = with(Fault::EngineDied, engine(EngineState::Stopped, None));
        assert_eq!(of(hangs), [NeededAction::Restart]);
        assert!(of(died.clone()).is_empty(), "mpswarden starts it again");
        assert_eq!(of(GroupStatus { mode: Mode::Observe, ..died }), [NeededAction::Restart]);
    }

    #[test]
    fn an_engine_of_others_is_its_owners_turn_only_where_nobody_here_may_act() {
        let others = |powers| EngineStatus { custody: Custody::Others(powers), main: None, ..testing::engine("a") };
        let died = |engine| GroupStatus {
            faults: vec![(Some("a".into()), Fault::EngineDied)],
            engines: vec![engine],
            ..testing::group("llms")
        };
        assert_eq!(of(died(others(Powers::Look))), [NeededAction::RestartEngines]);
        assert_eq!(of(died(others(Powers::Signal))), [NeededAction::RestartEngines]);
        assert!(of(died(others(Powers::Supervisor))).is_empty(), "mpswarden has it started");
        let missing = EngineStatus { missing: true, ..others(Powers::Supervisor) };
        assert_eq!(of(GroupStatus { engines: vec![missing], ..testing::group("llms") }), [NeededAction::StartEngines]);
    }

    #[test]
    fn dead_contexts_need_an_operator_only_where_mpswarden_keeps_out() {
        let faulted = GroupStatus { faults: vec![(None, Fault::GpuFault)], ..testing::group("llms") };
        let hold = Hold { reason: String::new(), since: Moment::ZERO, until: None };
        assert!(of(faulted.clone()).is_empty());
        assert_eq!(of(GroupStatus { mode: Mode::Observe, ..faulted.clone() }), [NeededAction::Restart]);
        assert_eq!(of(GroupStatus { hold: Some(hold), ..faulted }), [NeededAction::Restart]);
    }
}
