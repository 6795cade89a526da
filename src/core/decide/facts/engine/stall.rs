//! Whether an engine stands still: a client waits for it and nothing comes out. It says since when, from which moment
//! that is a hang, and how closely it is looked at until then.
//!
//! Gauges alone never make it stand: they may be ones that are not written. A client waits where a client's request has
//! no answer yet, by the kernel's word on its connections, or where the watchdog's own question has none.

use std::time::Duration;

use crate::decide::facts::cadence::LOAD;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::progress::{Standing, Stretch};
use crate::decide::facts::stage::Stage;
use crate::decide::facts::stall::{Stall, Stands};
use crate::model::Moment;

impl Engine {
    /// Readings of it further apart than this say nothing about the time between them.
    pub(crate) fn gap(&self) -> Duration {
        GAP + self.policy.health_timeout
    }

    /// Its stall, if it served and stands still now.
    pub(crate) fn stall(&self, now: Moment) -> Option<Stall> {
        if !self.stage.has_served() || self.instance.process.ended.is_some() || self.died.is_some() {
            return None;
        }
        let silent = self.instance.progress.answers.silent().map(|silent| self.stands(silent, Stands::Silent, now));
        let counters = self.counters_stand().map(|counters| self.stands(counters, Stands::Counters, now));
        let token = self.instance.progress.asked_token.silent().map(|token| self.stands(token, Stands::Token, now));
        // The longer one says more.
        [silent, counters, token].into_iter().flatten().max_by_key(|stall| stall.lasts)
    }

    /// Requests run, nothing moves, and a client waits; from when all of that holds.
    fn counters_stand(&self) -> Option<Standing> {
        let (counters, waited) = (self.instance.progress.tokens.standing()?, self.instance.progress.passage.waited()?);
        let seen = counters.seen.min(self.instance.progress.passage.seen_at()?);
        Some(Standing { since: counters.since.max(waited), seen })
    }

    /// Answers that go out, and kernels that end, speak against every stall.
    fn stands(&self, standing: Standing, stands: Stands, now: Moment) -> Stall {
        let moved = self
            .instance
            .progress
            .passage
            .moved()
            .into_iter()
            .chain(self.instance.gpu.kernels)
            .map(Stretch::middle)
            .max();
        let since = standing.since.max(moved.unwrap_or_default());
        let fresh = now.since(standing.seen) <= FRESH + self.policy.health_timeout;
        // Silence goes on between two questions; counters may have moved since they were read.
        let seen = if stands == Stands::Silent && fresh { now } else { standing.seen };
        Stall { since, stands, lasts: seen.since(since), fresh }
    }

    /// A window of the kernel probe saw kernels of it: one that was on the GPU for a part of it began or ended.
    pub(crate) fn saw_kernels(&mut self, busy: Duration, sampled: Duration, now: Moment) {
        if !busy.is_zero() && busy < sampled {
            self.instance.gpu.kernels = Some(Stretch { from: now.before(sampled), to: now });
        }
    }

    /// The two readings between which it last made progress, by any of its signs.
    pub(crate) fn worked(&self) -> Option<Stretch> {
        let signs =
            [self.instance.progress.tokens.moved(), self.instance.progress.passage.moved(), self.instance.gpu.kernels];
        signs.into_iter().flatten().max_by_key(|moved| moved.from)
    }

    /// Tokens moved a moment ago.
    pub(crate) fn gets_on(&self, now: Moment) -> bool {
        self.moved_within(MOVES.min(self.policy.hang_after / 2), now)
    }

    /// It serves and made tokens not long ago: enough to be why another one waits.
    pub(crate) fn got_on(&self, now: Moment) -> bool {
        self.moved_within(MOVES, now)
    }

    fn moved_within(&self, lately: Duration, now: Moment) -> bool {
        let signs =
            [self.instance.progress.tokens.moved(), self.instance.progress.passage.moved(), self.instance.gpu.kernels];
        let moved = signs.into_iter().flatten().map(|moved| moved.to).max();
        self.stage == Stage::Serving && moved.is_some_and(|moved| now.since(moved) <= lately)
    }

    /// It is about to be a hang, or just was found to be one: the next fact decides.
    pub(crate) fn watched(&self, now: Moment) -> bool {
        let window = LOAD.min(self.policy.hang_after / 2);
        self.stall(now).is_some_and(|stall| {
            let lasts = now.since(stall.since);
            lasts + window >= self.policy.hang_after && lasts <= self.policy.hang_after + window
        })
    }

    /// How often its load is to be read.
    pub(crate) fn load_every(&self, now: Moment) -> Duration {
        let usual = (self.policy.hang_after / 4).clamp(FASTEST, LOAD);
        if self.watched(now) { usual.min(CLOSE) } else { usual }
    }

    /// When time alone changes how it is looked at, or what is decided.
    pub(crate) fn stall_deadline(&self, now: Moment) -> Option<Moment> {
        let stall = self.stall(now)?;
        let hang = stall.since.after(self.policy.hang_after);
        let close = hang.before(LOAD.min(self.policy.hang_after / 2));
        [close, hang].into_iter().find(|at| *at > now)
    }

    /// How often a token is to be asked for; `None`: it is not allowed, or something else tells whether it hangs.
    pub(crate) fn token_every(&self) -> Option<Duration> {
        let is_known =
            self.instance.progress.tokens.standing_is_known() && self.instance.progress.passage.blind().is_none();
        let asks = self.policy.probe_request && !is_known && self.stage == Stage::Serving;
        asks.then(|| (self.policy.hang_after / 4).clamp(TOKEN.0, TOKEN.1))
    }
}

/// Shortest pause between two readings of a load, however short `hang_after` is.
const FASTEST: Duration = Duration::from_millis(200);

/// Pause between readings around the moment at which it would be a hang.
const CLOSE: Duration = Duration::from_millis(250);

/// Time for which what was last seen is believed, over the time that an answer may take: three intervals.
const FRESH: Duration = Duration::from_secs(6);

/// Distance of readings, over the time that an answer may take, above which they say nothing about the time between
/// them.
const GAP: Duration = Duration::from_secs(6);

/// Time after its tokens moved in which an engine makes progress.
const MOVES: Duration = Duration::from_secs(5);

/// Pauses between two questions for a token, the shortest and the longest.
const TOKEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
