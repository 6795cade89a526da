//! What to do with these engines, from a study's numbers alone. Ties go to what is simpler: sharing under MPS is
//! sharing one fate.

use serde::{Deserialize, Serialize};

use super::analysis::{Analysis, CellFigures, Load, Way, analyses};
use super::results::{StudiedEngine, Study, Variant};
use super::sentences;
use super::spread::{Spread, Verdict};
use super::thresholds::{LATE, NO_DIFFERENCE, UNEVEN};

/// The choices that can be recommended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// All engines under MPS.
    Mps,
    /// It depends on the load: see each.
    ByLoad,
    /// All engines without MPS.
    TimeSlicing,
    /// One engine with the load of all.
    OneEngine,
    /// No sharing: the engines get less done together than in turn.
    NoSharing,
    /// No difference to taking turns was measured.
    NoDifference,
    /// The runs differ too much to say.
    NotClear,
    /// There are no numbers, or only doubtful ones.
    NotMeasured,
}

/// What a study recommends, with the numbers that it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// Choice for all loads together.
    pub choice: Choice,
    /// How many of the engines to run on this GPU, of the numbers that were tried. 0: nothing can be said.
    pub engines: usize,
    /// CUDA_MPS_ACTIVE_THREAD_PERCENTAGE of each engine as it was tried, in the study's order.
    pub percentages: Vec<(String, Option<f64>)>,
    /// Each way of sharing under MPS that was tried, and what it comes to.
    pub tried: Vec<Tried>,
    /// Advice for each load.
    pub loads: Vec<Advised>,
    /// Each engine's slow-down under MPS: the median over loads with numbers.
    pub slowdowns: Vec<(String, f64)>,
    /// The engine that pays most for the sharing, where slow-downs are uneven.
    pub uneven: Option<String>,
    /// The longest wait for a first token under MPS that is far over that alone.
    pub late: Option<Late>,
    /// Sentences for people, the recommendation itself first.
    pub sentences: Vec<String>,
}

/// A way of sharing under MPS that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// How many engines, and with which percentage.
    #[serde(flatten)]
    pub sharing: Variant,
    /// Work of the GPU, in that of one engine at a time: the mean gain over the loads; `None`: not measured.
    pub work: Option<f64>,
}

/// What is recommended for one load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advised {
    /// The load.
    #[serde(flatten)]
    pub load: Load,
    /// Choice for this load.
    pub choice: Choice,
    /// Rate of MPS over one engine at a time.
    pub gain: Option<Spread>,
    /// Rate of time-slicing over one engine at a time.
    pub sliced_gain: Option<Spread>,
    /// Rate of MPS over time-slicing, tokens a second.
    pub over_sliced: Option<Spread>,
    /// Rate of MPS over one engine with the load of all, tokens a second.
    pub over_one: Option<Spread>,
    /// More requests failed than may: it does not count.
    pub doubtful: bool,
}

/// A first token that comes late under MPS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Late {
    /// Name of the engine.
    pub engine: String,
    /// The load.
    #[serde(flatten)]
    pub load: Load,
    /// TTFT p99 alone, seconds.
    pub alone: f64,
    /// TTFT p99 under MPS, seconds.
    pub mps: f64,
}

/// What to use, in a word or two.
pub(super) fn advice(choice: Option<Choice>) -> &'static str {
    match choice {
        Some(Choice::Mps) => "MPS",
        Some(Choice::TimeSlicing) => "time-slicing",
        Some(Choice::OneEngine) => "one engine",
        Some(Choice::NoSharing) => "no sharing",
        Some(Choice::NoDifference) => "no difference",
        Some(Choice::NotClear) => "not clear",
        _ => "not measured",
    }
}

/// What the study says.
pub fn recommend(study: &Study) -> Recommendation {
    concluded(study).1
}

/// The way of sharing that gets most done, of those with as little of it the one with the fewest engines; and what to do.
pub(super) fn concluded(study: &Study) -> (Analysis, Recommendation) {
    let mut analyses = analyses(study);
    let tried: Vec<Tried> =
        analyses.iter().map(|analysis| Tried { sharing: analysis.sharing, work: work(analysis) }).collect();
    let most = tried.iter().filter_map(|tried| tried.work).fold(0.0, f64::max);
    let is_enough = |tried: &&Tried| tried.work.is_some_and(|work| work * (1.0 + NO_DIFFERENCE) >= most);
    let best = tried.iter().filter(is_enough).min_by_key(|tried| tried.sharing.engines).map(|tried| tried.sharing);
    let index = tried.iter().position(|tried| Some(tried.sharing) == best).unwrap_or(0);
    let analysis = analyses.swap_remove(index);
    let recommendation = recommendation(study, &analysis, tried);
    (analysis, recommendation)
}

/// The geometric mean of the gain over the loads that count.
fn work(analysis: &Analysis) -> Option<f64> {
    let cells = analysis.cells.iter().filter(|cell| cell.failures.is_none());
    let logs: Vec<f64> = cells.filter_map(|cell| Some(cell.gain?.middle.ln())).collect();
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    Some(mean.exp()).filter(|work| work.is_finite())
}

