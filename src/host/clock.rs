//! Reads CLOCK_BOOTTIME, the watchdog's one clock. Nothing else here or elsewhere reads time.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::model::Moment;

/// The present moment; it goes on through suspend and never jumps.
pub fn now() -> Moment {
    // Linux has had CLOCK_BOOTTIME since 2.6.39; reading a clock that exists can't fail.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Moment::ZERO.after(time)
}
