//! When mpswarden makes way for whoever runs the engines: all of them, or their control daemon, have to be restarted, and
//! nobody has done it for long enough. Where it is a container of their pod, its end by a status of its own restarts all
//! containers of the pod.

use std::time::Duration;

use crate::export::needed::needs;
use crate::model::{Moment, NeededAction, Status};

/// How long their restart is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OthersTurn {
    /// Time for which it is waited for; `None`: indefinitely.
    patience: Option<Duration>,
    since: Option<Moment>,
}

impl OthersTurn {
    /// It is waited for so long; `None`: indefinitely.
    pub(super) fn with(patience: Option<Duration>) -> OthersTurn {
        OthersTurn { patience, since: None }
    }

    /// Takes up a status. What was waited for in vain, in words, once it has been for long enough.
    pub(super) fn is_over(&mut self, status: &Status, now: Moment) -> Option<String> {
        let patience = self.patience?;
        let Some(why) = waited_for(status) else {
            self.since = None;
            return None;
        };
        let waited = now.since(*self.since.get_or_insert(now));
        (waited >= patience).then(|| format!("{why}, and nobody has for {} s", waited.as_secs()))
    }
}

/// What somebody else must restart as a whole, by the first group that needs it.
fn waited_for(status: &Status) -> Option<String> {
    status.groups.iter().find_map(|group| {
        let whole = needs(status, group).into_iter().filter(|need| need.engine.is_none());
        whole.into_iter().find_map(|need| match need.action {
            NeededAction::RestartEngines => Some(format!("all engines of {} have to be restarted", group.name)),
            NeededAction::RestartControl => Some(format!("the control daemon of {} has to be restarted", group.name)),
            NeededAction::Resume
            | NeededAction::Release
            | NeededAction::Restart
            | NeededAction::ResetGpu
            | NeededAction::RebootNode
            | NeededAction::EndProcess
            | NeededAction::FreeMemory
            | NeededAction::MendDriver
            | NeededAction::MendServer
            | NeededAction::InstallMps
            | NeededAction::FreePipeDirectory
            | NeededAction::StartControl
            | NeededAction::StartEngines
            | NeededAction::StopOtherWatchdog
            | NeededAction::RaiseLimits => None,
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::export::testing;
    use crate::model::{Custody, EngineStatus, Fault, GroupStatus, Powers};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(seconds))
    }

    /// A group that others run, with this fault of the whole group, or of its engine.
    fn with(engine: Option<&str>, fault: Fault) -> Status {
        let custody = Custody::Others(Powers::Look);
        let faults = vec![(engine.map(Into::into), fault)];
        let engines = vec![EngineStatus { custody, ..testing::engine("a") }];
        testing::status(vec![GroupStatus { custody, faults, engines, ..testing::group("llms") }])
    }

    #[test]
    fn it_makes_way_once_all_engines_have_had_to_be_restarted_for_long_enough() {
        let (dead, well) = (with(None, Fault::GpuFault), testing::status(vec![testing::group("llms")]));
        let mut turn = OthersTurn::with(Some(PATIENCE));
        assert_eq!(turn.is_over(&dead, at(0)), None);
        assert_eq!(turn.is_over(&dead, at(19)), None);
        assert_eq!(turn.is_over(&well, at(20)), None, "they were restarted");
        assert_eq!(turn.is_over(&dead, at(21)), None, "it begins anew");
        let over = turn.is_over(&dead, at(41)).unwrap();
        assert_eq!(over, "all engines of llms have to be restarted, and nobody has for 20 s");
    }

    #[test]
    fn the_daemon_counts_as_well_and_one_engine_that_died_does_not() {
        let mut turn = OthersTurn::with(Some(Duration::ZERO));
        assert!(turn.is_over(&with(None, Fault::ControlWedged), at(0)).is_some());
        assert_eq!(turn.is_over(&with(Some("a"), Fault::EngineDied), at(0)), None);
    }

    #[test]
    fn without_a_bound_it_waits_indefinitely() {
        assert_eq!(OthersTurn::default().is_over(&with(None, Fault::GpuFault), at(1_000_000)), None);
    }
}
