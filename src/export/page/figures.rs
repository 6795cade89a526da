//! Figures of the page beside those of `text`: ages, times, bars. Pure text and SVG.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::text::span::age;

/// A bar's own units across: its drawing is scaled to the room there is.
const ACROSS: f64 = 100.0;

/// Time since then: `42 s`, `3 min 12 s`.
pub(super) fn ago(seconds: f64) -> String {
    age(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `48 %`.
pub(super) fn share(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

/// `23:15:02 UTC`.
pub(super) fn clock_time(seconds: f64) -> String {
    formatted(seconds, "%H:%M:%S UTC")
}

/// The same by the host's clock, `00:15:02 CET`; `None`: that is UTC.
pub(super) fn local_time(seconds: f64, zone: &TimeZone) -> Option<String> {
    let local = timestamp(seconds).to_zoned(zone.clone());
    let name = local.strftime("%Z").to_string();
    (local.offset().seconds() != 0).then(|| format!("{} {name}", local.strftime("%H:%M:%S")))
}

/// `2026-11-22 23:15:02 UTC`.
pub(super) fn date_time(seconds: f64) -> String {
    formatted(seconds, "%Y-%m-%d %H:%M:%S UTC")
}

/// A time as HTML's `datetime` wants it.
pub(super) fn machine_time(seconds: f64) -> String {
    formatted(seconds, "%Y-%m-%dT%H:%M:%SZ")
}

fn formatted(seconds: f64, format: &str) -> String {
    timestamp(seconds).strftime(format).to_string()
}

fn timestamp(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond((seconds * 1e3) as i64).unwrap_or_default()
}

/// A part of a bar.
pub(super) struct Part {
    /// Amount of the whole.
    pub amount: f64,
    /// Its colour, as a class.
    pub class: &'static str,
    /// Text for people, on pointing at it.
    pub title: String,
}

/// A bar of parts of `whole`, left to right. What is over the whole is cut off. `label` is for who can't see it.
pub(super) fn bar(label: &str, whole: f64, parts: &[Part]) -> Markup {
    let mut from = 0.0;
    let rooms: Vec<(f64, f64, &Part)> = parts
        .iter()
        .map(|part| {
            let wide = (part.amount / whole.max(f64::MIN_POSITIVE) * ACROSS).clamp(0.0, ACROSS - from);
            let room = (from, wide, part);
            from += wide;
            room
        })
        .collect();
    html! {
        svg.bar role="img" aria-label=(label) viewBox="0 0 100 10" preserveAspectRatio="none" {
            @for (x, wide, part) in rooms {
                rect class=(part.class) x=(format!("{x:.2}")) y="0" width=(format!("{wide:.2}")) height="10" {
                    title { (part.title) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_with_their_zone() {
        assert_eq!(date_time(1_795_389_302.5), "2026-11-22 23:15:02 UTC");
        assert_eq!((clock_time(f64::NAN), clock_time(1e300)), ("00:00:00 UTC".to_owned(), "00:00:00 UTC".to_owned()));
    }

    #[test]
    fn the_hosts_own_time_is_told_where_it_is_another() {
        assert_eq!(local_time(1_795_389_302.5, &TimeZone::UTC), None);
        let cet = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(local_time(1_795_389_302.5, &cet).as_deref(), Some("00:15:02 +01"));
    }

    #[test]
    fn a_bar_never_grows_over_its_whole() {
        let part = |amount| Part { amount, class: "a", title: "<&>".to_owned() };
        let drawn = bar("memory", 10.0, &[part(6.0), part(8.0), part(1.0)]).into_string();
        assert!(drawn.contains("x=\"60.00\" y=\"0\" width=\"40.00\""), "{drawn}");
        assert!(drawn.contains("x=\"100.00\" y=\"0\" width=\"0.00\""), "{drawn}");
        assert!(drawn.contains("&lt;&amp;&gt;"), "{drawn}");
    }
}
