//! Small charts of the last hour, or what is known of it, drawn here: no script, no request.

use maud::{Markup, html};

use super::timeline::named;
use super::view::View;
use crate::export::history::Course;

/// A chart's own units across: its drawing is scaled to the room there is.
const ACROSS: f64 = 240.0;
/// A chart's own units from its foot to its top.
const TALL: f64 = 32.0;

/// A figure over the time that the page looks back: its area, its label and the most that it was. `top` is the figure at the chart's top, at
/// least; `spell` says a figure.
pub(super) fn chart(
    view: &View<'_>,
    name: &str,
    course: Option<&Course>,
    top: f64,
    spell: impl Fn(f64) -> String,
) -> Markup {
    let window = view.window();
    let points: Vec<(f64, f64)> =
        course.map(|course| course.points(view.status.at, window).collect()).unwrap_or_default();
    let Some(most) = points.iter().map(|(_, figure)| *figure).reduce(f64::max) else { return html! {} };
    let most_said = spell(most);
    let (area, line) = drawn(&points, window.as_secs_f64(), most.max(top).max(f64::MIN_POSITIVE));
    html! {
        figure.chart {
            svg role="img" aria-label={ (named(window)) ", " (name) ": at most " (most_said) } viewBox="0 0 240 32" preserveAspectRatio="none" {
                path.area d=(area) {}
                path.line d=(line) {}
            }
            figcaption { (name) " · max " (most_said) }
        }
    }
}

/// The area under the points, and the line over it; both broken where nothing was known.
fn drawn(points: &[(f64, f64)], window: f64, top: f64) -> (String, String) {
    let at = |(ago, figure): &(f64, f64)| {
        let x = ACROSS * (1.0 - ago / window);
        (x.clamp(0.0, ACROSS), TALL - 1.0 - (figure / top).clamp(0.0, 1.0) * (TALL - 2.0))
    };
    let (mut area, mut line) = (String::new(), String::new());
    for run in points.chunk_by(|one, next| one.0 - next.0 <= Course::gap()) {
        let Some((first, last)) = run.first().zip(run.last()) else { continue };
        let steps: Vec<String> = run.iter().map(at).map(|(x, y)| format!("{x:.0} {y:.0}")).collect();
        let path = format!("M{}", thinned(&steps).join("L"));
        area.push_str(&format!("{path}V{TALL}H{:.0}Z", at(first).0));
        // One point alone is a dot.
        line.push_str(&if first == last { format!("{path}h1") } else { path });
    }
    (area, line)
}

/// Leaves out points in the middle of a level stretch.
fn thinned(steps: &[String]) -> Vec<&str> {
    let height = |step: &str| step.split(' ').nth(1).map(str::to_owned);
    let needed = |at: usize| {
        let neighbours = at.checked_sub(1).and_then(|before| Some((steps.get(before)?, steps.get(at + 1)?)));
        neighbours
            .is_none_or(|(before, after)| height(before) != height(&steps[at]) || height(after) != height(&steps[at]))
    };
    (0..steps.len()).filter(|at| needed(*at)).map(|at| steps[at].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_stretch_costs_two_points_and_a_gap_breaks_the_line() {
        let points: Vec<(f64, f64)> =
            (0..10).map(|step| (f64::from(600 - step * 15), 2.0)).chain([(0.0, 4.0)]).collect();
        let (area, line) = drawn(&points, 3600.0, 4.0);
        assert_eq!(line, "M200 16L209 16M240 1h1");
        assert_eq!(area, "M200 16L209 16V32H200ZM240 1V32H240Z");
    }
}
