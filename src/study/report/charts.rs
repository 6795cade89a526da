//! Which charts a report has: gain by context, each engine's speed by context, throughput, latency.

use maud::{Markup, html};

use super::axis::Axis;
use super::chart::{Chart, Kind, Series, legend};
use super::heat::{self, Heat, HeatMap, meaning};
use crate::study::analysis::{Analysis, CellFigures, Load, Way, WayFigures};
use crate::study::compare::Versus;
use crate::study::figures::{self, rate, seconds, short, short_time, span, times};
use crate::study::results::{Percentiles, Study};
use crate::study::spread::Spread;
use crate::study::table::{cell_at, distinct, rates};

/// Colours of engines and concurrencies; they repeat.
pub(super) const COLOURS: [&str; 6] = ["c0", "c3", "c2", "c1", "c4", "c5"];
/// Colours of [`Way::ALL`].
const WAYS: [&str; 4] = ["rest", "c0", "c3", "c2"];
const CONTEXT: &str = "prompt, tokens";

/// One chart for each output, one line for each concurrency.
pub(super) fn gains(analysis: &Analysis) -> Markup {
    let [outputs, prompts, concurrencies] = axes(analysis);
    let of = |output: u32| {
        let series = concurrencies.iter().enumerate().map(|(at, some)| {
            let load = |prompt: &u32| Load { output, prompt: *prompt, concurrency: *some };
            let points = prompts.iter().map(|prompt| cell_at(analysis, load(prompt))?.gain).collect();
            Series { name: format!("{some} in flight"), class: COLOURS[at % COLOURS.len()], mark: at, points }
        });
        series.collect::<Vec<_>>()
    };
    let highest = || analysis.cells.iter().filter_map(|cell| Some(cell.gain?.high)).chain([1.0]);
    let charts = outputs.iter().map(|output| Chart {
        axis: Axis::linear(highest(), short),
        level: Some(1.0),
        ..chart(output_words(*output), &prompts, of(*output), ratio)
    });
    panels(charts, Kind::Lines)
}

/// A map for each output of everything that MPS is compared with.
pub(super) fn maps(analysis: &Analysis) -> Markup {
    let [outputs, prompts, concurrencies] = axes(analysis);
    let map = |versus: Versus, output: u32| {
        let at = |prompt: u32, some: u32| cell_at(analysis, Load { output, prompt, concurrency: some });
        let cell = |prompt: u32, some: u32| at(prompt, some).and_then(|cell| Heat::of(versus, cell));
        let row = |some: &u32| (some.to_string(), prompts.iter().map(|prompt| cell(*prompt, *some)).collect());
        HeatMap {
            title: output_words(output),
            across: "prompt",
            down: "in flight",
            columns: prompts.iter().map(|prompt| tokens(*prompt)).collect(),
            rows: concurrencies.iter().map(row).collect(),
        }
    };
    let all = |versus: Versus| outputs.iter().map(|output| map(versus, *output)).collect();
    html! { (meaning()) @for versus in Versus::ALL { (heat::maps(versus.title(), all(versus))) } }
}

/// One line for each engine: what it keeps under MPS of its speed alone.
pub(super) fn models(study: &Study, analysis: &Analysis) -> Markup {
    let [_, prompts, _] = axes(analysis);
    let series = study.engines.iter().enumerate().map(|(at, engine)| Series {
        name: engine.model.as_ref().map_or(engine.name.clone(), |model| format!("{} ({model})", engine.name)),
        class: COLOURS[at % COLOURS.len()],
        mark: at,
        points: prompts.iter().map(|prompt| kept(analysis, at, *prompt)).collect(),
    });
    let series: Vec<Series> = series.collect();
    let highest = series.iter().flat_map(|one| one.points.iter().flatten()).map(|point| point.high).chain([1.0]);
    let axis = Axis::linear(highest.collect::<Vec<_>>().into_iter(), short);
    let title = "Speed under MPS over speed alone".to_owned();
    panels([Chart { axis, level: Some(1.0), ..chart(title, &prompts, series, ratio) }].into_iter(), Kind::Lines)
}

/// What an engine keeps with prompts of this length: the median over the loads, from the least to the most.
pub(super) fn kept(analysis: &Analysis, engine: usize, prompt: u32) -> Option<Spread> {
    let cells = analysis.cells.iter().filter(|cell| cell.load.prompt == prompt);
    Spread::of(cells.filter_map(|cell| Some(cell.engines.get(engine)?.kept?.middle)))
}

