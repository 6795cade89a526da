//! The GPU's clock against CLOCK_REALTIME: events on an idle stream of our own, between two looks at the clock. The
//! tightest pair of looks tells best.

use std::thread::yield_now;
use std::time::{Duration, Instant};

use super::driver::{Driver, Handle};
use super::window::now;

const ROUNDS: u32 = 20;
/// For all rounds together; a GPU that takes longer is not to be waited for.
const LIMIT: Duration = Duration::from_millis(100);
/// Looks further apart than this tell too little.
const LOOSEST: u64 = 200_000;

/// A stream and two events.
pub struct Clock {
    stream: Handle,
    base: Handle,
    tick: Handle,
}

/// When the base event was, and how surely.
#[derive(Clone, Copy)]
pub struct Reading {
    base: u64,
    width: u64,
}

impl Clock {
    /// In the current context.
    pub fn start(driver: &Driver) -> Result<Clock, String> {
        let clock = Clock { stream: driver.stream()?, base: driver.event()?, tick: driver.event()? };
        driver.record(clock.base, clock.stream);
        Ok(clock)
    }

    /// Its events and stream go.
    pub fn end(self, driver: &Driver) {
        driver.end_event(self.base);
        driver.end_event(self.tick);
        driver.end_stream(self.stream);
    }

    /// The tightest of some rounds; `None`: the GPU did not answer quickly enough.
    pub fn read(&self, driver: &Driver) -> Option<Reading> {
        let deadline = Instant::now() + LIMIT;
        let rounds = (0..ROUNDS).map_while(|_| self.round(driver, deadline));
        rounds.min_by_key(|reading| reading.width).filter(|reading| reading.width <= LOOSEST)
    }

    fn round(&self, driver: &Driver, deadline: Instant) -> Option<Reading> {
        let before = now();
        driver.record(self.tick, self.stream);
        while !driver.is_past(self.tick)? {
            if Instant::now() > deadline {
                return None;
            }
            yield_now();
        }
        let width = now().checked_sub(before)?;
        let since = driver.nanos_between(self.base, self.tick)?;
        Some(Reading { base: moved(before + width / 2, -since), width })
    }

    /// When a past event was, in nanoseconds of CLOCK_REALTIME.
    pub fn time(&self, driver: &Driver, reading: Reading, event: Handle) -> Option<u64> {
        driver.nanos_between(self.base, event).map(|since| moved(reading.base, since))
    }
}

impl Reading {
    /// The surer one.
    pub fn or(self, other: Reading) -> Reading {
        if other.width < self.width { other } else { self }
    }
}

/// In whole nanoseconds: a float is too coarse for those since 1970.
fn moved(time: u64, nanos: f64) -> u64 {
    time.saturating_add_signed(nanos as i64)
}
