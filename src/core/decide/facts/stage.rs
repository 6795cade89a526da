//! Where an engine is in its life.

use crate::model::{ActionId, Moment};

/// Where an engine is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No process; it may be started from this moment on.
    Down { due: Moment },
    /// Its start is ordered.
    Launching(ActionId),
    /// Its process is there and does not serve yet.
    Starting,
    /// Healthy and attached.
    Serving,
    /// The engine served; its process lives and no longer does.
    Failing,
    /// The engine tier takes it out.
    Ending(Ending),
    /// Its group's restart or stop took it out, or is about to.
    Fallen,
    /// It failed too often, or an operator took it out for good.
    Quarantined,
    /// Taken out because a person wants it so, and proven gone.
    Stopped,
    /// Left alone, without a process: in `observe` mode it is not started again.
    Left,
}

impl Stage {
    /// It served, and its process lives as far as is known.
    pub(crate) fn has_served(&self) -> bool {
        matches!(self, Stage::Serving | Stage::Failing)
    }

    /// Its process lives as far as is known, and it is not being taken out.
    pub(crate) fn is_up(&self) -> bool {
        *self == Stage::Starting || self.has_served()
    }
}

/// A step of taking one engine out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It gets no new request, and the fence waits for its last one. `emitted`: what is left was reported.
    Drain { fence: ActionId, since: Moment, emitted: bool },
    /// Waiting for a fresh look at its processes.
    Look { since: Moment },
    /// `terminate_client` is on its way.
    Terminate(ActionId),
    /// TERM, KILL and the proof are on their way.
    Stop(ActionId),
    /// A process did not die; try again then.
    Stuck { again: Moment },
    /// Gone; its siblings are watched until then.
    Aftershock { until: Moment },
}