/// One chart for each output and concurrency, one bar for each way.
pub(super) fn throughput(analysis: &Analysis) -> Markup {
    let told = |point: &Spread| format!("{} tokens/s ({})", rate(point.middle), rates(point));
    let charts = by_way(analysis, |cell, way| cell.total(way)).map(|(title, prompts, series)| {
        let highest = series.iter().flat_map(|one| one.points.iter().flatten()).map(|point| point.high);
        let axis = Axis::linear(highest.collect::<Vec<_>>().into_iter(), short);
        Chart { axis, ..chart(title, &prompts, series, told) }
    });
    panels(charts, Kind::Bars)
}

/// One chart for each output and concurrency, one range for each way: of the engine that takes longest.
pub(super) fn latency(analysis: &Analysis, part: fn(&WayFigures) -> Option<Percentiles>) -> Markup {
    let slowest = |cell: &CellFigures, way| {
        let Percentiles { p50, p90, p99 } = cell.slowest(way, part)?;
        Some(Spread { low: p50, middle: p90, high: p99, runs: 1 })
    };
    let all: Vec<Spread> =
        analysis.cells.iter().flat_map(|cell| Way::ALL.into_iter().filter_map(move |way| slowest(cell, way))).collect();
    let told = |point: &Spread| {
        format!("p50 {}, p90 {}, p99 {}", seconds(point.low), seconds(point.middle), seconds(point.high))
    };
    let charts = by_way(analysis, slowest).map(|(title, prompts, series)| Chart {
        axis: Axis::log(all.iter().flat_map(|point| [point.low, point.high]), short_time),
        ..chart(title, &prompts, series, told)
    });
    panels(charts, Kind::Ranges)
}

/// Charts by output and concurrency: title, prompts, and the ways that any load has a point of.
fn by_way(
    analysis: &Analysis,
    point: impl Fn(&CellFigures, Way) -> Option<Spread>,
) -> impl Iterator<Item = (String, Vec<u32>, Vec<Series>)> {
    let [_, prompts, _] = axes(analysis);
    let ways =
        Way::ALL.into_iter().zip(WAYS).filter(|(way, _)| analysis.cells.iter().any(|cell| point(cell, *way).is_some()));
    let ways: Vec<_> = ways.collect();
    let pairs = distinct(analysis, |load| (load.output, load.concurrency));
    pairs.into_iter().map(move |(output, concurrency)| {
        let title = format!("{}, {concurrency} in flight", output_words(output));
        let at = |prompt: &u32| cell_at(analysis, Load { output, prompt: *prompt, concurrency });
        let series = ways.iter().map(|(way, class)| Series {
            name: way.name().to_owned(),
            class,
            mark: 0,
            points: prompts.iter().map(|prompt| point(at(prompt)?, *way)).collect(),
        });
        (title, prompts.clone(), series.collect())
    })
}

fn axes(analysis: &Analysis) -> [Vec<u32>; 3] {
    [
        distinct(analysis, |load| load.output),
        distinct(analysis, |load| load.prompt),
        distinct(analysis, |load| load.concurrency),
    ]
}

pub(super) fn chart(title: String, prompts: &[u32], series: Vec<Series>, told: fn(&Spread) -> String) -> Chart {
    let xs = prompts.iter().map(|prompt| tokens(*prompt)).collect();
    let axis = Axis::linear(std::iter::empty(), short);
    Chart { title, x_name: CONTEXT, xs, axis, series, told, level: None }
}

/// `1024`, `32Ki`, `100k`: short where room is.
pub(super) fn tokens(count: u32) -> String {
    match count {
        0..10_000 => count.to_string(),
        _ if count.is_multiple_of(1024) => format!("{}Ki", count / 1024),
        _ => figures::short(f64::from(count)),
    }
}

pub(super) fn output_words(output: u32) -> String {
    if output == 1 { "prefill only".to_owned() } else { format!("outputs of {output} tokens") }
}

pub(super) fn ratio(point: &Spread) -> String {
    format!("{} ({})", times(point.middle), span(point))
}

/// The charts that have something to show, below the legend of all of them.
pub(super) fn panels(charts: impl Iterator<Item = Chart>, kind: Kind) -> Markup {
    let charts: Vec<Chart> = charts.filter(Chart::has_points).collect();
    html! {
        @if let Some(first) = charts.first() {
            (legend(&first.series, kind))
            div.charts { @for chart in &charts { (chart.draw(kind)) } }
        } @else {
            p.dim { "Not measured." }
        }
    }
}
