//! Charts as SVG: lines, bars and ranges over the same few values of x. What is missing is left out.

use maud::{Markup, html};

use super::axis::Axis;
use crate::study::spread::Spread;

/// The drawing's own units; it is scaled to the room there is.
const WIDE: f64 = 360.0;
const HIGH: f64 = 224.0;
/// The plot inside it.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 352.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 180.0;
/// Width of a letter of the axes, about.
const LETTER: f64 = 6.6;
/// Share of its place along x that a group of marks takes.
const GROUP: f64 = 0.78;

/// One thing that is drawn over all of x.
pub(super) struct Series {
    /// Name for people.
    pub name: String,
    /// Its colour, as a class.
    pub class: &'static str,
    /// Mark of the series; they repeat after four.
    pub mark: usize,
    /// Points by place along x.
    pub points: Vec<Option<Spread>>,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// A line through medians, with whiskers.
    Lines,
    /// Bars up to medians, with whiskers.
    Bars,
    /// Strokes from low (a dot) over middle (a stroke) to high (a stroke): p50, p90, p99.
    Ranges,
}

/// One chart.
pub(super) struct Chart {
    /// Title above it.
    pub title: String,
    /// Name of the x axis.
    pub x_name: &'static str,
    /// Values of x, as printed.
    pub xs: Vec<String>,
    /// The y axis.
    pub axis: Axis,
    /// Series that are drawn.
    pub series: Vec<Series>,
    /// One point in words.
    pub told: fn(&Spread) -> String,
    /// A value with a line of its own.
    pub level: Option<f64>,
}

impl Chart {
    /// Whether there is anything to draw.
    pub(super) fn has_points(&self) -> bool {
        self.series.iter().any(|series| series.points.iter().any(Option::is_some))
    }

    /// The chart with its title.
    pub(super) fn draw(&self, kind: Kind) -> Markup {
        html! {
            figure {
                figcaption { (self.title) }
                svg role="img" aria-label=(self.in_words()) viewBox=(format!("0 0 {WIDE} {HIGH}")) {
                    (self.frame())
                    @for (at, series) in self.series.iter().enumerate() {
                        g class=(series.class) { (self.series(kind, at, series)) }
                    }
                }
            }
        }
    }

    /// Description for those who can't see it; the numbers are in the tables.
    fn in_words(&self) -> String {
        let names: Vec<&str> = self.series.iter().map(|series| series.name.as_str()).collect();
        format!("{}: {} by {}", self.title, names.join(", "), self.x_name)
    }

    fn frame(&self) -> Markup {
        let widest = self.xs.iter().map(|x| x.chars().count()).max().unwrap_or(1) as f64 * LETTER + LETTER;
        let every = (widest / self.step()).ceil().max(1.0) as usize;
        html! {
            @for tick in &self.axis.ticks {
                line.grid x1=(LEFT) x2=(RIGHT) y1=(n(self.y(*tick))) y2=(n(self.y(*tick))) {}
                text.y x=(LEFT - 6.0) y=(n(self.y(*tick) + 4.0)) { ((self.axis.told)(*tick)) }
            }
            @if let Some(level) = self.level {
                line.level x1=(LEFT) x2=(RIGHT) y1=(n(self.y(level))) y2=(n(self.y(level))) {}
            }
            @for (at, x) in self.xs.iter().enumerate().filter(|(at, _)| at % every == 0) {
                text.x x=(n(self.x(at))) y=(BOTTOM + 17.0) { (x) }
            }
            text.x x=(n((LEFT + RIGHT) / 2.0)) y=(BOTTOM + 36.0) { (self.x_name) }
        }
    }

    fn series(&self, kind: Kind, at: usize, series: &Series) -> Markup {
        let points = series.points.iter().enumerate().filter_map(|(index, point)| Some((index, (*point)?)));
        let points: Vec<(usize, Spread)> = points.collect();
        html! {
            @if kind == Kind::Lines {
                @for pair in points.windows(2).filter(|pair| pair[0].0 + 1 == pair[1].0) {
                    line.stroke x1=(n(self.x(pair[0].0))) y1=(n(self.y(pair[0].1.middle)))
                        x2=(n(self.x(pair[1].0))) y2=(n(self.y(pair[1].1.middle))) {}
                }
            }
            @for (index, point) in &points {
                g {
                    title { (series.name) ", " (self.xs[*index]) ": " ((self.told)(point)) }
                    @match kind {
                        Kind::Lines => {
                            (self.whisker(self.x(*index), point))
                            (mark(series.mark, self.x(*index), self.y(point.middle)))
                        }
                        Kind::Bars => (self.bar(*index, at, point)),
                        Kind::Ranges => (self.range(self.group_x(*index, at), point)),
                    }
                }
            }
        }
    }

