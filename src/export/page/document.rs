//! The page as a whole, and the part of it that its script fetches again.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::figures::{self, clock_time};
use super::view::View;
use super::{groups, incidents};
use crate::text::figures::plural;

use crate::model::{EngineState, GroupState};
use crate::text::plain;

pub(super) const STYLE: &str = include_str!("style.css");
pub(super) const SCRIPT: &str = include_str!("live.js");
/// Age in seconds at which a status is shown with a warning: the page is for looking at just then.
pub(super) const OLD: f64 = 5.0;

/// The whole page.
pub fn document(view: &View<'_>) -> String {
    let title = format!("{} · mpswarden", headline(view));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "mpswarden" }
                    nav {
                        a href={ "." (view.telemetry_path) } { "metrics" }
                        a href="./api/v1/status" { "status" }
                        a href="./api/v1/incidents" { "incidents" }
                        a href="./-/ready" { "ready" }
                        a href="./-/healthy" { "healthy" }
                    }
                }
                main { (live(view)) }
                footer { "mpswarden " (view.build.version) " · nothing on this page changes anything: orders go through the control socket" }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    // `curl` of it must not drive a terminal, whatever a model is called.
    plain::lines(&page.into_string())
}

/// What the script fetches again and puts into the page.
pub fn fragment(view: &View<'_>) -> String {
    plain::lines(&live(view).into_string())
}

pub(super) fn live(view: &View<'_>) -> Markup {
    html! {
        p.sum role="status" { strong { (headline(view)) } " · " (counts(view)) " · " time { (clock_time(view.made_at())) } span #pulse {} }
        @if view.age() > OLD {
            p.warn { "The core loop last published its status " (figures::ago(view.age())) " ago: what follows may be over." }
        }
        @if !view.status.ready {
            p.warn { "Not every source has reported yet." }
        }
        @for source in view.status.sources.iter().filter(|source| source.is_blind()) {
            p.warn { "Blind: " (view.source_words(source)) }
        }
        @for gpu in &view.status.gpus { (groups::gpu(view, gpu)) }
        (incidents::section(view))
    }
}

/// The worst thing there is to say, in a few words.
pub(super) fn headline(view: &View<'_>) -> String {
    let groups = &view.status.groups;
    let in_state = |state| groups.iter().filter(|group| group.state == state).count();
    let worst = [GroupState::Held, GroupState::Recovering, GroupState::Degraded, GroupState::Unknown];
    for state in worst {
        if let count @ 1.. = in_state(state) {
            return format!("{} {state}", plural(count, "group"));
        }
    }
    match in_state(GroupState::Serving) {
        serving if serving == groups.len() => "all serving".to_owned(),
        serving => format!("{serving} of {} serving", plural(groups.len(), "group")),
    }
}

pub(super) fn counts(view: &View<'_>) -> String {
    let groups = &view.status.groups;
    let engines = groups.iter().flat_map(|group| &group.engines);
    let serving = engines.clone().filter(|engine| engine.state == EngineState::Serving).count();
    let faults: usize = groups.iter().map(|group| group.faults.len()).sum();
    format!("{serving} of {} serve · {}", plural(engines.count(), "engine"), plural(faults, "fault"))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
