//! The report as a whole: its head, its advice, its tiles and sections. Pure.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::analysis::Analysis;
use super::{charts, tables};
use crate::text::figures::plural;

use super::super::figures::{date, listed, percent, short, span, times, took};
use super::super::recommend::{Choice, Recommendation, concluded};
use super::super::results::{Plan, Study};
use super::super::sentences::SIMULATED;
use super::super::spread::Spread;
use super::super::thresholds::{FAILURES, NEAR, NO_DIFFERENCE};

/// Loads from which on a map shows more than a table does.
const MANY: usize = 9;
/// What stands above the maps.
const NOTE_MAPS: &str =
    "MPS beside what one would do without it, at each load: 1 is as much as the alternative gets done.";
pub(super) const STYLE: &str = include_str!("style.css");
/// Nothing is fetched, whatever a name in it says.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The whole report.
pub fn html(study: &Study) -> String {
    let (analysis, recommended) = concluded(study);
    let body = html! {
        @if study.simulated { p.simulated role="note" { b { "Simulated" } ": " (SIMULATED) } }
        (head(study))
        main { (advice(&recommended, &analysis)) (sections(study, &analysis, &recommended)) }
    };
    page(&format!("Does sharing pay? {}", study.group), &study.version, body)
}

/// A page that needs nothing else.
pub(super) fn page(title: &str, version: &str, body: Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · mpswarden" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                footer { "mpswarden " (version) " · this file needs no network and runs no script" }
            }
        }
    }
    .into_string()
}

pub(super) fn head(study: &Study) -> Markup {
    let driver = study.driver.as_ref().map_or_else(String::new, |driver| format!(" · driver {driver}"));
    html! {
        header {
            h1 { "Does sharing this GPU pay?" }
            p.dim {
                "Group " b { (study.group) } " · " (plural(study.engines.len(), "engine")) " · " (study.gpu) (driver)
                " · " (date(study.began)) " · took " (took(study.took))
            }
        }
    }
}

pub(super) fn advice(recommended: &Recommendation, analysis: &Analysis) -> Markup {
    let class = match recommended.choice {
        Choice::Mps => "good",
        Choice::ByLoad => "wait",
        Choice::TimeSlicing | Choice::OneEngine | Choice::NoSharing => "bad",
        Choice::NoDifference | Choice::NotClear | Choice::NotMeasured => "dim",
    };
    html! {
        section.advice.(class) {
            h2 { (recommended.sentences.first().map_or("", String::as_str)) }
            (tiles(analysis))
            ul { @for sentence in recommended.sentences.iter().skip(1) { li { (sentence) } } }
        }
    }
}

/// The few numbers that matter most: medians over loads, from the least to the most.
pub(super) fn tiles(analysis: &Analysis) -> Markup {
    let over = |part: fn(&super::super::analysis::CellFigures) -> Option<Spread>| {
        Spread::of(
            analysis.cells.iter().filter(|cell| cell.failures.is_none()).filter_map(|cell| Some(part(cell)?.middle)),
        )
    };
    let all = [
        ("gain under MPS", over(|cell| cell.gain)),
        ("gain time-sliced", over(|cell| cell.sliced_gain)),
        ("MPS over time-slicing", over(|cell| cell.over_sliced)),
        ("MPS over one engine for all", over(|cell| cell.over_one)),
    ];
    html! {
        div.tiles {
            @for (name, ratio) in all { @if let Some(ratio) = ratio {
                div { b { (times(ratio.middle)) } span { (name) }
                small { (span(&ratio)) " over " (plural(ratio.runs, "load")) }
            }
            } }
        }
    }
}

