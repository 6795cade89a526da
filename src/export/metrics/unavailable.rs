//! How long each engine did not serve, and why: what error budgets are made of. Between two statuses an engine is taken
//! for what it was in the first of them.

use std::time::Duration;

use super::known_series::MENDED_FAULTS;
use crate::model::{EngineIsolation, EngineName, EngineState, EngineStatus, Fault, GroupState, GroupStatus, Reason};

/// The first start, of the group or of the engine.
const START: &str = "start";
/// Nobody knows whether it served: the watchdog was blind.
const UNKNOWN: &str = "unknown";
/// It was moved, or stopped, for the search for the cause of repeated faults.
const ISOLATION: &str = "isolation";
/// None of these.
const OTHER: &str = "other";
/// The longest time between two statuses that is counted: they come each second, and what was between two that are
/// further apart is not known.
const LONGEST: Duration = Duration::from_secs(30);

/// Reasons whose series begin at 0; others are there from their first second on.
pub(super) fn known_reasons() -> impl Iterator<Item = &'static str> {
    let faults = MENDED_FAULTS.iter().chain(&[Fault::CrashLoop, Fault::DeviceOom, Fault::HostOom, Fault::Hang]);
    faults.map(|fault| fault.as_str()).chain([Reason::Operator.as_str(), START, UNKNOWN, ISOLATION, OTHER])
}

/// Time between two statuses that counts: at most [`LONGEST`].
pub(super) fn counted(between: Duration) -> Duration {
    between.min(LONGEST)
}

/// Why an engine does not serve: the fault that keeps it out, `operator` where somebody ordered it, `start`, `isolation`,
/// `unknown` or `other`. `None`: it serves.
pub(super) fn why_unavailable(group: &GroupStatus, engine: &EngineStatus) -> Option<&'static str> {
    let mut own = faults_of(group, Some(&engine.name));
    if engine.state == EngineState::Serving {
        let hangs = own.chain(faults_of(group, None)).any(|fault| fault == Fault::Hang);
        return hangs.then_some(Fault::Hang.as_str());
    }
    if engine.state == EngineState::Unknown {
        return Some(UNKNOWN);
    }
    // Its end for good says more than the last of the failures that led there.
    let given_up = own.clone().find(|fault| *fault == Fault::CrashLoop);
    if let Some(fault) = given_up.or_else(|| own.next()) {
        return Some(fault.as_str());
    }
    let by_the_group = group.recovery.map(|recovery| recovery.reason.map_or(START, |reason| reason.as_str()));
    let fault = || faults_of(group, None).next().map(|fault| fault.as_str());
    by_the_group.or_else(fault).or_else(|| by_itself(group, engine)).or(Some(OTHER))
}

/// Nothing is wrong with it, nor with its group.
fn by_itself(group: &GroupStatus, engine: &EngineStatus) -> Option<&'static str> {
    match engine.state {
        _ if engine.isolation == EngineIsolation::Apart => Some(ISOLATION),
        _ if group.state == GroupState::Stopped => Some(Reason::Operator.as_str()),
        EngineState::Stopped | EngineState::Stopping | EngineState::Quarantined => Some(Reason::Operator.as_str()),
        EngineState::Starting if engine.incarnation <= 1 => Some(START),
        EngineState::Starting | EngineState::Failing | EngineState::Serving | EngineState::Unknown => None,
    }
}

/// Faults of an engine, or of the whole group, that keep engines from serving.
fn faults_of<'a>(
    group: &'a GroupStatus,
    engine: Option<&'a EngineName>,
) -> impl Iterator<Item = Fault> + Clone + use<'a> {
    let keeps_out = |fault: &Fault| {
        !matches!(
            fault,
            Fault::ForeignProcess
                | Fault::UnknownClient
                | Fault::ClientLimit
                | Fault::Starved
                | Fault::MemoryLeak
                | Fault::LimitMissing
                | Fault::LimitExceeded
        )
    };
    let of_it = group.faults.iter().filter(move |(owner, fault)| owner.as_ref() == engine && keeps_out(fault));
    of_it.map(|(_, fault)| *fault)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::export::testing;
    use crate::model::status::RecoveryStatus;
    use crate::model::{Moment, RecoveryStep, Tier};

    fn engine(state: EngineState) -> EngineStatus {
        EngineStatus { state, ..testing::engine("a") }
    }

    fn with(faults: &[(Option<&str>, Fault)]) -> GroupStatus {
        let faults = faults.iter().map(|(engine, fault)| (engine.map(Into::into), *fault)).collect();
        GroupStatus { faults, ..testing::group("llms") }
    }

    fn recovering(reason: Option<Reason>) -> GroupStatus {
        let (tier, step) = (Tier::Clients, RecoveryStep::Start);
        let recovery = RecoveryStatus { tier, reason, step, since: Moment::ZERO, next_try: None };
        GroupStatus { recovery: Some(recovery), ..testing::group("llms") }
    }

    #[test]
    fn an_engine_that_serves_is_available_unless_it_hangs() {
        assert_eq!(why_unavailable(&with(&[]), &engine(EngineState::Serving)), None);
        assert_eq!(why_unavailable(&with(&[(Some("b"), Fault::Hang)]), &engine(EngineState::Serving)), None);
        for hung in [Some("a"), None] {
            assert_eq!(why_unavailable(&with(&[(hung, Fault::Hang)]), &engine(EngineState::Serving)), Some("hang"));
        }
    }

    #[test]
    fn what_is_wrong_with_the_engine_itself_comes_before_its_groups_restart() {
        let own = with(&[(Some("a"), Fault::EngineDied), (Some("a"), Fault::CrashLoop), (None, Fault::GpuFault)]);
        assert_eq!(why_unavailable(&own, &engine(EngineState::Quarantined)), Some("crash_loop"));
        let down = engine(EngineState::Starting);
        assert_eq!(why_unavailable(&recovering(Some(Fault::GpuFault.into())), &down), Some("gpu_fault"));
        assert_eq!(why_unavailable(&recovering(Some(Reason::Operator)), &down), Some("operator"));
        assert_eq!(why_unavailable(&recovering(None), &down), Some("start"));
        assert_eq!(why_unavailable(&with(&[(None, Fault::ServerDied)]), &down), Some("server_died"));
    }

    #[test]
    fn a_fault_that_keeps_nobody_out_explains_nothing() {
        let told = with(&[(Some("a"), Fault::LimitMissing), (None, Fault::ForeignProcess)]);
        assert_eq!(why_unavailable(&told, &engine(EngineState::Stopped)), Some("operator"));
    }

    #[test]
    fn whoever_is_out_without_a_fault_was_ordered_out_moved_or_starts() {
        let quiet = with(&[]);
        assert_eq!(why_unavailable(&quiet, &engine(EngineState::Quarantined)), Some("operator"));
        assert_eq!(why_unavailable(&quiet, &engine(EngineState::Starting)), Some("start"));
        assert_eq!(why_unavailable(&quiet, &engine(EngineState::Unknown)), Some("unknown"));
        assert_eq!(why_unavailable(&quiet, &engine(EngineState::Failing)), Some("other"));
        let apart = EngineStatus { isolation: EngineIsolation::Apart, ..engine(EngineState::Stopping) };
        assert_eq!(why_unavailable(&quiet, &apart), Some("isolation"));
    }

    #[test]
    fn a_silence_of_the_watchdog_is_not_counted_whole() {
        assert_eq!(counted(Duration::from_secs(2)), Duration::from_secs(2));
        assert_eq!(counted(Duration::from_secs(3600)), LONGEST);
    }
}
