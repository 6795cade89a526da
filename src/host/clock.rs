//! The clocks: boot time for every decision, wall time for people and for stamps in log lines.
//! Decides nothing.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nix::time::{ClockId, clock_gettime};

use super::mps_log::Stamp;
use crate::model::Moment;

/// Now, in CLOCK_BOOTTIME: it runs on while the machine sleeps and never jumps.
pub fn now() -> Moment {
    Moment::from_nanos(read(ClockId::CLOCK_BOOTTIME).as_nanos() as u64)
}

/// The wall clock, since 1970; zero where it says less.
pub fn since_1970() -> Duration {
    read(ClockId::CLOCK_REALTIME)
}

/// The wall time of `moment`, by what both clocks say now.
pub fn wall_of(moment: Moment) -> SystemTime {
    let (now, wall) = (now(), SystemTime::now());
    if moment >= now { wall + moment.since(now) } else { wall - now.since(moment) }
}

/// Time of day of `moment`, by what both clocks say now, in the machine's zone: `14:31:54 CET`.
pub fn time_of_day(moment: Moment) -> String {
    let zoned = Timestamp::try_from(wall_of(moment)).map(|at| at.to_zoned(TimeZone::system()));
    zoned.map(|at| at.strftime("%T %Z").to_string()).unwrap_or_default()
}

/// The moment of a stamp in UTC, by what both clocks say now. A stamp of the future is now: a line
/// can't be read before it was written.
pub fn moment_of_utc(stamp: Stamp) -> Moment {
    let wall = since_1970();
    now().before(wall.saturating_sub(Duration::from_millis(stamp.unix_millis)))
}

/// One clock. These clocks exist on every Linux; should a sandbox forbid one, time stands still at
/// zero rather than the watchdog ending.
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_and_its_wall_time_agree() {
        let wall = wall_of(now());
        let off = SystemTime::now().duration_since(wall).unwrap_or_default();
        assert!(off < Duration::from_secs(60), "{off:?}");
    }

    #[test]
    fn a_stamp_of_the_future_is_now() {
        let before = now();
        let moment = moment_of_utc(Stamp { unix_millis: u64::MAX });
        assert!(moment >= before && moment <= now());
    }

    #[test]
    fn a_stamp_of_an_hour_ago_is_about_an_hour_before_now() {
        let ago = read(ClockId::CLOCK_REALTIME) - Duration::from_secs(5);
        let moment = moment_of_utc(Stamp { unix_millis: ago.as_millis() as u64 });
        assert!(now().since(moment) >= Duration::from_secs(5));
    }
}
