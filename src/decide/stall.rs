//! Whether an engine stands still: requests that run without a token, or no answer at all. It says since when, from
//! which moment that is a hang, and how closely it is looked at until then.

use std::time::Duration;

use crate::model::Moment;

use super::engine::{Engine, Stage};
use super::looks::LOAD;
use super::progress::Standing;

/// A load is read so often at most, however short `hang_after` is.
const FASTEST: Duration = Duration::from_millis(200);
/// Around the moment at which it would be a hang.
const CLOSE: Duration = Duration::from_millis(250);
/// What was last seen is believed for so long: three intervals.
const FRESH: Duration = Duration::from_secs(6);
/// An engine whose tokens moved so lately gets on.
const MOVES: Duration = Duration::from_secs(5);

/// An engine that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stall {
    pub since: Moment,
    /// It answers nothing; otherwise its counters say it.
    pub silent: bool,
    /// As far as was seen.
    pub lasts: Duration,
    /// It was seen a moment ago.
    pub fresh: bool,
}

impl Engine {
    /// Its stall, if it served and stands still now.
    pub fn stall(&self, now: Moment) -> Option<Stall> {
        if !matches!(self.stage, Stage::Serving | Stage::Failing) || self.ended.is_some() || self.died.is_some() {
            return None;
        }
        let stall = |standing: Standing, silent: bool| {
            let fresh = now.since(standing.seen) <= FRESH;
            // Silence goes on between two questions; counters may have moved since they were read.
            let lasts = if silent && fresh { now.since(standing.since) } else { standing.lasts() };
            Stall { since: standing.since, silent, lasts, fresh }
        };
        let silent = self.answers.silent().map(|silent| stall(silent, true));
        let tokens = self.tokens.standing().map(|tokens| stall(tokens, false));
        // The longer one says more.
        silent.into_iter().chain(tokens).max_by_key(|stall| stall.lasts)
    }

    /// Tokens moved a moment ago.
    pub fn gets_on(&self, now: Moment) -> bool {
        self.moved_within(MOVES.min(self.policy.hang_after / 2), now)
    }

    /// It serves and made tokens not long ago: enough to be why another one waits.
    pub fn got_on(&self, now: Moment) -> bool {
        self.moved_within(MOVES, now)
    }

    fn moved_within(&self, lately: Duration, now: Moment) -> bool {
        self.stage == Stage::Serving && self.tokens.moved().is_some_and(|moved| now.since(moved) <= lately)
    }

    /// It is about to be a hang, or just was found to be one: the next fact decides.
    pub fn watched(&self, now: Moment) -> bool {
        let window = LOAD.min(self.policy.hang_after / 2);
        self.stall(now).is_some_and(|stall| {
            let lasts = now.since(stall.since);
            lasts + window >= self.policy.hang_after && lasts <= self.policy.hang_after + window
        })
    }

    /// How often its load is to be read.
    pub fn load_every(&self, now: Moment) -> Duration {
        let usual = (self.policy.hang_after / 4).clamp(FASTEST, LOAD);
        if self.watched(now) { usual.min(CLOSE) } else { usual }
    }

    /// When time alone changes how it is looked at, or what is decided.
    pub fn stall_deadline(&self, now: Moment) -> Option<Moment> {
        let stall = self.stall(now)?;
        let hang = stall.since.after(self.policy.hang_after);
        let close = hang.before(LOAD.min(self.policy.hang_after / 2));
        [close, hang].into_iter().find(|at| *at > now)
    }
}
