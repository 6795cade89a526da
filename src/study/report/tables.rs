//! The numbers behind the charts, as tables: those of the terminal and more.

use maud::{Markup, html};

use super::charts::kept;
use crate::study::analysis::{Analysis, CellFigures, EngineFigures, Load, Way, WayFigures};
use crate::study::figures::{NONE, or_none, percent, rate, seconds, span, times};
use crate::study::recommend::{Choice, Recommendation, advice};
use crate::study::results::{Percentiles, Study};
use crate::study::spread::Spread;
use crate::study::table::{cell_at, distinct, gain, rates, worst};

/// Outputs and prompts down, concurrencies across: the gain, and what is recommended.
pub(super) fn gains(analysis: &Analysis, recommended: &Recommendation) -> Markup {
    let across = distinct(analysis, |load| load.concurrency);
    let rows = distinct(analysis, |load| (load.output, load.prompt));
    let choice =
        |load: Load| recommended.loads.iter().find(|advised| advised.load == load).map(|advised| advised.choice);
    html! {
        div.scroll { table.matrix {
            thead { tr { th { "output" } th { "prompt" } @for some in &across { th { (some) " in flight" } } } }
            tbody { @for (output, prompt) in rows {
                tr {
                    th scope="row" { (output) } th scope="row" { (prompt) }
                    @for concurrency in across.iter().copied() {
                        @let load = Load { output, prompt, concurrency };
                        @match cell_at(analysis, load) {
                            Some(cell) => td class=(class(choice(load))) {
                                (gain(cell)) small { (advice(choice(load))) }
                            },
                            None => td { (NONE) },
                        }
                    }
                }
            } }
        } }
    }
}

fn class(choice: Option<Choice>) -> &'static str {
    match choice {
        Some(Choice::Mps) => "good",
        Some(Choice::TimeSlicing | Choice::OneEngine | Choice::NoSharing) => "bad",
        _ => "dim",
    }
}

/// What each engine keeps by prompt, and the gain.
pub(super) fn models(study: &Study, analysis: &Analysis) -> Markup {
    let prompts = distinct(analysis, |load| load.prompt);
    let gains = |prompt: u32| {
        Spread::of(
            analysis.cells.iter().filter(|cell| cell.load.prompt == prompt).filter_map(|cell| Some(cell.gain?.middle)),
        )
    };
    html! {
        div.scroll { table {
            thead { tr { th { "engine" } th { "model" } @for prompt in &prompts { th.number { (prompt) } } } }
            tbody {
                @for (at, engine) in study.engines.iter().enumerate() {
                    tr {
                        th scope="row" { (engine.name) } td { (engine.model.as_deref().unwrap_or(NONE)) }
                        @for prompt in &prompts { (ratio(kept(analysis, at, *prompt))) }
                    }
                }
                tr { th scope="row" { "gain" } td {} @for prompt in &prompts { (ratio(gains(*prompt))) } }
            }
        } }
    }
}

fn ratio(ratio: Option<Spread>) -> Markup {
    let told = or_none(ratio, |ratio| times(ratio.middle));
    html! { td.number { (told) @if let Some(ratio) = ratio { small { (span(&ratio)) } } } }
}

/// One row for each load.
pub(super) fn throughput(analysis: &Analysis) -> Markup {
    let total = |cell: &CellFigures, way| {
        let total = cell.total(way);
        let told = or_none(total, |total| rate(total.middle));
        html! { td.number { (told) @if let Some(total) = total { small { (rates(&total)) } } } }
    };
    html! {
        div.scroll { table {
            thead { tr {
                (load_heads())
                @for way in Way::ALL { th.number { (way.name()) } }
                th.number { "gain, MPS" } th.number { "gain, time-sliced" }
                th.number { "MPS / time-sliced" } th.number { "MPS / one for all" }
            } }
            tbody { @for cell in &analysis.cells {
                tr {
                    (load_cells(cell.load))
                    @for way in Way::ALL { (total(cell, way)) }
                    (ratio(cell.gain)) (ratio(cell.sliced_gain)) (ratio(cell.over_sliced)) (ratio(cell.over_one))
                }
            } }
        } }
    }
}

fn load_heads() -> Markup {
    html! { th.number { "output" } th.number { "prompt" } th.number { "in flight" } }
}

fn load_cells(load: Load) -> Markup {
    html! { td.number { (load.output) } td.number { (load.prompt) } td.number { (load.concurrency) } }
}

/// One row for each load and engine.
pub(super) fn engines(analysis: &Analysis) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                (load_heads()) th { "engine" } th.number { "slow-down" }
                @for way in Way::ALL { th.number { "generated tokens/s, " (way.name()) } }
                @for way in Way::ALL { th.number { "TTFT, " (way.name()) } }
                @for way in Way::ALL { th.number { "TPOT, " (way.name()) } }
            } }
            tbody { @for cell in &analysis.cells { @for engine in &cell.engines { (engine_row(cell.load, engine)) } } }
        } }
    }
}

fn engine_row(load: Load, engine: &EngineFigures) -> Markup {
    let generated = |way| or_none(engine.way(way).generated, |generated| rate(generated.middle));
    let parts: [fn(&WayFigures) -> Option<Percentiles>; 2] = [|way| way.ttft, |way| way.tpot];
    html! {
        tr {
            (load_cells(load)) th scope="row" { (engine.engine) } td.number { (or_none(engine.slowdown, times)) }
            @for way in Way::ALL { td.number { (generated(way)) } }
            @for part in parts { @for way in Way::ALL { td.number { (percentiles(part(engine.way(way)))) } } }
        }
    }
}

fn percentiles(all: Option<Percentiles>) -> String {
    or_none(all, |all| [all.p50, all.p90, all.p99].map(seconds).join(" / "))
}

/// The engines of the study and how they fared.
pub(super) fn studied(study: &Study, analysis: &Analysis, recommended: &Recommendation) -> Markup {
    let slowdown =
        |name: &str| recommended.slowdowns.iter().find(|(engine, _)| engine == name).map(|(_, times)| *times);
    html! {
        div.scroll { table {
            thead { tr {
                th { "engine" } th { "model" } th.number { "active threads" } th.number { "slow-down" }
                th.number { "worst TTFT p99 alone" } th.number { "under MPS" }
            } }
            tbody { @for (at, engine) in study.engines.iter().enumerate() {
                tr {
                    th scope="row" { (engine.name) } td { (engine.model.as_deref().unwrap_or(NONE)) }
                    td.number { (or_none(engine.sm_percentage, percent)) }
                    td.number { (or_none(slowdown(&engine.name), times)) }
                    td.number { (worst(analysis, at, Way::Alone)) } td.number { (worst(analysis, at, Way::Mps)) }
                }
            } }
        } }
    }
}