    fn whisker(&self, x: f64, point: &Spread) -> Markup {
        let ends = [self.y(point.low), self.y(point.high)];
        html! {
            @if point.runs > 1 {
                line.thin x1=(n(x)) x2=(n(x)) y1=(n(ends[0])) y2=(n(ends[1])) {}
                @for end in ends { line.thin x1=(n(x - 2.5)) x2=(n(x + 2.5)) y1=(n(end)) y2=(n(end)) {} }
            }
        }
    }

    fn bar(&self, index: usize, at: usize, point: &Spread) -> Markup {
        let (x, y) = (self.group_x(index, at), self.y(point.middle));
        let wide = self.slot() * 0.84;
        let ends = [self.y(point.low), self.y(point.high)];
        html! {
            rect.fill x=(n(x - wide / 2.0)) y=(n(y)) width=(n(wide)) height=(n(BOTTOM - y)) {}
            @if point.runs > 1 { line.over x1=(n(x)) x2=(n(x)) y1=(n(ends[0])) y2=(n(ends[1])) {} }
        }
    }

    fn range(&self, x: f64, point: &Spread) -> Markup {
        let [low, middle, high] = [point.low, point.middle, point.high].map(|value| self.y(value));
        html! {
            line.stroke x1=(n(x)) x2=(n(x)) y1=(n(low)) y2=(n(high)) {}
            line.stroke x1=(n(x - 3.0)) x2=(n(x + 3.0)) y1=(n(middle)) y2=(n(middle)) {}
            line.stroke x1=(n(x - 4.5)) x2=(n(x + 4.5)) y1=(n(high)) y2=(n(high)) {}
            circle.fill cx=(n(x)) cy=(n(low)) r="3.2" {}
        }
    }

    /// Room along x of each value.
    fn step(&self) -> f64 {
        (RIGHT - LEFT) / self.xs.len().max(1) as f64
    }

    fn x(&self, index: usize) -> f64 {
        LEFT + self.step() * (index as f64 + 0.5)
    }

    /// Room along x of each series of a group.
    fn slot(&self) -> f64 {
        self.step() * GROUP / self.series.len().max(1) as f64
    }

    fn group_x(&self, index: usize, at: usize) -> f64 {
        self.x(index) + self.slot() * (at as f64 + 0.5 - self.series.len() as f64 / 2.0)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * self.axis.at(value)
    }
}

/// A coordinate.
fn n(number: f64) -> String {
    format!("{number:.1}")
}

fn mark(which: usize, x: f64, y: f64) -> Markup {
    let path = |points: &[(f64, f64)]| {
        let told: Vec<String> =
            points.iter().map(|(right, down)| format!("{},{}", n(x + right), n(y + down))).collect();
        told.join(" ")
    };
    html! {
        @match which % 4 {
            0 => circle.fill cx=(n(x)) cy=(n(y)) r="4" {},
            1 => polygon.fill points=(path(&[(-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)])) {},
            2 => polygon.fill points=(path(&[(0.0, -4.8), (4.6, 3.6), (-4.6, 3.6)])) {},
            _ => polygon.fill points=(path(&[(0.0, -5.2), (5.2, 0.0), (0.0, 5.2), (-5.2, 0.0)])) {},
        }
    }
}

/// What the marks and colours of these series mean.
pub(super) fn legend(series: &[Series], kind: Kind) -> Markup {
    html! {
        ul.legend {
            @for one in series {
                li {
                    svg class=(one.class) viewBox="0 0 14 14" aria-hidden="true" {
                        @if kind == Kind::Lines { (mark(one.mark, 7.0, 7.0)) }
                        @else { rect.fill x="2" y="2" width="10" height="10" {} }
                    }
                    (one.name)
                }
            }
        }
    }
}
