//! The last incidents: evidence, decision, each step and how long it took.

use maud::{Markup, html};

use super::View;
use super::figures::{date_time, machine_time};
use crate::model::{Incident, IncidentLine};
use crate::text::cost::cost_of;
use crate::text::span::span_of;

/// Number of incidents that are shown; the API has the rest.
const SHOWN: usize = 20;
/// The narrowest a step is drawn, against the longest one's 100: a signal's millisecond beside a model's load.
const NARROWEST: f64 = 4.0;

pub(super) fn section(view: &View<'_>) -> Markup {
    html! {
        section.incidents {
            h2 { "Incidents" @if view.incidents.len() > SHOWN { small { " the last " (SHOWN) } } }
            @if view.incidents.is_empty() { p.dim { "None is remembered." } }
            @for (place, incident) in view.incidents.iter().take(SHOWN).enumerate() { (one(incident, place == 0)) }
        }
    }
}

/// One incident; the newest is open at first.
fn one(incident: &Incident, open: bool) -> Markup {
    let (tone, words) = result(incident);
    let steps = steps(incident);
    html! {
        details #(incident.id) open[open] {
            summary {
                time datetime=(machine_time(incident.evidence_at)) { (date_time(incident.evidence_at)) }
                " " b { (incident.fault) } " " (place(incident)) " "
                span class={ "badge " (tone) } { (words) }
                @if let Some(took) = took(incident) { " " span.dim { "after " (took) } }
            }
            p { b { "Evidence: " } (incident.because) }
            p { b { "Decided " } (offset(incident, incident.decided_at)) " after it" }
            @if let Some(cause) = &incident.caused_by { p { b { "Caused by: " } a href={ "#" (cause) } { (cause) } } }
            @if let Some(cost) = cost_of(incident.requests_in_flight, &incident.unavailable_seconds) { p { b { "Cost: " } (cost) } }
            @if let Some(verdict) = &incident.verdict { p { b { "Who: " } (verdict) } }
            @if !incident.suspects.is_empty() { (suspects(incident)) }
            @if !steps.is_empty() { (drawn(&steps)) }
            div.scroll {
                table {
                    thead { tr { th { "after" } th { "what" } th { "engine" } th { "" } } }
                    tbody { @for line in &incident.lines { (row(incident, line)) } }
                }
            }
            @if incident.omitted > 0 { p.dim { (incident.omitted) " lines in between are left out." } }
        }
    }
}

/// Every engine and what speaks for and against it, then what that rests on; folded.
fn suspects(incident: &Incident) -> Markup {
    html! {
        details {
            summary { "Suspects and evidence" }
            div.scroll {
                table {
                    thead { tr { th { "engine" } th { "strength" } th { "why" } } }
                    tbody {
                        @for held in &incident.suspects {
                            tr { td { (held.engine) } td { (held.strength) } td { (held.why.join("; ")) } }
                        }
                    }
                }
                table {
                    thead { tr { th { "after" } th { "source" } th { "engine" } th { "" } } }
                    tbody { @for line in &incident.evidence { (row(incident, line)) } }
                }
            }
        }
    }
}

fn row(incident: &Incident, line: &IncidentLine) -> Markup {
    html! {
        tr {
            td.number { (offset(incident, line.at)) }
            td { (line.word) }
            td { @if let Some(engine) = &line.engine { (engine) } }
            td { (line.text) }
        }
    }
}

/// A step's name and how long it took, in seconds.
fn steps(incident: &Incident) -> Vec<(&str, f64)> {
    let ended = incident.lines.iter().filter(|line| line.word == "step");
    ended.filter_map(|line| Some((line.text.split(' ').next()?, line.took?))).collect()
}

/// The steps side by side, each about as wide as it took long.
fn drawn(steps: &[(&str, f64)]) -> Markup {
    let longest = steps.iter().map(|(_, took)| *took).fold(f64::MIN_POSITIVE, f64::max);
    let wide = |took: f64| (took / longest * 100.0).max(NARROWEST);
    html! {
        ol.line {
            @for (name, took) in steps {
                li style={ "flex-grow:" (format!("{:.1}", wide(*took))) } { span { (name) } small { (seconds(*took)) } }
            }
        }
    }
}

fn result(incident: &Incident) -> (&'static str, &str) {
    match incident.result.as_deref() {
        None => ("wait", "going on"),
        Some(result @ ("serving" | "over")) => ("good", result),
        Some(result @ ("held" | "partly")) => ("bad", result),
        Some(result) => ("dim", result),
    }
}

fn place(incident: &Incident) -> String {
    match &incident.engine {
        Some(engine) => format!("{}/{engine}", incident.group),
        None => incident.group.to_string(),
    }
}

fn took(incident: &Incident) -> Option<String> {
    incident.ended_at.map(|ended| seconds(ended - incident.evidence_at))
}

fn offset(incident: &Incident, at: f64) -> String {
    let after = at - incident.evidence_at;
    if after < 0.0 { format!("-{}", seconds(-after)) } else { seconds(after) }
}

fn seconds(seconds: f64) -> String {
    span_of(seconds).unwrap_or_else(|| "?".to_owned())
}
