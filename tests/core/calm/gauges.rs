//! An engine's gauges between two moments at which it brings them up to date: they stand still, whatever happens.

use std::time::Duration;

use mpswarden_core::model::Moment;

/// Decode steps between two looks at the batch.
const STEPS: f64 = 40.0;
/// Time between two pieces of a prompt that is being read.
const PIECE: Duration = Duration::from_secs(8);
/// Time between two looks of an idle engine.
const IDLE: Duration = Duration::from_secs(30);

/// Requests running and waiting, the share of the cache, tokens a second; and when they were taken.
#[derive(Default)]
pub struct Gauges {
    shown: [f64; 4],
    at: Moment,
    was_busy: bool,
    steps: f64,
    pieces: u64,
}

impl Gauges {
    pub fn shown(&self) -> [f64; 4] {
        self.shown
    }

    pub fn look(&mut self, now: Moment, gauges: [f64; 4]) {
        (self.shown, self.at) = (gauges, now);
    }

    pub fn slept(&mut self, gap: Duration) {
        self.at = self.at.after(gap);
    }

    /// Whoever was in the last step is gone.
    pub fn no_step_follows(&mut self) {
        self.was_busy = false;
    }

    /// Whether a step was made: while there are requests, and the one that ended the last of them.
    pub fn step(&mut self, busy: bool) -> bool {
        std::mem::replace(&mut self.was_busy, busy) || busy
    }

    /// Whether it is time for a look: after so many steps, after each piece of a prompt that was begun so long ago, and
    /// now and then while there is nothing to do.
    pub fn interval(&mut self, now: Moment, steps: f64, read: Option<Duration>, busy: bool) -> bool {
        self.steps += steps;
        let pieces = read.map_or(0, |read| 1 + read.as_secs() / PIECE.as_secs());
        let another = pieces > 0 && pieces != std::mem::replace(&mut self.pieces, pieces);
        let whole = self.steps >= STEPS;
        self.steps %= STEPS;
        another || whole || (!busy && now.since(self.at) >= IDLE)
    }
}
