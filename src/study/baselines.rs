//! How fast each engine is alone, from a study's runs: what `run` compares its engines with.

use super::results::{Arrangement, Cell, Measured, Study};
use super::spread::Spread;
use super::thresholds::{ENOUGH_REQUESTS, FAILURES};
use crate::model::{Baseline, BaselineSource, Taken};

/// One of each engine at each load at which it ran alone without failures to speak of.
pub fn baselines(study: &Study) -> Vec<Baseline> {
    let of_cell = |cell| study.engines.iter().filter_map(move |engine| baseline(study, cell, &engine.name));
    study.cells.iter().flat_map(of_cell).collect()
}

fn baseline(study: &Study, cell: &Cell, engine: &str) -> Option<Baseline> {
    let alone = cell.runs.iter().filter(|run| run.arrangement == Arrangement::Alone(engine.to_owned()));
    let runs: Vec<&Measured> = alone
        .flat_map(|run| run.engines.iter().filter(|part| part.engine == engine))
        .filter(|part| part.failed_share() <= FAILURES)
        .collect();
    let rate = Spread::of(runs.iter().filter_map(|run| run.rate()))?;
    let running = runs.iter().map(|run| run.running).filter(|running| *running > 0.0);
    Some(Baseline {
        engine: engine.into(),
        running: Spread::of(running).map_or(f64::from(cell.concurrency), |running| running.middle),
        prompt_tokens: per_request(&runs, cell, cell.prompt, |run| run.prompt_tokens),
        generation_tokens: per_request(&runs, cell, cell.output, |run| run.generation_tokens),
        tokens_per_second: rate.middle,
        samples: u32::try_from(rate.runs).unwrap_or(u32::MAX),
        source: BaselineSource::Study,
        taken: Taken::Unix(study.began),
    })
}

/// Tokens of a request on average, as measured where enough ended, else as `asked` for.
fn per_request(runs: &[&Measured], cell: &Cell, asked: u32, part: fn(&Measured) -> u64) -> f64 {
    let sum = |part: fn(&Measured) -> u64| runs.iter().fold(0_u64, |sum, run| sum.saturating_add(part(run)));
    let (tokens, requests) = (sum(part), sum(|run| run.requests));
    let enough = ENOUGH_REQUESTS.saturating_mul(u64::from(cell.concurrency)).max(1);
    if requests >= enough { tokens as f64 / requests as f64 } else { f64::from(asked) }
}
