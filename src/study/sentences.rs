//! A recommendation in words: what to do, for which loads, the numbers behind it, and what is not known.

use super::analysis::{Analysis, CellFigures, Load, Way, WayFigures};
use super::figures::{NONE, listed, or_none, percent, seconds, times};
use super::loads;
use super::recommend::{Advised, Choice, Recommendation, Tried};
use super::results::Percentiles;
use super::spread::{Spread, Verdict};
use super::thresholds::{FAILURES, NEAR};
use crate::text::figures::plural;

/// The choices in the order in which they are written.
const ORDER: [Choice; 5] =
    [Choice::Mps, Choice::TimeSlicing, Choice::OneEngine, Choice::NoSharing, Choice::NoDifference];

/// What is said above a study of simulated engines.
pub(super) const SIMULATED: &str =
    "the GPU and the engines are simulated. The figures show what a report looks like, and nothing of real engines.";

/// The recommendation itself first, then the numbers behind it in the order in which one asks.
pub(super) fn of(what: &Recommendation, analysis: &Analysis) -> Vec<String> {
    let mut sentences = vec![headline(what, analysis)];
    sentences.extend(ORDER.iter().filter_map(|choice| reason(*choice, &what.loads)));
    sentences.extend(unclear(&what.loads));
    sentences.extend(compared(what));
    if matches!(what.choice, Choice::Mps | Choice::ByLoad) {
        sentences.extend(evenness(what));
        sentences.extend(latency(what, analysis));
        sentences.extend(late(what));
        sentences.extend(percentages(what, analysis));
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

/// What is recommended for some of the loads and not for others, and where what is recommended needs a word of its own.
fn reason(choice: Choice, all: &[Advised]) -> Option<String> {
    let (meant, here) = apart(all, |load| load.choice == choice)?;
    let gain = range(&meant, |load| load.gain)?;
    let of = |part: Ratio| range(&meant, part).unwrap_or_else(|| NONE.to_owned());
    let said = match choice {
        Choice::Mps if here.is_empty() => return None,
        Choice::Mps => "use MPS.".to_owned(),
        Choice::TimeSlicing => format!(
            "sharing without MPS does as well: it gets {} times as much done as one engine at a time, and with MPS {gain}.",
            of(|load| load.sliced_gain)
        ),
        Choice::OneEngine => format!(
            "one engine that serves the whole load does as well or better: MPS gets {} times as much done.",
            of(|load| load.over_one)
        ),
        Choice::NoSharing => format!("do not share: MPS gets {gain} times as much done as one engine at a time."),
        Choice::NoDifference => format!(
            "it makes no difference: MPS gets {gain} times as much done as one engine at a time, within {} of it.",
            percent(NEAR * 100.0)
        ),
        Choice::NotClear | Choice::ByLoad | Choice::NotMeasured => return None,
    };
    Some(sentence(&here, &said))
}

/// The loads that are meant, and their names as distinct from all others: `For prefill only: `, or nothing where they
/// are all.
fn apart(all: &[Advised], is_meant: impl Fn(&Advised) -> bool) -> Option<(Vec<Advised>, String)> {
    let measured = all.iter().copied().filter(|load| load.choice != Choice::NotMeasured);
    let (meant, others): (Vec<Advised>, Vec<Advised>) = measured.partition(is_meant);
    let loads = |all: &[Advised]| all.iter().map(|load| load.load).collect::<Vec<Load>>();
    let here = loads::named(&loads(&meant), &loads(&others)).map_or_else(String::new, |named| format!("For {named}: "));
    (!meant.is_empty()).then_some((meant, here))
}

/// Something that is so for the loads that are named, with a capital where it begins.
fn sentence(here: &str, said: &str) -> String {
    if !here.is_empty() {
        return format!("{here}{said}");
    }
    let mut letters = said.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A ratio of a load.
type Ratio = fn(&Advised) -> Option<Spread>;

/// What MPS is compared with, in the order in which one asks.
const ALTERNATIVES: [(&str, Ratio); 3] = [
    ("one engine that serves the whole load", |load| load.over_one),
    ("the same engines without MPS (time-sliced)", |load| load.over_sliced),
    ("one engine at a time (the gain)", |load| load.gain),
];

/// Which question the runs leave open, and what would fit them.
fn unclear(all: &[Advised]) -> Vec<String> {
    let open = |load: &Advised| {
        let is_open = |ratio: Option<Spread>| ratio.is_some_and(|ratio| ratio.verdict() == Verdict::NotClear);
        ALTERNATIVES.iter().position(|(_, part)| is_open(part(load)))
    };
    let sentences = ALTERNATIVES.iter().enumerate().filter_map(|(at, (other, part))| {
        let (meant, here) = apart(all, |load| load.choice == Choice::NotClear && open(load) == Some(at))?;
        let ratios: Vec<Spread> = meant.iter().filter_map(part).collect();
        let from = ratios.iter().map(|ratio| ratio.low).min_by(f64::total_cmp)?;
        let to = ratios.iter().map(|ratio| ratio.high).max_by(f64::total_cmp)?;
        let said = format!(
            "it is not clear whether MPS gets more done than {other}: anything from {} to {} times fits the runs.",
            times(from),
            times(to)
        );
        Some(sentence(&here, &said))
    });
    sentences.collect()
}

/// The range from the least to the greatest over loads: `1.40 to 1.80`; of a single load its interval too.
fn range(loads: &[Advised], part: fn(&Advised) -> Option<Spread>) -> Option<String> {
    let ratios: Vec<Spread> = loads.iter().filter_map(part).collect();
    if let [only] = ratios.as_slice() {
        return Some(format!("{} ({} to {})", times(only.middle), times(only.low), times(only.high)));
    }
    Spread::of(ratios.iter().map(|ratio| ratio.middle)).map(from_to)
}

fn from_to(all: Spread) -> String {
    let (low, high) = (times(all.low), times(all.high));
    if low == high { low } else { format!("{low} to {high}") }
}

/// MPS beside each alternative, where it pays; where it pays nowhere, at every load with numbers.
fn compared(what: &Recommendation) -> Vec<String> {
    let pays: Vec<Advised> = what.loads.iter().filter(|load| load.choice == Choice::Mps).copied().collect();
    let measured = || what.loads.iter().filter(|load| load.choice != Choice::NotMeasured).copied().collect();
    let (loads, here): (Vec<Advised>, &str) = match what.choice {
        Choice::ByLoad => (pays, "Where MPS pays, it"),
        Choice::Mps => (pays, "MPS"),
        Choice::TimeSlicing
        | Choice::OneEngine
        | Choice::NoSharing
        | Choice::NoDifference
        | Choice::NotClear
        | Choice::NotMeasured => (measured(), "MPS"),
    };
    let told = |(other, part): &(&str, Ratio)| {
        range(&loads, *part).map(|range| format!("{range} times as much done as {other}"))
    };
    let parts: Vec<String> = ALTERNATIVES.iter().filter_map(told).collect();
    let beside = (!parts.is_empty()).then(|| format!("{here} gets {}.", listed(&parts)));
    let work = range(&loads, |load| load.gain).filter(|_| matches!(what.choice, Choice::Mps | Choice::ByLoad));
    let work = work.map(|gain| format!("In work for each GPU: {gain} GPUs with one engine each would do the same."));
    beside.into_iter().chain(work).collect()
}

/// What to run them with.
fn percentages(what: &Recommendation, analysis: &Analysis) -> Option<String> {
    if let Some(percentage) = analysis.sharing.percentage {
        let each = percent(percentage);
        return Some(format!("What to run: {} with {each} active threads each.", plural(what.engines, "engine")));
    }
    let each = what.percentages.iter().map(|(name, percentage)| match percentage {
        Some(percentage) => format!("{name} with {} active threads", percent(*percentage)),
        None => format!("{name} without a limit"),
    });
    let each: Vec<String> = each.collect();
    Some(format!("What was run: {}. No other percentages were tried (--percentages).", listed(&each)))
}

fn evenness(what: &Recommendation) -> Option<String> {
    let told = |(name, slowdown): &(String, f64)| format!("{name} {} times", times(*slowdown));
    let slowdowns: Vec<String> = what.slowdowns.iter().map(told).collect();
    (slowdowns.len() > 1).then(|| match &what.uneven {
        Some(engine) => format!(
            "Beside itself alone each engine takes longer for the same: {}. {engine} pays most: try more active threads for \
             {engine} or fewer for the others.",
            listed(&slowdowns)
        ),
        None => format!("Beside itself alone each engine takes longer for the same, evenly: {}.", listed(&slowdowns)),
    })
}

fn late(what: &Recommendation) -> Option<String> {
    let late = what.late.as_ref()?;
    let Load { output, prompt, concurrency } = late.load;
    let (mps, alone, engine) = (seconds(late.mps), seconds(late.alone), &late.engine);
    Some(format!(
        "First tokens come late: one in a hundred of {engine} takes over {mps} under MPS and over {alone} alone, {} times as \
         long, at worst (prompt {prompt}, output {output}, {concurrency} in flight).",
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
    let next = slower(|way| way.tpot, |tpot| tpot.p50).map(|range| format!("each further one {range} as long"));
    let parts: Vec<String> = first.into_iter().chain(next).collect();
    (!parts.is_empty())
        .then(|| format!("What it costs in latency, half of the requests being faster: {} as alone.", listed(&parts)))
}

/// What else was tried, and what work it comes to.
fn count(what: &Recommendation, analysis: &Analysis) -> Option<String> {
    let all = analysis.engines.len();
    let named = |tried: &Tried| {
        let with = tried.sharing.percentage.map_or_else(String::new, |each| format!(" with {} each", percent(each)));
        format!("{}{with} {}", plural(tried.sharing.engines, "engine"), or_none(tried.work, times))
    };
    match what.tried.len() {
        0 | 1 => (all > 2)
            .then(|| format!("Only all {all} engines and one were tried, no number between (--engines-swept).")),
        _ => {
            let tried: Vec<String> = what.tried.iter().map(named).collect();
            Some(format!(
                "How much the GPU gets done by what was tried, one engine at a time being 1: {}.",
                listed(&tried)
            ))
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
