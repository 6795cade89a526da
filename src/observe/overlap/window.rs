//! One window: ordered of all probes of a group for the same time, gathered within a bound, counted.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep, timeout_at};

use super::concurrency::{Recorded, Span, measure};
use super::probes::{Asked, Shared};
use super::sampler::Timing;
use crate::model::{GroupName, OverlapWindow};

/// Orders are given so long ahead: a probe prepares for 90 ms, most of which it waits.
const LEAD: Duration = Duration::from_millis(150);
/// Upper bound for the answers, from the window's end.
const ANSWERS: Duration = Duration::from_secs(2);
/// Number of windows in a row, not covered by all, that are no chance.
const EMPTY: u32 = 3;

/// Takes one window; `None`: no probe records, or one of them ended meanwhile, or this one window was not covered by
/// all.
pub(super) async fn take(
    probes: &Shared,
    group: &GroupName,
    timing: Timing,
    bound: Duration,
) -> Result<Option<OverlapWindow>, String> {
    let last = Instant::now() + bound;
    let needed = LEAD + timing.window + ANSWERS;
    sleep(delay(timing.period, bound.saturating_sub(needed), chance())).await;
    let window = ahead(timing.window);
    let asked = probes.borrow_mut().order(group, window)?;
    if asked.is_empty() {
        return Ok(None);
    }
    let Some(recorded) = gather(asked, last.min(Instant::now() + needed)).await? else { return Ok(None) };
    let seen = measure(window, &recorded);
    let empty = probes.borrow_mut().covered(group, seen.is_some());
    if empty >= EMPTY {
        return Err(format!("{empty} windows in a row had no time that all kernel probes covered{}", who(&recorded)));
    }
    Ok(seen)
}

/// A random delay over a fifth of the period, so that windows don't beat with what the engines do by the second; as far
/// as there is room. `chance`: 0 to 1.
fn delay(period: Duration, room: Duration, chance: f64) -> Duration {
    (period / 5).min(room).mul_f64(chance)
}

/// A number as random as a map's seed.
fn chance() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

/// The next window by CLOCK_REALTIME, as the probes' records are.
fn ahead(length: Duration) -> Span {
    let from = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + LEAD;
    (from.as_nanos() as u64, (from + length).as_nanos() as u64)
}

/// The records of all; `None`: one of them can't answer any more, which was logged.
async fn gather(asked: Vec<Asked>, last: Instant) -> Result<Option<Vec<Recorded>>, String> {
    let mut recorded = Vec::with_capacity(asked.len());
    for (engine, answer) in asked {
        match timeout_at(last, answer).await {
            Ok(Ok(kernels)) => recorded.push(Recorded { engine, kernels }),
            Ok(Err(_)) => return Ok(None),
            Err(_) => return Err(format!("the kernel probe of {engine} did not answer in time")),
        }
    }
    Ok(Some(recorded))
}

/// Those that covered nothing at all.
fn who(recorded: &[Recorded]) -> String {
    let none = recorded.iter().filter(|client| client.kernels.covered.0 >= client.kernels.covered.1);
    none.map(|client| format!("; that of {} covered nothing", client.engine)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_delay_is_at_most_a_fifth_of_the_period_and_leaves_room_for_the_window() {
        assert_eq!(delay(15 * SECOND, 10 * SECOND, 1.0), 3 * SECOND);
        assert_eq!(delay(15 * SECOND, 10 * SECOND, 0.5), 1500 * SECOND / 1000);
        assert_eq!(delay(15 * SECOND, SECOND, 1.0), SECOND);
        assert_eq!(delay(15 * SECOND, Duration::ZERO, 0.7), Duration::ZERO);
    }

    #[test]
    fn chance_is_between_nothing_and_one_and_not_always_the_same() {
        let chances: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(chances.iter().all(|chance| (0.0..=1.0).contains(chance)));
        assert!(chances.iter().any(|chance| *chance != chances[0]));
    }
}
