//! False alarms: whole days of healthy traffic, with all that healthy days bring, go into the core, and nothing
//! but looks and what people ordered may come out. That the judge can see is proven by faults that are planted.

mod day;
mod engine;
mod extent;
mod gauges;
mod judge;
mod kind;
mod planted;
mod script;
mod surroundings;

use std::time::Duration;

use day::Day;
use kind::Dialect;

const DAY: Duration = Duration::from_secs(86_400);

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// `CALM_DAYS=7 CALM_SEED=3 cargo test --test core healthy -- --nocapture`: so many days in place of each length.
fn all_is_well(dialect: Dialect, seed: u64, length: Duration) {
    let mut day = Day::new(dialect, number("CALM_SEED", 1) * 1000 + seed);
    let days = u32::try_from(number("CALM_DAYS", 0)).unwrap();
    let length = if days > 0 { DAY * days } else { length };
    day.live(length);
    eprintln!("{}", day.summary(seed));
    assert!(day.judge.alarms.is_empty(), "{}", day.judge.alarms.join("\n"));
    let looks_a_minute = day.inputs as u64 / (length.as_secs() / 60);
    assert!(looks_a_minute > 200, "it was looked at {looks_a_minute} times a minute");
    day.assert_it_was_a_day();
}

#[test]
fn on_a_healthy_day_of_engines_like_vllm_nothing_is_done_that_nobody_ordered() {
    all_is_well(Dialect::Vllm, 1, DAY);
}

#[test]
fn on_a_healthy_day_of_engines_like_sglang_nothing_is_done_that_nobody_ordered() {
    all_is_well(Dialect::Sglang, 1, DAY);
}

#[test]
fn in_other_healthy_hours_nothing_is_done_either() {
    all_is_well(Dialect::Vllm, 2, DAY / 6);
    all_is_well(Dialect::Sglang, 2, DAY / 6);
}
