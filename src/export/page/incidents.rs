//! The last incidents: evidence, decision, each step and how long it took.

use maud::{Markup, html};

use super::View;
use super::figures::{date_time, machine_time};
use super::waterfall;
use crate::model::{Incident, IncidentLine};
use crate::text::cost::cost_of;
use crate::text::span::span_of;

/// Number of incidents that are shown; the API has the rest.
const SHOWN: usize = 20;
/// Bytes of lines that all of them may have together: the page is to stay small, whatever happened. The newest come first.
const ROOM: usize = 28 * 1024;
/// Bytes that a line costs beside its text.
const LINE: usize = 90;

pub(super) fn section(view: &View<'_>) -> Markup {
    html! {
        section.incidents {
            h2 { "Incidents" @if view.incidents.len() > SHOWN { small { " the last " (SHOWN) } } }
            @if view.incidents.is_empty() { p.dim { "None is remembered." } }
            @for (place, (incident, fits)) in within(view).into_iter().enumerate() { (one(incident, place == 0, fits)) }
        }
    }
}

/// Those that are shown, each with how much of it fits.
fn within<'a>(view: &'a View<'_>) -> Vec<(&'a Incident, Fits)> {
    let mut room = ROOM;
    let shown = view.incidents.iter().take(SHOWN).map(|incident| {
        let evidence = cost(&incident.evidence)
            + incident.suspects.iter().map(|it| it.why.iter().map(String::len).sum::<usize>() + LINE).sum::<usize>();
        let with_evidence = evidence <= room;
        room -= if with_evidence { evidence } else { 0 };
        let mut lines = 0;
        for line in &incident.lines {
            let Some(left) = room.checked_sub(line.text.len() + LINE) else { break };
            (room, lines) = (left, lines + 1);
        }
        (incident.as_ref(), Fits { with_evidence, lines })
    });
    shown.collect()
}

/// How much of an incident is shown.
#[derive(Clone, Copy)]
struct Fits {
    with_evidence: bool,
    lines: usize,
}

fn cost(lines: &[IncidentLine]) -> usize {
    lines.iter().map(|line| line.text.len() + LINE).sum()
}

/// One incident; the newest is open at first.
fn one(incident: &Incident, open: bool, fits: Fits) -> Markup {
    let (tone, words) = result(incident);
    let left_out = incident.lines.len() - fits.lines + incident.omitted as usize;
    html! {
        details #(incident.id) open[open] {
            summary id={ (incident.id) "-summary" } {
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
            (waterfall::drawn(incident))
            @if fits.with_evidence && !incident.suspects.is_empty() { (suspects(incident)) }
            @if fits.lines > 0 {
                details #{ (incident.id) "-lines" } {
                    summary id={ (incident.id) "-lines-summary" } { "Everything that happened" }
                    div.scroll tabindex="0" role="region" aria-label="Time line" {
                        table {
                            thead { tr { th { "after" } th { "what" } th { "engine" } th { "" } } }
                            tbody { @for line in incident.lines.iter().take(fits.lines) { (row(incident, line)) } }
                        }
                    }
                }
            }
            @if left_out > 0 { p.dim { (left_out) " lines are not here: " code { "mpswarden incidents " (incident.id) } } }
        }
    }
}

/// Every engine and what speaks for and against it, then what that rests on; folded.
fn suspects(incident: &Incident) -> Markup {
    html! {
        details #{ (incident.id) "-who" } {
            summary id={ (incident.id) "-who-summary" } { "Suspects and evidence" }
            div.scroll tabindex="0" role="region" aria-label="Suspects and evidence" {
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