fn recommendation(study: &Study, analysis: &Analysis, tried: Vec<Tried>) -> Recommendation {
    let loads: Vec<Advised> = analysis.cells.iter().map(advised).collect();
    let choice = overall(&loads);
    let engines = match choice {
        Choice::Mps | Choice::ByLoad | Choice::TimeSlicing => analysis.engines.len(),
        Choice::NotMeasured | Choice::NotClear => 0,
        Choice::OneEngine | Choice::NoSharing | Choice::NoDifference => 1,
    };
    let percentage = |engine: &StudiedEngine| analysis.sharing.percentage.or(engine.sm_percentage);
    let sharing = study.engines.iter().take(analysis.engines.len());
    let percentages = sharing.map(|engine| (engine.name.clone(), percentage(engine))).collect();
    let counted = counted(analysis, &loads);
    let slowdowns = slowdowns(analysis, &counted);
    let (uneven, late) = (uneven(&slowdowns), latest(&counted));
    let recommendation =
        Recommendation { choice, engines, percentages, tried, loads, slowdowns, uneven, late, sentences: Vec::new() };
    Recommendation { sentences: sentences::of(&recommendation, analysis), ..recommendation }
}

/// The loads that slow-downs and latencies are reported for: where MPS is recommended, or all that have numbers.
fn counted<'a>(analysis: &'a Analysis, loads: &[Advised]) -> Vec<&'a CellFigures> {
    let with = |wanted: fn(&Advised) -> bool| {
        let cells = analysis.cells.iter().zip(loads).filter(move |(_, advised)| wanted(advised));
        cells.map(|(cell, _)| cell).collect::<Vec<_>>()
    };
    let mps = with(|advised| advised.choice == Choice::Mps);
    if mps.is_empty() { with(|advised| !advised.doubtful) } else { mps }
}

fn advised(cell: &CellFigures) -> Advised {
    let &CellFigures { load, gain, sliced_gain, over_sliced, over_one, failures, .. } = cell;
    let doubtful = failures.is_some();
    let choice = if doubtful { Choice::NotMeasured } else { choice(cell) };
    Advised { load, choice, gain, sliced_gain, over_sliced, over_one, doubtful }
}

fn choice(cell: &CellFigures) -> Choice {
    let verdict = |ratio: Option<Spread>| ratio.map(|ratio| ratio.verdict());
    let Some(gain) = verdict(cell.gain) else { return Choice::NotMeasured };
    let sliced_pays = verdict(cell.sliced_gain) == Some(Verdict::More);
    // In the user's order: one engine with all load, the engines without MPS, each engine alone.
    match (verdict(cell.over_one), verdict(cell.over_sliced)) {
        (Some(Verdict::NoDifference | Verdict::Less), _) => Choice::OneEngine,
        (Some(Verdict::NotClear), _) => Choice::NotClear,
        (_, Some(Verdict::NoDifference | Verdict::Less)) if sliced_pays => Choice::TimeSlicing,
        (_, Some(Verdict::NotClear)) if sliced_pays => Choice::NotClear,
        _ => match gain {
            Verdict::More => Choice::Mps,
            Verdict::NoDifference => Choice::NoDifference,
            Verdict::NotClear => Choice::NotClear,
            Verdict::Less => Choice::NoSharing,
        },
    }
}

/// What all loads with numbers have in common; where MPS pays for some only: by load. Else what most say.
fn overall(loads: &[Advised]) -> Choice {
    let told = |choice: &Choice| !matches!(choice, Choice::NotMeasured | Choice::NotClear);
    let measured = || loads.iter().map(|load| load.choice).filter(told);
    let unclear = loads.iter().any(|load| load.choice == Choice::NotClear);
    let count = |choice: Choice| measured().filter(|other| *other == choice).count();
    match count(Choice::Mps) {
        0 => measured().max_by_key(|choice| (count(*choice), *choice)).unwrap_or(if unclear {
            Choice::NotClear
        } else {
            Choice::NotMeasured
        }),
        paying if paying == measured().count() => Choice::Mps,
        _ => Choice::ByLoad,
    }
}

fn slowdowns(analysis: &Analysis, counted: &[&CellFigures]) -> Vec<(String, f64)> {
    let of = |at: usize| Spread::of(counted.iter().filter_map(|cell| cell.engines.get(at)?.slowdown));
    let engines = analysis.engines.iter().enumerate();
    engines.filter_map(|(at, name)| Some((name.clone(), of(at)?.middle))).collect()
}

fn uneven(slowdowns: &[(String, f64)]) -> Option<String> {
    let (name, most) = slowdowns.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let least = slowdowns.iter().map(|(_, slowdown)| *slowdown).min_by(f64::total_cmp)?;
    (most / least > UNEVEN).then(|| name.clone())
}

/// The engine, of all at these loads, whose first token is most times later under MPS than alone.
fn latest(counted: &[&CellFigures]) -> Option<Late> {
    let each = counted.iter().flat_map(|cell| cell.engines.iter().map(|engine| (cell.load, engine)));
    let late = each.filter_map(|(load, engine)| {
        let p99 = |way| Some(engine.way(way).ttft?.p99);
        let (alone, mps) = (p99(Way::Alone)?, p99(Way::Mps)?);
        Some(Late { engine: engine.engine.clone(), load, alone, mps }).filter(|late| late.times() > LATE)
    });
    late.max_by(|a, b| a.times().total_cmp(&b.times()))
}

impl Late {
    /// How many times later.
    pub fn times(&self) -> f64 {
        let times = self.mps / self.alone;
        if times.is_finite() { times } else { 0.0 }
    }
}
