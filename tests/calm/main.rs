//! False alarms: whole days of healthy traffic, with all that healthy days bring, go into the core, and nothing
//! but looks and what people ordered may come out. That the judge can see is proven by faults that are planted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod day;
mod engine;
mod extent;
mod judge;
mod planted;
mod script;
mod surroundings;
#[path = "../world/mod.rs"]
mod world;

use std::time::Duration;

use day::Day;

const DAY: Duration = Duration::from_secs(86_400);

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// `CALM_DAYS=7 CALM_SEED=3 cargo test --test calm healthy -- --nocapture`
fn a_healthy_day(seed: u64) {
    let mut day = Day::new(number("CALM_SEED", 1) * 1000 + seed);
    day.live(DAY * u32::try_from(number("CALM_DAYS", 1)).unwrap());
    eprintln!("{}", day.summary(seed));
    assert!(day.judge.alarms.is_empty(), "{}", day.judge.alarms.join("\n"));
    assert!(day.inputs > 300_000, "it was looked at {} times", day.inputs);
    day.assert_it_was_a_day();
}

#[test]
fn on_a_healthy_day_nothing_is_done_that_nobody_ordered() {
    a_healthy_day(1);
}

#[test]
fn on_another_healthy_day_nothing_is_done_either() {
    a_healthy_day(2);
}
