//! What is run in which order, and how long it takes. Pure.
//!
//! Engines start twice: outside MPS for everything without it, then under MPS. Within what is up, the arrangements
//! take turns, and each repeat begins with another one, so that no drift of clocks or temperature favours one.

use std::time::Duration;

use super::arrangement::Setting;
use super::results::{Arrangement, Cell, Plan};

/// Seconds between two runs: the last requests come to their end.
const BETWEEN: f64 = 0.5;

/// One run to be made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    /// Place of its cell.
    pub cell: usize,
    pub repeat: u32,
    pub arrangement: Arrangement,
}

/// Both settings with their runs.
pub(super) fn schedule(plan: &Plan, engines: &[String], same_model: bool) -> [(Setting, Vec<Job>); 2] {
    let outside = outside(engines, same_model);
    [(Setting::Outside, jobs(plan, &outside)), (Setting::UnderMps, jobs(plan, &[Arrangement::Mps]))]
}

/// Every engine alone; where there are several, all of them at once, and where they serve one model, the first of
/// them with the load of all.
fn outside(engines: &[String], same_model: bool) -> Vec<Arrangement> {
    let alone = engines.iter().cloned().map(Arrangement::Alone);
    let several = engines.len() > 1;
    let together = several.then_some(Arrangement::TimeSliced);
    let one_for_all = engines.first().filter(|_| several && same_model).cloned().map(Arrangement::Consolidated);
    alone.chain(together).chain(one_for_all).collect()
}

fn jobs(plan: &Plan, arrangements: &[Arrangement]) -> Vec<Job> {
    let places = (0..cells(plan).len()).flat_map(|cell| (0..plan.repeats).map(move |repeat| (cell, repeat)));
    let turns = places.flat_map(|(cell, repeat)| {
        let first = repeat as usize % arrangements.len().max(1);
        let (before, from) = arrangements.split_at(first.min(arrangements.len()));
        let turn = from.iter().chain(before).cloned();
        turn.map(move |arrangement| Job { cell, repeat, arrangement }).collect::<Vec<_>>()
    });
    turns.collect()
}

/// The grid, without runs.
pub(super) fn cells(plan: &Plan) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &prompt in &plan.prompts {
        for &output in &plan.outputs {
            for &concurrency in &plan.concurrencies {
                cells.push(Cell { prompt, output, concurrency, runs: Vec::new() });
            }
        }
    }
    cells
}

/// How long it takes at most, without the engines' starts. Whether all serve one model is not known before.
pub fn estimate(plan: &Plan, engines: usize) -> Duration {
    let names = vec![String::new(); engines];
    let runs: usize = schedule(plan, &names, true).iter().map(|(_, jobs)| jobs.len()).sum();
    Duration::from_secs_f64(runs as f64 * (plan.warm_up + plan.seconds + BETWEEN))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { prompts: vec![16, 64], outputs: vec![1], concurrencies: vec![4], seconds: 2.0, warm_up: 0.5, repeats: 2 }
    }

    fn names(count: usize) -> Vec<String> {
        ["a", "b", "c"].iter().take(count).map(|name| (*name).to_owned()).collect()
    }

    fn shown(jobs: &[Job]) -> Vec<String> {
        jobs.iter().map(|job| format!("{} {} {:?}", job.cell, job.repeat, job.arrangement)).collect()
    }

    #[test]
    fn arrangements_take_turns_and_each_repeat_begins_with_another() {
        let [(first, outside), (second, mps)] = schedule(&plan(), &names(2), false);
        assert_eq!((first, second), (Setting::Outside, Setting::UnderMps));
        let wanted = [
            r#"0 0 Alone("a")"#,
            r#"0 0 Alone("b")"#,
            "0 0 TimeSliced",
            r#"0 1 Alone("b")"#,
            "0 1 TimeSliced",
            r#"0 1 Alone("a")"#,
        ];
        assert_eq!(shown(&outside)[..6], wanted);
        assert_eq!(outside.len(), 12);
        assert_eq!(shown(&mps), ["0 0 Mps", "0 1 Mps", "1 0 Mps", "1 1 Mps"]);
    }

    #[test]
    fn one_engine_has_the_load_of_all_only_where_they_serve_one_model() {
        let consolidated = |count, same| {
            let [(_, outside), _] = schedule(&plan(), &names(count), same);
            outside.iter().filter(|job| matches!(job.arrangement, Arrangement::Consolidated(_))).count()
        };
        assert_eq!((consolidated(2, true), consolidated(2, false), consolidated(1, true)), (4, 0, 0));
        let [(_, single), _] = schedule(&plan(), &names(1), true);
        assert!(single.iter().all(|job| job.arrangement == Arrangement::Alone("a".to_owned())));
    }

    #[test]
    fn the_estimate_is_that_of_all_runs() {
        // 2 cells x 2 repeats x (2 alone, together, one for all, MPS) x 3 s.
        assert_eq!(estimate(&plan(), 2), Duration::from_secs(60));
    }
}
