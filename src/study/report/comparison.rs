//! Several studies as one page: what each recommends, and MPS beside each alternative by model and context.

use maud::{Markup, html};

use super::axis::Axis;
use super::chart::{Chart, Kind, Series};
use super::charts::{COLOURS, chart, output_words, panels, ratio, tokens};
use super::document::{folded, page, section};
use super::heat::{Heat, HeatMap, maps, meaning};
use crate::study::analysis::Load;
use crate::study::compare::{Comparison, Entry, Versus, range, ratio_words, studies};
use crate::study::figures::{NONE, date, or_none, short};
use crate::study::recommend::advice;
use crate::study::sentences::SIMULATED;
use crate::text::figures::plural;

/// What stands above the maps.
const NOTE_MAPS: &str = "By model and context: each row is a study, each column a prompt length. 1 is as much as the \
                         alternative gets done.";
/// What stands above the charts.
const NOTE_CHARTS: &str = "Whiskers and brackets: the interval that holds the true value in 95 of 100 studies.";

impl Comparison {
    /// The whole report.
    pub fn html(&self) -> String {
        let names: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        let title = format!("Where does sharing pay? {}", names.join(", "));
        let body = html! {
            @if self.is_simulated() { p.simulated role="note" { b { "Simulated" } ": " (SIMULATED) } }
            header {
                h1 { "Where does sharing a GPU pay?" }
                p.dim { (studies(self.entries.len())) " beside each other, " (plural(self.loads.len(), "load")) " in all" }
            }
            main { (self.sections()) }
        };
        page(&title, env!("CARGO_PKG_VERSION"), body)
    }

    fn sections(&self) -> Markup {
        html! {
            @if !self.notes.is_empty() {
                (section("Before you compare them", "", html! { ul { @for note in &self.notes { li { (note) } } } }, html! {}))
            }
            (section("What each recommends", "", self.listed_headlines(), html! {}))
            (section("MPS beside what one would do without it", NOTE_MAPS, self.maps(), html! {}))
            @let drawn = Versus::ALL.map(|versus| (versus, self.charts(versus)));
            @if drawn.iter().any(|(_, charts)| !charts.is_empty()) {
                (section("The same as lines, and in numbers", NOTE_CHARTS, html! {
                    @for (versus, charts) in drawn { @if !charts.is_empty() { (self.lines(versus, charts)) } }
                }, html! {}))
            }
            (section("What each recommends for a load", "",
                self.numbers(|entry, load| entry.choice(load).map(|choice| advice(Some(choice)).to_owned())), html! {}))
            (section("The studies", "", self.table_of_studies(), html! {}))
        }
    }

    /// Folded charts, and the numbers behind them.
    fn lines(&self, versus: Versus, charts: Vec<Chart>) -> Markup {
        let told = |entry: &Entry, load| entry.cell(load).map(|cell| ratio_words(versus, cell));
        folded(versus.title(), html! { (panels(charts.into_iter(), Kind::Lines)) (self.numbers(told)) })
    }

    fn listed_headlines(&self) -> Markup {
        let said = |entry: &Entry| entry.recommended.sentences.first().map_or(NONE, String::as_str).to_owned();
        html! { ul { @for entry in &self.entries { li { b { (entry.name) } ": " (said(entry)) } } } }
    }

    /// Maps of everything that MPS is compared with.
    fn maps(&self) -> Markup {
        html! { (meaning()) @for versus in Versus::ALL { (maps(versus.title(), self.maps_of(versus))) } }
    }

    fn maps_of(&self, versus: Versus) -> Vec<HeatMap> {
        let prompts = self.distinct(|load| load.prompt);
        let of = |(output, concurrency): (u32, u32)| {
            let at = |entry: &Entry, prompt: u32| Heat::of(versus, entry.cell(Load { output, prompt, concurrency })?);
            let row = |entry: &Entry| (entry.name.clone(), prompts.iter().map(|prompt| at(entry, *prompt)).collect());
            HeatMap {
                title: self.title(output, concurrency),
                across: "prompt",
                down: "study",
                columns: prompts.iter().map(|prompt| tokens(*prompt)).collect(),
                rows: self.entries.iter().map(row).collect(),
            }
        };
        self.distinct(|load| (load.output, load.concurrency)).into_iter().map(of).collect()
    }

    /// One chart for each output and concurrency, one line for each study.
    fn charts(&self, versus: Versus) -> Vec<Chart> {
        let prompts = self.distinct(|load| load.prompt);
        let all = || self.entries.iter().flat_map(|entry| &entry.analysis.cells).filter_map(|cell| versus.ratio(cell));
        let of = |(output, concurrency): (u32, u32)| {
            let series = self.entries.iter().enumerate().map(|(at, entry)| Series {
                name: entry.name.clone(),
                class: COLOURS[at % COLOURS.len()],
                mark: at,
                points: prompts
                    .iter()
                    .map(|prompt| versus.ratio(entry.cell(Load { output, prompt: *prompt, concurrency })?))
                    .collect(),
            });
            let axis = Axis::linear(all().map(|ratio| ratio.high).chain([1.0]), short);
            let series = series.collect();
            Chart { axis, level: Some(1.0), ..chart(self.title(output, concurrency), &prompts, series, ratio) }
        };
        let charts = self.distinct(|load| (load.output, load.concurrency)).into_iter().map(of);
        charts.filter(Chart::has_points).collect()
    }

    fn title(&self, output: u32, concurrency: u32) -> String {
        format!("{}, {concurrency} in flight", output_words(output))
    }

    fn distinct<T: Ord>(&self, part: impl Fn(&Load) -> T) -> Vec<T> {
        self.loads.iter().map(part).collect::<std::collections::BTreeSet<T>>().into_iter().collect()
    }

    /// Loads down, studies across.
    fn numbers(&self, of: impl Fn(&Entry, Load) -> Option<String>) -> Markup {
        html! {
            div.scroll { table {
                thead { tr {
                    th.number { "output" } th.number { "prompt" } th.number { "in flight" }
                    @for entry in &self.entries { th.number { (entry.name) } }
                } }
                tbody { @for load in &self.loads {
                    tr {
                        td.number { (load.output) } td.number { (load.prompt) } td.number { (load.concurrency) }
                        @for entry in &self.entries { td.number { (or_none(of(entry, *load), |told| told)) } }
                    }
                } }
            } }
        }
    }

    fn table_of_studies(&self) -> Markup {
        html! {
            div.scroll { table {
                thead { tr {
                    th { "study" } th { "model" } th { "group" } th.number { "engines" } th { "GPU" } th { "measured" }
                    th.number { "gain" }
                } }
                tbody { @for entry in &self.entries {
                    tr {
                        th scope="row" { (entry.name) } td { (entry.models()) } td { (entry.study.group) }
                        td.number { (entry.analysis.engines.len()) } td { (entry.study.gpu) }
                        td { (date(entry.study.began)) } td.number { (or_none(entry.gain(), range)) }
                    }
                } }
            } }
        }
    }
}
