//! Where a study's numbers begin to mean something: every threshold of its recommendation, and no arithmetic.

/// Distance of a ratio from 1 that is no difference.
pub const NO_DIFFERENCE: f64 = 0.05;
/// Distance of a ratio's whole interval from 1 within which there is no difference to speak of.
pub const NEAR: f64 = 0.1;
/// No ratio is told more finely than by this much to either side: where in an engine's course a window begins and ends
/// moves a rate by a percent or two, the same way in every repeat.
pub const FINEST: f64 = 0.02;
/// The same where a window holds a single round of requests, each in flight followed by the next; with more rounds it is
/// so many times less.
pub const ONE_ROUND: f64 = 0.2;
/// Share of failed requests above which a load's numbers are doubtful, and nothing is recommended by them.
pub const FAILURES: f64 = 0.01;
/// Slow-downs are uneven where the greatest is over this many times the least.
pub const UNEVEN: f64 = 1.25;
/// The first token comes late where TTFT p99 under MPS is over this many times that of the engine alone.
pub const LATE: f64 = 2.0;
/// Tokens of a request are taken as measured where this many requests ended for each in flight; else as asked for,
/// since requests that a run's ends cut in two weigh too much among few.
pub const ENOUGH_REQUESTS: u64 = 10;
