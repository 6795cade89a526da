//! A recommendation in words: what to do, for which loads, the numbers behind it, and what is not known.

use super::analysis::{Analysis, CellFigures, Load, Way, WayFigures};
use super::figures::{listed, or_none, percent, seconds, times};
use super::loads;
use super::recommend::{Advised, Choice, Recommendation, Tried};
use super::results::Percentiles;
use super::spread::Spread;
use super::thresholds::{FAILURES, NEAR};
use crate::text::figures::plural;

/// The choices in the order in which they are written.
const ORDER: [Choice; 6] =
    [Choice::Mps, Choice::TimeSlicing, Choice::OneEngine, Choice::NoSharing, Choice::NoDifference, Choice::NotClear];

/// What is said above a study of simulated engines.
pub(super) const SIMULATED: &str =
    "the GPU and the engines are simulated. The figures show what a report looks like, and nothing of real engines.";

/// The recommendation itself first.
pub(super) fn of(what: &Recommendation, analysis: &Analysis) -> Vec<String> {
    let mut sentences = vec![headline(what, analysis)];
    sentences.extend(ORDER.iter().filter_map(|choice| reason(*choice, &what.loads)));
    if matches!(what.choice, Choice::Mps | Choice::ByLoad) {
        sentences.extend(compared(&what.loads));
        sentences.extend(percentages(what));
        sentences.extend(evenness(what));
        sentences.extend(latency(what, analysis));
        sentences.extend(late(what));
        sentences.extend(count(what, analysis));
    }
    sentences.extend(uncertainty(&what.loads));
    sentences
}

fn headline(what: &Recommendation, analysis: &Analysis) -> String {
    let engines = plural(analysis.engines.len(), "engine");
    match what.choice {
        Choice::Mps if analysis.engines.len() == 1 => "Run this engine under MPS.".to_owned(),
        Choice::Mps => format!("Use MPS with these {engines}."),
        Choice::ByLoad => format!("Use MPS with these {engines} for some loads only."),
        Choice::TimeSlicing => format!("Let these {engines} share the GPU without MPS: MPS brings no more."),
        Choice::OneEngine => format!("Serve the load of these {engines} with one engine instead."),
        Choice::NoSharing => format!("Do not share this GPU among these {engines}."),
        Choice::NoDifference => "No difference was measured: MPS is not worth its risks here.".to_owned(),
        Choice::NotClear => {
            "Nothing can be recommended: the runs differ too much. Give it more --repeats, or more --seconds."
                .to_owned()
        }
        Choice::NotMeasured => {
            "Nothing can be recommended: at no load was every engine measured both alone and under MPS.".to_owned()
        }
    }
}

/// Why this is recommended for the loads that it is recommended for.
fn reason(choice: Choice, all: &[Advised]) -> Option<String> {
    let measured = all.iter().filter(|load| load.choice != Choice::NotMeasured);
    let (meant, others): (Vec<&Advised>, Vec<&Advised>) = measured.partition(|load| load.choice == choice);
    let meant: Vec<Advised> = meant.into_iter().copied().collect();
    let others: Vec<Load> = others.iter().map(|load| load.load).collect();
    let gain = range(&meant, |load| load.gain)?;
    let sliced = range(&meant, |load| load.sliced_gain);
    let here: Vec<Load> = meant.iter().map(|load| load.load).collect();
    let here = loads::named(&here, &others).map_or_else(String::new, |named| format!("For {named}: "));
    Some(match choice {
        Choice::Mps => {
            format!("{here}MPS pays: gain {gain}. So many GPUs with one engine each would do the same work.")
        }
        Choice::TimeSlicing => {
            format!(
                "{here}time-slicing does as well: gain {} without MPS and {gain} with it.",
                sliced.unwrap_or_default()
            )
        }
        Choice::OneEngine => {
            let over_one = range(&meant, |load| load.over_one).unwrap_or_default();
            format!(
                "{here}one engine with the whole load does as well or better, MPS gets {over_one} times as much done."
            )
        }
        Choice::NoSharing => format!("{here}MPS does not pay: gain {gain}, and one engine at a time gets more done."),
        Choice::NoDifference => {
            format!("{here}no difference was measured: gain {gain}, within {} of 1.", percent(NEAR * 100.0))
        }
        Choice::NotClear => format!("{here}not clear: gain {gain}, and the runs differ too much to say more."),
        Choice::ByLoad | Choice::NotMeasured => return None,
    })
}

/// The range from the least to the greatest over loads: `1.40 to 1.80`.
fn range(loads: &[Advised], part: fn(&Advised) -> Option<Spread>) -> Option<String> {
    Spread::of(loads.iter().filter_map(part).map(|ratio| ratio.middle)).map(from_to)
}

fn from_to(all: Spread) -> String {
    let (low, high) = (times(all.low), times(all.high));
    if low == high { low } else { format!("{low} to {high}") }
}

