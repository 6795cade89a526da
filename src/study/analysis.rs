//! What a study's runs come to: throughput, gain, slow-down and latency of each load. Pure arithmetic; what was
//! not measured is `None`, never 0.

use std::collections::{BTreeMap, BTreeSet};

use super::noise::{ByRepeat, Finest, Noise};
use super::results::{Arrangement, Cell, Measured, Percentiles, Run, Study, Variant};
use super::spread::Spread;
use super::thresholds::{FAILURES, FINEST, ONE_ROUND};

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
    fn is(self, run: &Run, engine: &str, sharing: Variant) -> bool {
        // Without a variant all engines shared, as configured.
        let as_many = run.variant.is_none_or(|variant| variant.engines == sharing.engines);
        match &run.arrangement {
            Arrangement::Alone(only) => self == Way::Alone && only == engine,
            Arrangement::Consolidated(only) => self == Way::Consolidated && only == engine && as_many,
            Arrangement::Mps => self == Way::Mps && run.variant.is_none_or(|variant| variant == sharing),
            Arrangement::TimeSliced => self == Way::TimeSliced && as_many,
        }
    }
}

/// A whole study, of one way of sharing.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// How many share, and with which percentage.
    pub sharing: Variant,
    /// The names of the engines that share.
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

/// What the runs of each way of sharing come to, in the order in which they were tried; at least one.
pub fn analyses(study: &Study) -> Vec<Analysis> {
    study.plan.variants(study.engines.len()).into_iter().map(|sharing| analysis(study, sharing)).collect()
}

/// What the runs of one way of sharing come to.
fn analysis(study: &Study, sharing: Variant) -> Analysis {
    let studied = &study.engines[..sharing.engines.min(study.engines.len())];
    let engines: Vec<String> = studied.iter().map(|engine| engine.name.clone()).collect();
    let models: BTreeSet<_> = studied.iter().map(|engine| engine.model.as_deref()).collect();
    let one_model = models.len() == 1 && !models.contains(&None);
    let of = |cell: &Cell| Runs { cell, names: &engines, sharing }.figures(one_model);
    let mut cells: Vec<_> = study.cells.iter().map(of).collect();
    cells.sort_by_key(|cell| cell.load);
    Analysis { sharing, engines, one_model, cells }
}

/// The runs of one load and one way of sharing.
struct Runs<'a> {
    cell: &'a Cell,
    /// The engines that share.
    names: &'a [String],
    sharing: Variant,
}

impl<'a> Runs<'a> {
    fn figures(&self, one_model: bool) -> CellFigures {
        let Cell { output, prompt, concurrency, .. } = *self.cell;
        let sums =
            Way::ALL.map(|way| if way == Way::Consolidated && !one_model { ByRepeat::new() } else { self.sums(way) });
        let [_, mps, sliced, one] = &sums;
        let alone = self.names.iter().map(|name| self.rates(Way::Alone, name));
        let outside: Vec<ByRepeat> = alone.chain([sliced.clone(), one.clone()]).collect();
        let all: Vec<ByRepeat> = outside.iter().chain([mps]).cloned().collect();
        // What runs without MPS takes turns. What runs under it runs later: its repeats are no others' repeats.
        let edges = self.edges();
        let turns = Finest { noise: Noise::of_turns(&outside), edges };
        let finest = Finest { noise: Noise::of_runs(&all), edges };
        CellFigures {
            load: Load { output, prompt, concurrency },
            gain: self.gain(Way::Mps, finest),
            sliced_gain: self.gain(Way::TimeSliced, turns),
            over_sliced: over(mps, sliced, finest),
            over_one: over(mps, one, finest),
            totals: sums.map(|sums| Spread::of(sums.into_values())),
            engines: self.names.iter().map(|name| self.engine(name, finest)).collect(),
            failures: self.failures(),
        }
    }

    fn engine(&self, name: &str, finest: Finest) -> EngineFigures {
        let ways = Way::ALL.map(|way| way_figures(&self.measured(way, name)));
        let kept = over(&self.rates(Way::Mps, name), &self.rates(Way::Alone, name), finest);
        let slowdown = kept.map(|kept| 1.0 / kept.middle).filter(|slowdown| slowdown.is_finite());
        EngineFigures { engine: name.to_owned(), ways, kept, slowdown }
    }

