//! A recommendation in words: what to do, for which loads, the numbers behind it, and what is not known.

use super::analysis::{Analysis, Load};
use super::figures::{listed, percent, seconds, times};
use super::loads;
use super::recommend::{Advised, Choice, Recommendation};
use super::spread::Spread;
use super::thresholds::{FAILURES, NO_DIFFERENCE};
use crate::text::figures::plural;

/// The choices in the order in which they are written.
const ORDER: [Choice; 5] =
    [Choice::Mps, Choice::TimeSlicing, Choice::OneEngine, Choice::NoSharing, Choice::NoDifference];

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
        sentences.extend(late(what));
        sentences.extend(count(analysis));
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
        Choice::Mps => format!("{here}MPS pays: gain {gain}, so many times as much done as by one engine at a time."),
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
        Choice::NoDifference => format!(
            "{here}no difference was measured: gain {gain}, within {} of 1 or within what its runs differ by.",
            percent(NO_DIFFERENCE * 100.0)
        ),
        Choice::ByLoad | Choice::NotMeasured => return None,
    })
}

/// The range from the least to the greatest over loads: `1.40 to 1.80`.
fn range(loads: &[Advised], part: fn(&Advised) -> Option<Spread>) -> Option<String> {
    let all = Spread::of(loads.iter().filter_map(part).map(|ratio| ratio.middle))?;
    let (low, high) = (times(all.low), times(all.high));
    Some(if low == high { low } else { format!("{low} to {high}") })
}

/// What else MPS was compared with.
fn compared(all: &[Advised]) -> Option<String> {
    let mps: Vec<Advised> = all.iter().filter(|load| load.choice == Choice::Mps).copied().collect();
    let sliced = range(&mps, |load| load.over_sliced).map(|range| format!("{range} times that of time-slicing"));
    let one = range(&mps, |load| load.over_one).map(|range| format!("{range} times that of one engine with all load"));
    let parts: Vec<String> = [sliced, one].into_iter().flatten().collect();
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

fn count(analysis: &Analysis) -> Option<String> {
    let all = analysis.engines.len();
    (all > 2).then(|| format!("Only all {all} engines and one were tried, no number between."))
}

fn uncertainty(all: &[Advised]) -> Vec<String> {
    let runs = all.iter().filter(|load| load.choice != Choice::NotMeasured).filter_map(|load| load.gain);
    let once = runs.map(|gain| gain.runs).min() == Some(1);
    let doubtful = all.iter().filter(|load| load.doubtful).count();
    let missing = all.iter().filter(|load| !load.doubtful && load.gain.is_none()).count();
    let told = [
        once.then(|| "Something ran once only, so how far its runs differ is not known: repeat it.".to_owned()),
        (doubtful > 0).then(|| {
            let (loads, share) = (plural(doubtful, "load"), percent(FAILURES * 100.0));
            format!("Left out as doubtful (?), since over {share} of an engine's requests failed: {loads}.")
        }),
        (missing > 0).then(|| format!("Not measured whole: {} of {}.", missing, plural(all.len(), "load"))),
    ];
    told.into_iter().flatten().collect()
}
