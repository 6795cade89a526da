//! Wall time for the edge: where the boot lies on the wall clock. It reads no clock but the one given.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::Moment;

/// The boot's wall time moves a little with every reading. A timestamp that moved with it would look
/// like a new start to `changes()`, so the first reading is kept until the clock is stepped by this much.
const STEP: Duration = Duration::from_secs(1);

/// Turns moments into seconds since 1970.
pub(super) struct WallClock {
    boot_to_wall: Box<dyn Fn() -> SystemTime + Send + Sync>,
    kept: Mutex<SystemTime>,
}

impl WallClock {
    /// `boot_to_wall` says what wall time `Moment::ZERO` has, by the wall clock as it is set now.
    pub(super) fn new(boot_to_wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let kept = Mutex::new(boot_to_wall());
        WallClock { boot_to_wall: Box::new(boot_to_wall), kept }
    }

    /// Seconds since 1970 of the boot; the same value each time unless the clock was set.
    pub(super) fn boot(&self) -> f64 {
        let fresh = (self.boot_to_wall)();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = fresh.duration_since(*kept).unwrap_or_else(|error| error.duration());
        if moved >= STEP {
            *kept = fresh;
        }
        kept.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    /// Seconds since 1970 of `moment`.
    pub(super) fn seconds(&self, moment: Moment) -> f64 {
        self.boot() + moment.as_secs_f64()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn clock(boot_millis: &Arc<AtomicU64>) -> WallClock {
        let millis = Arc::clone(boot_millis);
        WallClock::new(move || UNIX_EPOCH + Duration::from_millis(millis.load(Ordering::Relaxed)))
    }

    #[test]
    fn a_clock_that_drifts_moves_no_timestamp() {
        let millis = Arc::new(AtomicU64::new(5_000));
        let wall = clock(&millis);
        millis.store(5_003, Ordering::Relaxed);
        assert_eq!(wall.seconds(Moment::from_nanos(2_000_000_000)), 7.0);
    }

    #[test]
    fn a_clock_that_is_set_is_followed() {
        let millis = Arc::new(AtomicU64::new(5_000));
        let wall = clock(&millis);
        millis.store(1_000, Ordering::Relaxed);
        assert_eq!(wall.boot(), 1.0);
    }
}
