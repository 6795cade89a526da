//! What a study's runs come to: throughput, gain, slow-down and latency of each load. Pure arithmetic; what was
//! not measured is `None`, never 0.

use std::collections::BTreeSet;

use super::results::{Arrangement, Cell, Measured, Percentiles, Run, Study};
use super::spread::Spread;
use super::thresholds::FAILURES;

/// One point of the grid. They are ordered as tables show them: by output, then prompt, then concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Load {
    /// Tokens of each output; 1: prefill only.
    pub output: u32,
    /// Tokens of each prompt.
    pub prompt: u32,
    /// Requests in flight, of each engine.
    pub concurrency: u32,
}

/// How the GPU is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// One engine at a time has it.
    Alone,
    /// All engines at once, under MPS.
    Mps,
    /// All engines at once, without MPS.
    TimeSliced,
    /// One engine has the load of all.
    Consolidated,
}

impl Way {
    /// Every one, in the order of tables and charts.
    pub const ALL: [Way; 4] = [Way::Alone, Way::Mps, Way::TimeSliced, Way::Consolidated];

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Way::Alone => "one at a time",
            Way::Mps => "MPS",
            Way::TimeSliced => "time-sliced",
            Way::Consolidated => "one for all",
        }
    }

    /// An engine's own runs of this way.
    fn is(self, arrangement: &Arrangement, engine: &str) -> bool {
        match arrangement {
            Arrangement::Alone(only) => self == Way::Alone && only == engine,
            Arrangement::Consolidated(only) => self == Way::Consolidated && only == engine,
            Arrangement::Mps => self == Way::Mps,
            Arrangement::TimeSliced => self == Way::TimeSliced,
        }
    }
}

/// A whole study.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// The engines' names.
    pub engines: Vec<String>,
    /// All engines serve the same model, so one could serve the load of all.
    pub one_model: bool,
    /// What each load comes to, in the order of [`Load`].
    pub cells: Vec<CellFigures>,
}

/// One load.
#[derive(Clone, Debug, PartialEq)]
pub struct CellFigures {
    /// The load.
    pub load: Load,
    /// Prompt and generated tokens a second of all engines, by [`Way`]; of `Alone` their mean: what the GPU gets done
    /// when they take turns.
    pub totals: [Option<Spread>; 4],
    /// Sum over engines of their rate under MPS over that alone.
    pub gain: Option<Spread>,
    /// The same of time-slicing.
    pub sliced_gain: Option<Spread>,
    /// Tokens a second under MPS over those of time-slicing.
    pub over_sliced: Option<Spread>,
    /// Tokens a second under MPS over those of one engine with the load of all; only where all serve the same model.
    pub over_one: Option<Spread>,
    /// Figures of the engines, in the study's order.
    pub engines: Vec<EngineFigures>,
    /// Share of failed requests where it is worst, if over [`FAILURES`]: the load's numbers are doubtful.
    pub failures: Option<f64>,
}

/// One engine at one load.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineFigures {
    /// Name of the engine.
    pub engine: String,
    /// What it did, by [`Way`].
    pub ways: [WayFigures; 4],
    /// Its rate under MPS over that alone.
    pub kept: Option<Spread>,
    /// Its rate alone over that under MPS.
    pub slowdown: Option<f64>,
}

/// One engine at one load in one way: medians over the repeats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WayFigures {
    /// Prompt and generated tokens a second.
    pub tokens: Option<Spread>,
    /// Generated tokens a second.
    pub generated: Option<Spread>,
    /// Seconds to the first token.
    pub ttft: Option<Percentiles>,
    /// Seconds from token to token.
    pub tpot: Option<Percentiles>,
}

impl CellFigures {
    /// Tokens a second of all engines.
    pub fn total(&self, way: Way) -> Option<Spread> {
        self.totals[way as usize]
    }