pub(super) fn sections(study: &Study, analysis: &Analysis, recommended: &Recommendation) -> Markup {
    let note_gain = "How many times as much all engines get done together as one engine at a time: 1 is no gain. \
                     Whiskers and brackets: the interval that holds the true value in 95 of 100 studies.";
    let note_models = "What each engine keeps of its speed when all work at once, by prompt length. Medians over outputs \
                       and requests in flight, with the least and the most of them. At each load \
                       its inverse is the slow-down, and the sum over engines is the gain.";
    let note_throughput = "Prompt and generated tokens a second of all engines together, in each way to share the GPU. \
                           One at a time: the mean of the engines alone.";
    let note_latency = "A dot at p50, strokes at p90 and p99, of the engine that takes longest; one scale for all.";
    html! {
        (section("Gain by context", note_gain, charts::gains(analysis), html! {}))
        @if analysis.cells.len() >= MANY { (section("Where it pays", NOTE_MAPS, charts::maps(analysis), html! {})) }
        (section("Gain by load", "The gain under MPS, and what to use.", tables::gains(analysis, recommended), html! {}))
        (section("Gain by model and context", note_models, models(study, analysis), html! {}))
        (section("Throughput", note_throughput, charts::throughput(analysis),
            folded("Throughput in numbers", tables::throughput(analysis))))
        (section("Time to first token (TTFT)", note_latency, charts::latency(analysis, |way| way.ttft), html! {}))
        (section("Time per output token (TPOT)", note_latency, charts::latency(analysis, |way| way.tpot),
            folded("Engines and latencies in numbers (p50 / p90 / p99)", tables::engines(analysis))))
        (section("Engines", "", tables::studied(study, analysis, recommended), html! {}))
        @if !study.problems.is_empty() {
            (section("Problems", "", html! { ul { @for problem in &study.problems { li { (problem) } } } }, html! {}))
        }
        (section("Method", "", method(&study.plan), html! {}))
    }
}

pub(super) fn section(title: &str, note: &str, body: Markup, more: Markup) -> Markup {
    html! { section { h2 { (title) } @if !note.is_empty() { p.dim { (note) } } (body) (more) } }
}

pub(super) fn models(study: &Study, analysis: &Analysis) -> Markup {
    html! { div.beside { div { (charts::models(study, analysis)) } (tables::models(study, analysis)) } }
}

pub(super) fn folded(title: &str, body: Markup) -> Markup {
    html! { details { summary { (title) } (body) } }
}

pub(super) fn method(plan: &Plan) -> Markup {
    let told = |values: &[u32]| listed(&values.iter().map(u32::to_string).collect::<Vec<_>>());
    html! {
        p {
            "Prompts of " (told(&plan.prompts)) " tokens, outputs of " (told(&plan.outputs)) " (1: prefill only), "
            (told(&plan.concurrencies)) " requests in flight of each engine"
            @if let Some(rate) = plan.rate { " at most, " (short(rate)) " a second" } ". Each run: at least "
            (short(plan.warm_up)) " s of load until its rate is steady, then at least " (short(plan.seconds))
            " s that count, until enough requests began and ended in them; each arrangement "
            (plural(plan.repeats as usize, "time")) " at each load, interleaved, so that a drift favours none."
        }
        dl {
            dt { "one at a time" } dd {
                "One engine has work, without MPS and limits: the whole GPU. The others are started and idle."
            }
            dt { "MPS" } dd { "All engines have work, under MPS, with their limits." }
            dt { "time-sliced" } dd { "All engines have work, without MPS." }
            dt { "one for all" } dd { "One engine has the load of all of them; shown only where all serve the same model." }
            dt { "gain" } dd {
                "Sum over engines of the tokens per second together over those alone, of each repeat; the mean over the repeats."
            }
            dt { "slow-down" } dd { "Of an engine: its tokens per second alone over those together." }
            dt { "no difference" } dd {
                "A ratio within " (percent(NO_DIFFERENCE * 100.0)) " of 1 whose whole interval is within "
                (percent(NEAR * 100.0)) " of it."
            }
            dt { "not clear" } dd { "The interval holds 1 and reaches farther: the runs differ too much to say." }
            dt { "doubtful (?)" } dd {
                "Over " (percent(FAILURES * 100.0)) " of an engine's requests failed in a run; nothing is recommended by it."
            }
        }
    }
}
