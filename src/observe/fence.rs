//! Waits for an engine's last request, by the readings of its load and connections that the core orders meanwhile.

use std::time::Duration;

use crate::model::traffic::InFlight;
use crate::model::{ActionId, EngineLoad, Moment, Traffic};

/// Looks at connections further apart say nothing about the time between them.
const GAP: Duration = Duration::from_secs(15);

/// What one engine works on, and the fence that waits for its end.
#[derive(Debug, Default)]
pub(super) struct Requests {
    in_flight: InFlight,
    fence: Option<ActionId>,
}

impl Requests {
    /// Lets the load that shows no request end this fence from now on.
    pub(super) fn fence(&mut self, id: ActionId) {
        self.fence = Some(id);
    }

    /// Ends the fence whose time is over; `false`: it had ended before.
    pub(super) fn time_is_over(&mut self, id: ActionId) -> bool {
        self.fence.take_if(|fence| *fence == id).is_some()
    }

    /// The kernel was asked for its connections.
    pub(super) fn looked(&mut self, traffic: Option<&Traffic>, now: Moment) {
        self.in_flight.saw_traffic(traffic, GAP, now);
    }

    /// Its load was read: the fence that this ends, if it does.
    pub(super) fn read(&mut self, load: &EngineLoad, now: Moment) -> Option<ActionId> {
        let left = self.in_flight.saw_load(load.clone(), now)?;
        self.fence.take_if(|_| left <= 0.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const FENCE: ActionId = ActionId(7);

    fn load(running: f64, waiting: f64) -> EngineLoad {
        EngineLoad { running: Some(running), waiting: Some(waiting), ..EngineLoad::default() }
    }

    #[test]
    fn a_fence_ends_once_with_the_first_load_that_shows_neither_running_nor_waiting_requests() {
        let mut requests = Requests::default();
        assert_eq!(requests.read(&load(0.0, 0.0), Moment::ZERO), None);
        requests.fence(FENCE);
        assert_eq!(requests.read(&load(0.0, 2.0), Moment::ZERO), None);
        assert_eq!(requests.read(&EngineLoad::default(), Moment::ZERO), None);
        assert_eq!(requests.read(&load(0.0, 0.0), Moment::ZERO), Some(FENCE));
        assert_eq!(requests.read(&load(0.0, 0.0), Moment::ZERO), None);
        assert!(!requests.time_is_over(FENCE));
    }

    #[test]
    fn the_time_of_a_later_fence_is_not_over_with_that_of_an_earlier_one() {
        let mut requests = Requests::default();
        requests.fence(FENCE);
        requests.fence(ActionId(8));
        assert!(!requests.time_is_over(FENCE));
        assert!(requests.time_is_over(ActionId(8)));
    }
}
