//! The GPU's clock against CLOCK_REALTIME: events on an idle stream of our own, between two looks at the clock. The
//! tightest pair of looks tells best.

use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use super::driver::{Driver, Handle};
use super::window::now;

/// The tightest of so many is 6 to 8 us wide beside a busy engine (H200), and kernels' starts are fitted to that: the
/// first one that comes is up to 20 us wide, and gave ends 3 us late.
const ROUNDS: u32 = 20;
/// Distance of looks above which they are tried again for a while.
const TIGHT: u64 = 20_000;
/// Distance of looks above which they tell too little.
const LOOSEST: u64 = 200_000;
/// Upper bound for all rounds together. A busy GPU answers quickly once in a while.
pub const LIMIT: Duration = Duration::from_millis(60);
/// Pause between two rounds.
const PAUSE: Duration = Duration::from_micros(200);

/// A stream and two events, made once in a context.
#[derive(Clone, Copy)]
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
    /// Makes the clock in the current context.
    pub fn make(driver: &Driver) -> Result<Clock, String> {
        Ok(Clock { stream: driver.stream()?, base: driver.event()?, tick: driver.event()? })
    }

    /// Starts anew: the times of a window count from here, as floats of few digits.
    pub fn start(&self, driver: &Driver) {
        driver.record(self.base, self.stream);
    }

    /// The tightest of some rounds; `None`: the GPU did not answer quickly enough.
    pub fn read(&self, driver: &Driver) -> Option<Reading> {
        let deadline = Instant::now() + LIMIT;
        let mut best: Option<Reading> = None;
        for round in 1.. {
            let Some(reading) = self.round(driver, deadline) else { break };
            let tightest = best.map_or(reading, |best| best.or(reading));
            best = Some(tightest);
            if (round >= ROUNDS && tightest.width <= TIGHT) || Instant::now() > deadline {
                break;
            }
            if round >= ROUNDS {
                sleep(PAUSE);
            }
        }
        best.filter(|reading| reading.width <= LOOSEST)
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

/// Adds whole nanoseconds: a float is too coarse for those since 1970.
fn moved(time: u64, nanos: f64) -> u64 {
    time.saturating_add_signed(nanos as i64)
}
