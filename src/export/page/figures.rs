//! Figures for people: bytes, ages, times, bars. Pure text and SVG.

use jiff::Timestamp;
use maud::{Markup, html};

const GIB: f64 = (1u64 << 30) as f64;
/// A bar's own units across: its drawing is scaled to the room there is.
const ACROSS: f64 = 100.0;

/// `40 GiB`, `1.5 GiB`, `512 MiB`.
pub fn bytes(bytes: u64) -> String {
    let gib = bytes as f64 / GIB;
    match bytes {
        0 => "0".to_owned(),
        1..0x4000_0000 => format!("{:.0} MiB", gib * 1024.0),
        _ if gib < 10.0 => format!("{gib:.1} GiB"),
        _ => format!("{gib:.0} GiB"),
    }
}

/// `0.3 s`, `42 s`, `3 min`, `5 h`, `2 d`.
pub fn ago(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

/// `3 engines`, `1 engine`.
pub fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// `48 %`.
pub fn share(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

/// `1.62`.
pub fn factor(factor: f64) -> String {
    format!("{factor:.2}")
}

/// `23:15:02 UTC`.
pub fn clock_time(seconds: f64) -> String {
    formatted(seconds, "%H:%M:%S UTC")
}

/// `2026-11-22 23:15:02 UTC`.
pub fn date_time(seconds: f64) -> String {
    formatted(seconds, "%Y-%m-%d %H:%M:%S UTC")
}

/// As HTML's `datetime` wants it.
pub fn machine_time(seconds: f64) -> String {
    formatted(seconds, "%Y-%m-%dT%H:%M:%SZ")
}

fn formatted(seconds: f64, format: &str) -> String {
    let at = Timestamp::from_millisecond((seconds * 1e3) as i64).unwrap_or_default();
    at.strftime(format).to_string()
}

/// A part of a bar.
pub struct Part {
    /// Of the whole.
    pub amount: f64,
    /// Its colour, as a class.
    pub class: &'static str,
    /// For people, on pointing at it.
    pub title: String,
}

/// A bar of parts of `whole`, left to right. What is over the whole is cut off. `label` is for who can't see it.
pub fn bar(label: &str, whole: f64, parts: &[Part]) -> Markup {
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
    fn bytes_are_told_in_the_unit_that_people_use() {
        let told = [0, 66 << 20, 3 << 29, 40 << 30].map(bytes);
        assert_eq!(told, ["0", "66 MiB", "1.5 GiB", "40 GiB"]);
    }

    #[test]
    fn ages_are_told_to_two_digits() {
        assert_eq!([0.34, 42.2, 180.0, 7300.0, 1e6].map(ago), ["0.3 s", "42 s", "3 min", "2 h", "12 d"]);
    }

    #[test]
    fn times_are_told_with_their_zone() {
        assert_eq!(date_time(1_795_389_302.5), "2026-11-22 23:15:02 UTC");
        assert_eq!((clock_time(f64::NAN), clock_time(1e300)), ("00:00:00 UTC".to_owned(), "00:00:00 UTC".to_owned()));
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
