//! Figures of the terminal beside those of `text`: shares, counts, bars, times of day. Pure text.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::text::span::span_of;

/// A span of seconds; what is no span is `?`.
pub(super) fn span(seconds: f64) -> String {
    span_of(seconds).unwrap_or_else(|| "?".to_owned())
}

/// A share in percent: `45%`.
pub(super) fn share(part: f64) -> String {
    if part.is_finite() { format!("{:.0}%", part * 100.0) } else { "?".to_owned() }
}

/// A count that came as a float.
pub(super) fn count(number: f64) -> String {
    if number.is_finite() { format!("{number:.0}") } else { "?".to_owned() }
}

/// A bar of ten columns for a share; one over 1 is full.
pub(super) fn bar(part: f64) -> String {
    const COLUMNS: usize = 10;
    let full = if part.is_finite() { (part.clamp(0.0, 1.0) * COLUMNS as f64).round() as usize } else { 0 };
    format!("{}{}", "█".repeat(full), "░".repeat(COLUMNS - full))
}

/// Date and time of seconds since 1970 in a zone, as `pattern` (strftime) says; `?` for what is no time.
pub(super) fn time(seconds: f64, zone: &TimeZone, pattern: &str) -> String {
    match Timestamp::from_millisecond((seconds * 1e3) as i64) {
        Ok(timestamp) if seconds.is_finite() => timestamp.to_zoned(zone.clone()).strftime(pattern).to_string(),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_shares_take_any_number() {
        assert_eq!([0.0, 0.33, 1.0, 7.0].map(bar), ["░░░░░░░░░░", "███░░░░░░░", "██████████", "██████████"]);
        assert_eq!((bar(f64::NAN), share(f64::NAN), count(f64::NAN)), (bar(0.0), "?".to_owned(), "?".to_owned()));
        assert_eq!((share(0.453), span(f64::NAN)), ("45%".to_owned(), "?".to_owned()));
    }

    #[test]
    fn times_are_of_their_zone_and_garbage_is_told() {
        assert_eq!(time(1_795_388_702.123, &TimeZone::UTC, "%F %T%.3f"), "2026-11-22 23:05:02.123");
        assert_eq!([f64::NAN, 1e300].map(|seconds| time(seconds, &TimeZone::UTC, "%F")), ["?", "?"]);
    }
}