    /// The longest time of any engine for each percentile of what `part` takes.
    pub fn slowest(&self, way: Way, part: fn(&WayFigures) -> Option<Percentiles>) -> Option<Percentiles> {
        let all = self.engines.iter().filter_map(|engine| part(engine.way(way)));
        all.reduce(|a, b| Percentiles { p50: a.p50.max(b.p50), p90: a.p90.max(b.p90), p99: a.p99.max(b.p99) })
    }
}

impl EngineFigures {
    /// What it did in one way.
    pub fn way(&self, way: Way) -> &WayFigures {
        &self.ways[way as usize]
    }
}

/// What the runs come to.
pub fn analysis(study: &Study) -> Analysis {
    let engines: Vec<String> = study.engines.iter().map(|engine| engine.name.clone()).collect();
    let models: BTreeSet<_> = study.engines.iter().map(|engine| engine.model.as_deref()).collect();
    let one_model = models.len() == 1 && !models.contains(&None);
    let mut cells: Vec<_> = study.cells.iter().map(|cell| figures(cell, &engines, one_model)).collect();
    cells.sort_by_key(|cell| cell.load);
    Analysis { engines, one_model, cells }
}

fn figures(cell: &Cell, names: &[String], one_model: bool) -> CellFigures {
    let engines: Vec<_> = names.iter().map(|name| engine_figures(cell, name, names)).collect();
    let totals = Way::ALL.map(|way| {
        let measured = way != Way::Consolidated || one_model;
        measured.then(|| total(cell, way, &engines, names)).flatten()
    });
    let [_, mps, sliced, one] = totals;
    let over = |other: Option<Spread>| mps.zip(other).and_then(|(mps, other)| mps.over(other));
    CellFigures {
        load: Load { output: cell.output, prompt: cell.prompt, concurrency: cell.concurrency },
        gain: gain(cell, Way::Mps, &engines, names),
        sliced_gain: gain(cell, Way::TimeSliced, &engines, names),
        over_sliced: over(sliced),
        over_one: over(one),
        totals,
        engines,
        failures: failures(cell),
    }
}

fn engine_figures(cell: &Cell, name: &str, names: &[String]) -> EngineFigures {
    let ways = Way::ALL.map(|way| way_figures(&measured(cell, way, name, names)));
    let [alone, mps, ..] = ways.each_ref().map(|way| way.tokens);
    let kept = mps.zip(alone).and_then(|(mps, alone)| mps.over(alone));
    let slowdown = alone.zip(mps).and_then(|(alone, mps)| alone.over(mps)).map(|slowdown| slowdown.middle);
    EngineFigures { engine: name.to_owned(), ways, kept, slowdown }
}

fn way_figures(runs: &[&Measured]) -> WayFigures {
    WayFigures {
        tokens: Spread::of(runs.iter().filter_map(|run| run.rate())),
        generated: Spread::of(runs.iter().filter_map(|run| per_second(run.generation_tokens, run.seconds))),
        ttft: percentiles(runs.iter().filter_map(|run| run.ttft)),
        tpot: percentiles(runs.iter().filter_map(|run| run.tpot)),
    }
}

fn percentiles(all: impl Iterator<Item = Percentiles>) -> Option<Percentiles> {
    let all: Vec<_> = all.filter(|one| [one.p50, one.p90, one.p99].iter().all(|time| *time >= 0.0)).collect();
    let median = |part: fn(&Percentiles) -> f64| Some(Spread::of(all.iter().map(part))?.middle);
    Some(Percentiles { p50: median(|one| one.p50)?, p90: median(|one| one.p90)?, p99: median(|one| one.p99)? })
}

impl Measured {
    /// Prompt and generated tokens a second. `None`: none came, or in no time.
    pub fn rate(&self) -> Option<f64> {
        per_second(self.prompt_tokens.saturating_add(self.generation_tokens), self.seconds)
    }
}