/// What else MPS was compared with, what most ask first.
fn compared(all: &[Advised]) -> Option<String> {
    let mps: Vec<Advised> = all.iter().filter(|load| load.choice == Choice::Mps).copied().collect();
    let one = range(&mps, |load| load.over_one).map(|range| format!("{range} times that of one engine with all load"));
    let sliced = range(&mps, |load| load.over_sliced).map(|range| format!("{range} times that of time-slicing"));
    let parts: Vec<String> = [one, sliced].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("Where MPS pays, its throughput is {}.", listed(&parts)))
}

fn percentages(what: &Recommendation) -> Option<String> {
    let set = what.percentages.iter().filter_map(|(name, percentage)| Some((name, (*percentage)?)));
    let set: Vec<String> = set.map(|(name, percentage)| format!("{name} {}", percent(percentage))).collect();
    Some(match set.len() {
        0 => "No active thread percentage was set, and none was tried.".to_owned(),
        _ => format!("Active thread percentages were {}; no others were tried.", listed(&set)),
    })
}

fn evenness(what: &Recommendation) -> Option<String> {
    let told = |(name, slowdown): &(String, f64)| format!("{name} {}", times(*slowdown));
    let slowdowns: Vec<String> = what.slowdowns.iter().map(told).collect();
    (slowdowns.len() > 1).then(|| match &what.uneven {
        Some(engine) => format!(
            "{engine} pays most for it: slow-downs are {}. Try more active threads for {engine} or fewer for the others.",
            listed(&slowdowns)
        ),
        None => format!("Slow-downs are even: {}.", listed(&slowdowns)),
    })
}

fn late(what: &Recommendation) -> Option<String> {
    let late = what.late.as_ref()?;
    let Load { output, prompt, concurrency } = late.load;
    let (mps, alone, engine) = (seconds(late.mps), seconds(late.alone), &late.engine);
    Some(format!(
        "First tokens come late: TTFT p99 of {engine} is {mps} under MPS and {alone} alone, {} times as long \
         (prompt {prompt}, output {output}, {concurrency} in flight, the worst).",
        times(late.times())
    ))
}

/// How much longer first tokens and each further one take under MPS than alone, over the loads where MPS pays.
fn latency(what: &Recommendation, analysis: &Analysis) -> Option<String> {
    let pays = |load: &Load| what.loads.iter().any(|advised| advised.load == *load && advised.choice == Choice::Mps);
    let cells = || analysis.cells.iter().filter(|cell| pays(&cell.load));
    let slower = |part: fn(&WayFigures) -> Option<Percentiles>, of: fn(&Percentiles) -> f64| {
        let time = |cell: &CellFigures, way| cell.slowest(way, part).as_ref().map(of);
        let ratios = cells().filter_map(|cell| Some(time(cell, Way::Mps)? / time(cell, Way::Alone)?));
        Spread::of(ratios).map(|all| format!("{} times", from_to(all)))
    };
    let first = slower(|way| way.ttft, |ttft| ttft.p50).map(|range| format!("a first token takes {range} as long"));
    let next = slower(|way| way.tpot, |tpot| tpot.p50).map(|range| format!("each further one {range}"));
    let parts: Vec<String> = first.into_iter().chain(next).collect();
    (!parts.is_empty())
        .then(|| format!("What it costs in latency, at p50 beside one engine alone: {}.", listed(&parts)))
}

/// What else was tried, and what work it comes to.
fn count(what: &Recommendation, analysis: &Analysis) -> Option<String> {
    let all = analysis.engines.len();
    let named = |tried: &Tried| {
        let with = tried.sharing.percentage.map_or_else(String::new, |each| format!(" with {} each", percent(each)));
        format!("{}{with} {}", plural(tried.sharing.engines, "engine"), or_none(tried.work, times))
    };
    match what.tried.len() {
        0 | 1 => (all > 2).then(|| format!("Only all {all} engines and one were tried, no number between.")),
        _ => {
            let tried: Vec<String> = what.tried.iter().map(named).collect();
            Some(format!("Work of the GPU by what was tried, one engine at a time being 1: {}.", listed(&tried)))
        }
    }
}

fn uncertainty(all: &[Advised]) -> Vec<String> {
    let doubtful = all.iter().filter(|load| load.doubtful).count();
    let missing = all.iter().filter(|load| !load.doubtful && load.gain.is_none()).count();
    let told = [
        (doubtful > 0).then(|| {
            let (loads, share) = (plural(doubtful, "load"), percent(FAILURES * 100.0));
            format!("Left out as doubtful (?), since over {share} of an engine's requests failed: {loads}.")
        }),
        (missing > 0).then(|| format!("Not measured whole: {} of {}.", missing, plural(all.len(), "load"))),
    ];
    told.into_iter().flatten().collect()
}
