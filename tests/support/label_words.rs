//! The words that a label may have, for whatever names them outside the program: rules and dashboards.

use mpswarden::model::gpu::RecoveryAction;
use mpswarden::model::hook::HookResult;
use mpswarden::model::{
    AdviceReason, BaselineSource, CommandResult, EngineIsolation, EngineState, ExitCause, Fault, GroupState,
    HeldReason, NeededAction, NeededBy, ProbeState, RecoveryResult, RecoveryStep, ServerState, Slot, Source,
};

/// The words of one label of a series; `None`: any may come.
pub fn words(series: &str, label: &str) -> Option<Vec<&'static str>> {
    macro_rules! all {
        ($words:ty) => {
            Some(<$words>::ALL.iter().map(|word| word.as_str()).collect())
        };
    }
    match (series, label) {
        ("mps_group_state", "state") => all!(GroupState),
        ("mps_engine_state", "state") => all!(EngineState),
        ("mps_server_state", "state") => all!(ServerState),
        ("mps_engine_probe_state", "state") => all!(ProbeState),
        ("mps_sharing_advice_active", "reason") => all!(AdviceReason),
        ("mps_baseline_info", "source") => all!(BaselineSource),
        ("mps_group_held", "reason") => all!(HeldReason),
        ("mps_recoveries_total", "result") => all!(RecoveryResult),
        ("mps_control_commands_total", "result") => all!(CommandResult),
        ("mpswarden_hook_runs_total", "result") => all!(HookResult),
        ("mps_engine_exits_total", "cause") => all!(ExitCause),
        ("mps_gpu_recovery_action", "action") => all!(RecoveryAction),
        ("mps_engine_tokens_total", "kind") => Some(vec!["prompt", "generation"]),
        ("mps_engine_isolated", "isolation") => all!(EngineIsolation),
        ("mps_action_needed", "by") => all!(NeededBy),
        ("mps_action_needed", "action") => all!(NeededAction),
        (_, "domain") => all!(Slot),
        (_, "step") => all!(RecoveryStep),
        (_, "fault") => all!(Fault),
        (_, "source") => all!(Source),
        _ => None,
    }
}
