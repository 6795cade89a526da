//! `mpswarden incidents` for people: a table of all, or one with its evidence and time line. Pure text.

use super::choice::Numbered;
use super::figures::{span, time};
use crate::model::{Incident, IncidentLine, Strength, Suspicion};
use crate::text::cost::cost_of;
use crate::text::plain::one_line as clean;
use crate::text::screen::{Ink, Screen};
use crate::text::table::{Cell, Column, table};

/// A line for each incident, newest first, with its number and its whole ID.
pub fn incidents_text(known: &[Numbered], screen: &Screen) -> String {
    let of = |cell: &dyn Fn(&Incident) -> Cell| {
        known.iter().map(|(_, incident)| cell(incident)).collect::<Vec<_>>().into_iter()
    };
    let plain = |text: String| (text, Ink::Plain);
    let columns = vec![
        Column::right("#", 0, known.iter().map(|(number, _)| plain(number.to_string()))),
        Column::left("WHEN", 0, of(&|incident| plain(time(incident.evidence_at, &screen.zone, "%F %T")))),
        Column::left("WHERE", 0, of(&|incident| plain(place(incident)))),
        Column::left("FAULT", 0, of(&|incident| (incident.fault.to_string(), Ink::Bad))),
        Column::right("TOOK", 1, of(&|incident| plain(took(incident)))),
        Column::left("RESULT", 2, of(&result)),
        Column::left("ID", 0, of(&|incident| plain(incident.id.clone()))),
    ];
    table(columns, "", screen)
}

/// One incident: what it was, its evidence, and everything that happened, by its offset from the evidence.
pub fn incident_text(incident: &Incident, screen: &Screen) -> String {
    let (result, ink) = result(incident);
    let title = format!("{} in {}", incident.fault, place(incident));
    let mut text = format!("{}  {}\n", screen.paint(&clean(&title), Ink::Bold), screen.paint(&clean(&result), ink));
    text.push_str(&screen.prose("  id        ", Ink::Dim, &incident.id));
    let began = time(incident.evidence_at, &screen.zone, "%F %T%.3f %Z");
    text.push_str(&screen.prose("  began     ", Ink::Dim, &began));
    text.push_str(&screen.prose("  evidence  ", Ink::Dim, &incident.because));
    text.push_str(&who(incident, screen));
    let decided = format!("{} after the evidence", span(incident.decided_at - incident.evidence_at));
    text.push_str(&screen.prose("  decided   ", Ink::Dim, &decided));
    if incident.ended_at.is_some() {
        text.push_str(&screen.prose("  over      ", Ink::Dim, &format!("{} after the decision", took(incident))));
    }
    if let Some(cause) = &incident.caused_by {
        text.push_str(&screen.prose("  caused by ", Ink::Dim, cause));
    }
    if let Some(cost) = cost_of(incident.requests_in_flight, &incident.unavailable_seconds) {
        text.push_str(&screen.prose("  cost      ", Ink::Dim, &cost));
    }
    text.push('\n');
    text.push_str(&suspects(incident, screen));
    text.push_str(&time_line(incident, screen));
    if incident.omitted > 0 {
        let words = format!("{} lines of the middle are left out", incident.omitted);
        text.push_str(&screen.prose("  ", Ink::Dim, &words));
    }
    text
}

fn who(incident: &Incident, screen: &Screen) -> String {
    let verdict = incident.verdict.as_ref();
    verdict.map_or_else(String::new, |verdict| screen.prose("  who       ", Ink::Dim, verdict))
}

/// Each engine, most suspected first; then what that rests on.
fn suspects(incident: &Incident, screen: &Screen) -> String {
    if incident.suspects.is_empty() {
        return String::new();
    }
    let names = incident.suspects.iter().map(|held| clean(held.engine.as_str()));
    let widest = names.map(|name| name.chars().count()).max().unwrap_or_default();
    let ink = |strength: Strength| match strength {
        Strength::Convicted => Ink::Bad,
        Strength::Suspected => Ink::Warn,
        Strength::Weak => Ink::Plain,
        Strength::Cleared => Ink::Good,
    };
    let one = |held: &Suspicion| {
        let label = format!("  {:<widest$}  {:<9}  ", clean(held.engine.as_str()), held.strength);
        screen.prose(&label, ink(held.strength), &held.why.join("; "))
    };
    let each: String = incident.suspects.iter().map(one).collect();
    format!("{each}\n{}\n", lines("EVIDENCE", &incident.evidence, incident, screen))
}

fn time_line(incident: &Incident, screen: &Screen) -> String {
    lines("WHAT", &incident.lines, incident, screen)
}

/// Lines in columns, by their offset from the evidence.
fn lines(what: &'static str, lines: &[IncidentLine], incident: &Incident, screen: &Screen) -> String {
    let of = |cell: &dyn Fn(&IncidentLine) -> Cell| lines.iter().map(cell).collect::<Vec<_>>().into_iter();
    let offset = |line: &IncidentLine| format!("{:+.3} s", line.at - incident.evidence_at);
    let engine = |line: &IncidentLine| line.engine.as_ref().map(ToString::to_string).unwrap_or_default();
    let columns = vec![
        Column::right("AT", 0, of(&|line| (offset(line), Ink::Dim))),
        Column::left(what, 0, of(&|line| (line.word.clone(), word_ink(&line.word)))),
        Column::right("TOOK", 1, of(&|line| (line.took.map(span).unwrap_or_default(), Ink::Plain))),
        Column::left("ENGINE", 0, of(&|line| (engine(line), Ink::Plain))),
        Column::left("", 0, of(&|line| (line.text.clone(), Ink::Plain))),
    ];
    table(columns, "  ", screen)
}

fn place(incident: &Incident) -> String {
    match &incident.engine {
        Some(engine) => format!("{}/{engine}", incident.group),
        None => incident.group.to_string(),
    }
}

fn took(incident: &Incident) -> String {
    incident.ended_at.map_or("-".to_owned(), |ended| span(ended - incident.decided_at))
}

fn result(incident: &Incident) -> Cell {
    match incident.result.as_deref() {
        None => ("not over".to_owned(), Ink::Warn),
        Some(result @ ("serving" | "over")) => (result.to_owned(), Ink::Good),
        Some(result @ "held") => (result.to_owned(), Ink::Bad),
        Some(result) => (result.to_owned(), Ink::Warn),
    }
}

/// Colour of a word as the demo's story has it: ends that are good, what is done, and the rest, which is what went
/// wrong.
fn word_ink(word: &str) -> Ink {
    match word {
        "serving" | "released" | "fault_over" | "hold_over" => Ink::Good,
        "step" | "started" | "server_up" | "control_up" | "exited" | "backoff" => Ink::Plain,
        "restart" | "suppressed" | "ordered" | "hold" | "partly" | "superseded" | "failing" => Ink::Warn,
        _ => Ink::Bad,
    }
}
