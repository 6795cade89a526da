//! What an incident's time went into: a bar for each step, where it began and as long as it took, to scale.

use maud::{Markup, html};

use crate::model::{Incident, IncidentLine};
use crate::text::span::span_of;

/// Words that an engine's way to serving ends with; the end of a restart has others.
const STARTED: &str = "healthy";
/// Most bars; a storm has more steps than anybody looks at.
const MOST: usize = 24;

/// A step of an incident.
#[derive(Debug, PartialEq)]
struct Stretch<'a> {
    name: String,
    engine: Option<&'a str>,
    /// Seconds from the evidence to its begin.
    from: f64,
    took: f64,
}

/// The steps as bars; nothing where there is none.
pub(super) fn drawn(incident: &Incident) -> Markup {
    let steps = stretches(incident);
    let whole = steps.iter().map(|step| step.from + step.took).fold(f64::MIN_POSITIVE, f64::max);
    let percent = |seconds: f64| format!("{:.2}%", seconds / whole * 100.0);
    html! {
        @if !steps.is_empty() {
            ol.fall aria-label="Steps, to scale" {
                @for step in steps.iter().take(MOST) {
                    li {
                        span.name { (step.name) @if let Some(engine) = step.engine { " " (engine) } }
                        span.track { i style={ "left:" (percent(step.from)) ";width:" (percent(step.took)) } {} }
                        span.took { (span_of(step.took).unwrap_or_default()) }
                    }
                }
            }
        }
    }
}

/// Its steps, and each engine's way to serving, in the order in which they began.
fn stretches(incident: &Incident) -> Vec<Stretch<'_>> {
    let of = |line: &'_ IncidentLine| {
        let took = line.took?.max(0.0);
        let name = match (line.word.as_str(), &line.engine) {
            ("step", _) => line.text.split(' ').next()?.to_owned(),
            ("serving", Some(_)) if line.text.starts_with(STARTED) => "start of".to_owned(),
            _ => return None,
        };
        Some((name, (line.at - took - incident.evidence_at).max(0.0), took))
    };
    let mut steps: Vec<Stretch<'_>> = incident
        .lines
        .iter()
        .filter_map(|line| {
            let (name, from, took) = of(line)?;
            Some(Stretch { name, engine: line.engine.as_ref().map(|engine| engine.as_str()), from, took })
        })
        .collect();
    // Those that began within a millisecond stay in the order in which they ended.
    let begin = |step: &Stretch<'_>| (step.from * 1e3).round();
    steps.sort_by(|one, other| begin(one).total_cmp(&begin(other)));
    steps
}
