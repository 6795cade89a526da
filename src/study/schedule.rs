//! What is run in which order, and how long it takes. Pure.
//!
//! Engines start outside MPS for everything without it, then under MPS, once for each percentage. Within what is up, the arrangements
//! take turns, and each repeat begins with another one, so that no drift of clocks or temperature favours one.

use std::collections::BTreeSet;
use std::time::Duration;

use super::arrangement::Setting;
use super::results::{Arrangement, Cell, Plan, Variant};

/// Seconds between two runs: the last requests come to their end.
const BETWEEN: f64 = 0.5;

/// One run to be made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    /// Place of its cell.
    pub cell: usize,
    pub repeat: u32,
    pub arrangement: Arrangement,
    /// Number of engines that share, and their percentage; `None`: one engine alone.
    pub variant: Option<Variant>,
}

/// An arrangement and the variant that it is one of.
type Turn = (Arrangement, Option<Variant>);

/// Every setting with its runs.
pub(super) fn schedule(plan: &Plan, engines: &[String], same_model: bool) -> Vec<(Setting, Vec<Job>)> {
    let variants = plan.variants(engines.len());
    let mut settings = vec![(Setting::Outside, jobs(plan, &outside(&variants, engines, same_model)))];
    for variant in &variants {
        let turn = (Arrangement::Mps, Some(*variant));
        let setting = Setting::UnderMps { percentage: variant.percentage };
        match settings.last_mut().filter(|(last, _)| *last == setting) {
            Some((_, jobs_of_it)) => jobs_of_it.extend(jobs(plan, &[turn])),
            None => settings.push((setting, jobs(plan, &[turn]))),
        }
    }
    settings
}

/// Every engine alone; where several share, those at once, and where they serve one model, the first of them with the
/// load of all.
fn outside(variants: &[Variant], engines: &[String], same_model: bool) -> Vec<Turn> {
    let mut turns: Vec<Turn> = engines.iter().cloned().map(|engine| (Arrangement::Alone(engine), None)).collect();
    let numbers: BTreeSet<usize> = variants.iter().map(|variant| variant.engines).filter(|all| *all > 1).collect();
    for number in numbers {
        let variant = Some(Variant { engines: number, percentage: None });
        turns.push((Arrangement::TimeSliced, variant));
        let first = engines.first().filter(|_| same_model);
        turns.extend(first.map(|first| (Arrangement::Consolidated(first.clone()), variant)));
    }
    turns
}

fn jobs(plan: &Plan, turns: &[Turn]) -> Vec<Job> {
    let places = (0..cells(plan).len()).flat_map(|cell| (0..plan.repeats).map(move |repeat| (cell, repeat)));
    let jobs = places.flat_map(|(cell, repeat)| {
        let first = repeat as usize % turns.len().max(1);
        let (before, from) = turns.split_at(first.min(turns.len()));
        let turn = from.iter().chain(before).cloned();
        turn.map(move |(arrangement, variant)| Job { cell, repeat, arrangement, variant }).collect::<Vec<_>>()
    });
    jobs.collect()
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

/// How long it takes, without the engines' starts, where each run is steady and has enough in its least time. Whether all
/// serve one model is not known before.
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
        Plan {
            prompts: vec![16, 64],
            outputs: vec![1],
            concurrencies: vec![4],
            seconds: 2.0,
            warm_up: 0.5,
            longest: 60.0,
            repeats: 2,
            rate: None,
            engines_swept: Vec::new(),
            percentages: Vec::new(),
        }
    }

    fn names(count: usize) -> Vec<String> {
        ["a", "b", "c"].iter().take(count).map(|name| (*name).to_owned()).collect()
    }

    fn shown(jobs: &[Job]) -> Vec<String> {
        jobs.iter().map(|job| format!("{} {} {:?}", job.cell, job.repeat, job.arrangement)).collect()
    }

    #[test]
    fn arrangements_take_turns_and_each_repeat_begins_with_another() {
        let settings = schedule(&plan(), &names(2), false);
        let [(first, outside), (second, mps)] = settings.as_slice() else { panic!("{settings:?}") };
        assert_eq!((*first, *second), (Setting::Outside, Setting::UnderMps { percentage: None }));
        let wanted = [
            r#"0 0 Alone("a")"#,
            r#"0 0 Alone("b")"#,
            "0 0 TimeSliced",
            r#"0 1 Alone("b")"#,
            "0 1 TimeSliced",
            r#"0 1 Alone("a")"#,
        ];
        assert_eq!(shown(outside)[..6], wanted);
        assert_eq!(outside.len(), 12);
        assert_eq!(shown(mps), ["0 0 Mps", "0 1 Mps", "1 0 Mps", "1 1 Mps"]);
    }

    #[test]
    fn one_engine_has_the_load_of_all_only_where_they_serve_one_model() {
        let consolidated = |count, same| {
            let (_, outside) = schedule(&plan(), &names(count), same).remove(0);
            outside.iter().filter(|job| matches!(job.arrangement, Arrangement::Consolidated(_))).count()
        };
        assert_eq!((consolidated(2, true), consolidated(2, false), consolidated(1, true)), (4, 0, 0));
        let (_, single) = schedule(&plan(), &names(1), true).remove(0);
        assert!(single.iter().all(|job| job.arrangement == Arrangement::Alone("a".to_owned())));
    }

    #[test]
    fn the_estimate_is_that_of_all_runs() {
        // 2 cells x 2 repeats x (2 alone, together, one for all, MPS) x 3 s.
        assert_eq!(estimate(&plan(), 2), Duration::from_secs(60));
    }
}
