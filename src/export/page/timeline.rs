//! The last hour, or what is known of it, of a group and its engines: states, faults, recoveries.

use std::time::Duration;

use maud::{Markup, html};

use super::figures::{clock_time, share};
use super::view::View;
use crate::export::concerns::Tone;
use crate::export::history::HOUR;
use crate::model::{EngineKey, EngineState, GroupState, GroupStatus, Incident, Moment};
use crate::text::figures::plural;
use crate::text::span::age;

/// Columns of a lane. What was worst in a column is what it shows, so that nothing is too short to be seen.
const COLUMNS: usize = 240;

/// What a column shows, from least to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shade {
    Nothing,
    Good,
    Dim,
    Wait,
    Bad,
}

impl Shade {
    fn of(tone: Tone) -> Shade {
        match tone {
            Tone::Good => Shade::Good,
            Tone::Wait => Shade::Wait,
            Tone::Bad => Shade::Bad,
            Tone::Dim => Shade::Dim,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Shade::Nothing => "none",
            Shade::Good => "good",
            Shade::Dim => "dim",
            Shade::Wait => "wait",
            Shade::Bad => "bad",
        }
    }
}

/// The tone of a group's state.
pub(super) fn group_tone(state: GroupState) -> Tone {
    match state {
        GroupState::Serving => Tone::Good,
        GroupState::Starting | GroupState::Recovering | GroupState::Degraded => Tone::Wait,
        GroupState::Held => Tone::Bad,
        GroupState::Stopped | GroupState::Unknown => Tone::Dim,
    }
}

/// The tone of an engine's state.
pub(super) fn engine_tone(state: EngineState) -> Tone {
    match state {
        EngineState::Serving => Tone::Good,
        EngineState::Starting | EngineState::Stopping | EngineState::Failing => Tone::Wait,
        EngineState::Quarantined => Tone::Bad,
        EngineState::Stopped | EngineState::Unknown => Tone::Dim,
    }
}

/// The last hour of a group; nothing where none of it is known.
pub(super) fn hour(view: &View<'_>, group: &GroupStatus) -> Markup {
    let (now, window) = (view.status.at, view.window());
    let Some(lane) = view.history.group(&group.name) else { return html! {} };
    let faults: Vec<&Incident> = view
        .incidents
        .iter()
        .map(AsRef::as_ref)
        .filter(|incident| incident.group == group.name && ago(view, incident) <= window.as_secs_f64())
        .collect();
    html! {
        section.hour aria-label={ (named(window)) " of " (group.name) } {
            p.dim { (summary(&lane.spans(now, window), window, &faults)) }
            div.lanes {
                (row("group", &drawn(&lane.spans(now, window), now, window, group_tone), html! {
                    @for fault in &faults { (mark(view, fault)) }
                }))
                @for engine in &group.engines {
                    @if let Some(past) = view.history.engine(&EngineKey::new(&group.name, &engine.name)) {
                        (row(engine.name.as_str(), &drawn(&past.states.spans(now, window), now, window, engine_tone), html! {}))
                    }
                }
                div.axis aria-hidden="true" { @for quarter in (0..=4).rev() { span { (tick(window, quarter)) } } }
            }
        }
    }
}

/// `Last hour`, `Last 4 min`.
pub(super) fn named(window: Duration) -> String {
    if window == HOUR { "Last hour".to_owned() } else { format!("Last {}", age(window)) }
}

/// What stands below the axis at so many quarters before now.
fn tick(window: Duration, quarters: u32) -> String {
    match quarters {
        0 => "now".to_owned(),
        4 => format!("{} ago", age(window)),
        _ => age(window / 4 * quarters),
    }
}

fn ago(view: &View<'_>, incident: &Incident) -> f64 {
    (view.made_at() - incident.evidence_at).max(0.0)
}

fn row(name: &str, paths: &[(&'static str, String)], marks: Markup) -> Markup {
    html! {
        span.lane-name { (name) }
        div.lane {
            svg viewBox="0 0 240 8" preserveAspectRatio="none" aria-hidden="true" {
                @for (class, path) in paths { path class={ "l-" (class) } d=(path) {} }
            }
            (marks)
        }
    }
}

/// A fault, where it began; it leads to its incident.
fn mark(view: &View<'_>, incident: &Incident) -> Markup {
    let place = 100.0 * (1.0 - ago(view, incident) / view.window().as_secs_f64());
    let what = format!("{} at {}", incident.fault, clock_time(incident.evidence_at));
    html! { a.fault href={ "#" (incident.id) } style={ "left:" (format!("{place:.1}")) "%" } title=(what) aria-label=(what) {} }
}

/// `Last hour: served 97 % of 42 min; 2 faults, 2 of them over.`
fn summary(spans: &[(Moment, Moment, GroupState)], window: Duration, faults: &[&Incident]) -> String {
    let long = |spans: &[(Moment, Moment, GroupState)]| -> Duration { spans.iter().map(|it| it.1.since(it.0)).sum() };
    let seen = long(spans);
    let serving: Vec<_> = spans.iter().filter(|(_, _, state)| *state == GroupState::Serving).copied().collect();
    let served = long(&serving).as_secs_f64() / seen.as_secs_f64().max(f64::MIN_POSITIVE);
    let over = faults.iter().filter(|fault| fault.ended_at.is_some()).count();
    let known = if seen < window { format!(" (known: {})", age(seen)) } else { String::new() };
    let faults = match faults.len() {
        0 => "no fault".to_owned(),
        count => format!("{}, {over} of them over", plural(count, "fault")),
    };
    format!("{}{known}: serving {} of the time; {faults}", named(window), share(served))
}

/// A path for each shade that is there.
fn drawn<T: Copy>(
    spans: &[(Moment, Moment, T)],
    now: Moment,
    window: Duration,
    tone: impl Fn(T) -> Tone,
) -> Vec<(&'static str, String)> {
    let column = |at: Moment| {
        let ago = now.since(at).as_secs_f64() / window.as_secs_f64();
        (COLUMNS as f64 * (1.0 - ago)).clamp(0.0, COLUMNS as f64)
    };
    let mut columns = [Shade::Nothing; COLUMNS];
    for (begin, end, state) in spans {
        let shade = Shade::of(tone(*state));
        let (first, last) = (column(*begin).floor() as usize, column(*end).ceil() as usize);
        for place in columns.iter_mut().take(last).skip(first) {
            *place = (*place).max(shade);
        }
    }
    let mut paths: Vec<(&'static str, String)> = Vec::new();
    let mut from = 0;
    for run in columns.chunk_by(|one, next| one == next) {
        if let Some(shade) = run.first().filter(|shade| **shade != Shade::Nothing) {
            let piece = format!("M{from} 0h{0}v8h-{0}z", run.len());
            match paths.iter_mut().find(|(class, _)| *class == shade.class()) {
                Some((_, path)) => path.push_str(&piece),
                None => paths.push((shade.class(), piece)),
            }
        }
        from += run.len();
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_of_two_seconds_is_seen_and_what_was_not_watched_is_empty() {
        let at = |seconds: u64| Moment::from_nanos(seconds * 1_000_000_000);
        let spans = [
            (at(3000), at(3602), GroupState::Serving),
            (at(3602), at(3604), GroupState::Recovering),
            (at(3604), at(3660), GroupState::Serving),
        ];
        let drawn = drawn(&spans, at(3660), HOUR, group_tone);
        assert_eq!(
            drawn,
            [("good", "M196 0h40v8h-40zM237 0h3v8h-3z".to_owned()), ("wait", "M236 0h1v8h-1z".to_owned())]
        );
    }
}