fn per_second(tokens: u64, seconds: f64) -> Option<f64> {
    let rate = tokens as f64 / seconds;
    (tokens > 0 && seconds > 0.0 && rate.is_finite() && rate > 0.0).then_some(rate)
}

fn of<'a>(run: &'a Run, engine: &str) -> Option<&'a Measured> {
    run.engines.iter().find(|measured| measured.engine == engine)
}

/// An engine's part of the runs of a way that can be compared: of those in which all have work, the ones in which
/// all got something done. (Where one was missing the others had more of the GPU.)
fn measured<'a>(cell: &'a Cell, way: Way, engine: &str, names: &[String]) -> Vec<&'a Measured> {
    let runs = cell.runs.iter().filter(|run| way.is(&run.arrangement, engine));
    let needed: Vec<&str> = match way {
        Way::Mps | Way::TimeSliced => names.iter().map(String::as_str).collect(),
        Way::Alone | Way::Consolidated => vec![engine],
    };
    let whole = |run: &&Run| needed.iter().all(|name| of(run, name).is_some_and(|part| part.rate().is_some()));
    runs.filter(whole).filter_map(|run| of(run, engine)).collect()
}

/// The rate of each engine in each comparable run of a way, by run.
fn rates(cell: &Cell, way: Way, names: &[String]) -> Vec<Vec<f64>> {
    let runs = cell.runs.iter().filter(|run| way.is(&run.arrangement, ""));
    runs.filter_map(|run| names.iter().map(|name| of(run, name)?.rate()).collect()).collect()
}

fn total(cell: &Cell, way: Way, engines: &[EngineFigures], names: &[String]) -> Option<Spread> {
    let each = || engines.iter().map(|engine| engine.way(way).tokens);
    match way {
        Way::Alone => Spread::mean(&each().collect::<Option<Vec<_>>>()?),
        Way::Consolidated => each().flatten().max_by(|a, b| a.middle.total_cmp(&b.middle)),
        Way::Mps | Way::TimeSliced if names.is_empty() => None,
        Way::Mps | Way::TimeSliced => Spread::of(rates(cell, way, names).iter().map(|run| run.iter().sum())),
    }
}

/// The sum over engines of the median together over the median alone. Its ends are those of whole runs, since what
/// one engine has less of in a run another has more of.
fn gain(cell: &Cell, way: Way, engines: &[EngineFigures], names: &[String]) -> Option<Spread> {
    let alone: Vec<Spread> = engines.iter().map(|engine| engine.way(Way::Alone).tokens).collect::<Option<_>>()?;
    let together: Vec<Spread> = engines.iter().map(|engine| engine.way(way).tokens).collect::<Option<_>>()?;
    let runs = rates(cell, way, names);
    let ratio = |run: &Vec<f64>, part: fn(&Spread) -> f64| -> f64 {
        run.iter().zip(&alone).map(|(rate, alone)| rate / part(alone)).sum()
    };
    let middle = together.iter().zip(&alone).map(|(together, alone)| together.middle / alone.middle).sum::<f64>();
    let low = Spread::of(runs.iter().map(|run| ratio(run, |alone| alone.high)))?.low;
    let high = Spread::of(runs.iter().map(|run| ratio(run, |alone| alone.low)))?.high;
    let count = alone.iter().chain(&together).map(|one| one.runs).min()?;
    Spread { middle, low: low.min(middle), high: high.max(middle), runs: count }.finite()
}

/// The worst share of failed requests of any engine in any run, if it is over the threshold.
fn failures(cell: &Cell) -> Option<f64> {
    let parts = cell.runs.iter().flat_map(|run| &run.engines);
    parts.map(Measured::failed_share).filter(|share| *share > FAILURES).max_by(f64::total_cmp)
}

impl Measured {
    /// Share of its requests that failed; 0 where there were none.
    pub fn failed_share(&self) -> f64 {
        self.failed as f64 / (self.failed.saturating_add(self.requests)).max(1) as f64
    }
}