    /// An engine's part of the runs of a way that can be compared: of those in which several have work, the ones in
    /// which all got something done. (Where one was missing the others had more of the GPU.)
    fn measured(&self, way: Way, engine: &str) -> BTreeMap<u32, &'a Measured> {
        let needed: Vec<&str> = match way {
            Way::Mps | Way::TimeSliced => self.names.iter().map(String::as_str).collect(),
            Way::Alone | Way::Consolidated => vec![engine],
        };
        let whole = |run: &&Run| needed.iter().all(|name| part(run, name).is_some_and(|part| part.rate().is_some()));
        let runs = self.cell.runs.iter().filter(|run| way.is(run, engine, self.sharing)).filter(whole);
        runs.filter_map(|run| Some((run.repeat, part(run, engine)?))).collect()
    }

    /// An engine's rate in each repeat of a way.
    fn rates(&self, way: Way, engine: &str) -> ByRepeat {
        let measured = self.measured(way, engine);
        measured.into_iter().filter_map(|(repeat, measured)| Some((repeat, measured.rate()?))).collect()
    }

    /// The rate of all engines in each repeat of a way; of `Alone` the mean of theirs, of `Consolidated` that of the one.
    fn sums(&self, way: Way) -> ByRepeat {
        let each: Vec<ByRepeat> = self.names.iter().map(|name| self.rates(way, name)).collect();
        match way {
            Way::Consolidated => each.into_iter().find(|one| !one.is_empty()).unwrap_or_default(),
            Way::Alone => combined(&each, |rates| rates.iter().sum::<f64>() / rates.len() as f64),
            Way::Mps | Way::TimeSliced => combined(&each, |rates| rates.iter().sum()),
        }
    }

    /// The sum over engines of their rate together over that alone, of each repeat.
    fn gain(&self, way: Way, finest: Finest) -> Option<Spread> {
        let ratios = self.names.iter().map(|name| ratios(&self.rates(way, name), &self.rates(Way::Alone, name)));
        let gains = combined(&ratios.collect::<Vec<_>>(), |ratios| ratios.iter().sum());
        // One run together, over the mean of one of each engine.
        Spread::of_ratios(gains.into_values(), finest, 1.0 + 1.0 / self.names.len() as f64)
    }

    /// What the edges of the runs' windows may move a ratio by: the fewer rounds of requests they hold, the more.
    fn edges(&self) -> f64 {
        let parts = self.cell.runs.iter().flat_map(|run| &run.engines).filter(|part| part.whole > 0);
        let rounds = parts.map(|part| part.whole as f64 / part.running).filter(|rounds| *rounds > 0.0);
        rounds.min_by(f64::total_cmp).map_or(FINEST, |rounds| (ONE_ROUND / rounds).max(FINEST))
    }

    /// The worst share of failed requests of any engine in any run, if it is over the threshold.
    fn failures(&self) -> Option<f64> {
        let ours =
            |run: &&Run| Way::ALL.iter().any(|way| self.names.iter().any(|name| way.is(run, name, self.sharing)));
        let parts = self.cell.runs.iter().filter(ours).flat_map(|run| &run.engines);
        parts.map(Measured::failed_share).filter(|share| *share > FAILURES).max_by(f64::total_cmp)
    }
}

/// What is made of all of them, in those repeats that each has.
fn combined(each: &[ByRepeat], of: impl Fn(&[f64]) -> f64) -> ByRepeat {
    let Some(first) = each.first() else { return ByRepeat::new() };
    let all = |repeat: &u32| each.iter().map(|one| one.get(repeat).copied()).collect::<Option<Vec<f64>>>();
    first.keys().filter_map(|repeat| Some((*repeat, of(&all(repeat)?)))).collect()
}

/// How often the one is the other, in those repeats that both have.
fn ratios(one: &ByRepeat, other: &ByRepeat) -> ByRepeat {
    one.iter().filter_map(|(repeat, rate)| Some((*repeat, rate / other.get(repeat)?))).collect()
}

fn over(one: &ByRepeat, other: &ByRepeat, finest: Finest) -> Option<Spread> {
    Spread::of_ratios(ratios(one, other).into_values(), finest, 2.0)
}

fn way_figures(runs: &BTreeMap<u32, &Measured>) -> WayFigures {
    let runs: Vec<&Measured> = runs.values().copied().collect();
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

fn part<'a>(run: &'a Run, engine: &str) -> Option<&'a Measured> {
    run.engines.iter().find(|measured| measured.engine == engine)
}

impl Measured {
    /// Share of its requests that failed; 0 where there were none.
    pub fn failed_share(&self) -> f64 {
        self.failed as f64 / (self.failed.saturating_add(self.requests)).max(1) as f64
    }
}
