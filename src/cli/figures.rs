//! Figures as people read them: ages, spans, bytes, shares, bars, times of day. Pure text.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

const GIB: f64 = (1u64 << 30) as f64;

/// Two units at most: `0s`, `12s`, `3m12s`, `2h05m`, `9d04h`.
pub(super) fn age(passed: Duration) -> String {
    let seconds = passed.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A span of seconds as `0.4 ms`, `161 ms`, `5.37 s`, `3m12s`; what is no span is `?`.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        _ if !seconds.is_finite() => "?".to_owned(),
        ..0.0 => "0 ms".to_owned(),
        ..0.01 => format!("{:.1} ms", seconds * 1e3),
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        ..120.0 => format!("{seconds:.2} s"),
        _ => age(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
    }
}

/// GiB with one digit, less than 1 in MiB.
pub(super) fn bytes(amount: u64) -> String {
    match amount {
        0 => "0".to_owned(),
        1..0x4000_0000 => format!("{} MiB", amount >> 20),
        _ => format!("{:.1} GiB", amount as f64 / GIB),
    }
}

/// `20.0/60.0 GiB`.
pub(super) fn bytes_of(amount: u64, limit: u64) -> String {
    format!("{:.1}/{:.1} GiB", amount as f64 / GIB, limit as f64 / GIB)
}

/// `45%`.
pub(super) fn share(part: f64) -> String {
    if part.is_finite() { format!("{:.0}%", part * 100.0) } else { "?".to_owned() }
}

/// `1.62`.
pub(super) fn factor(number: f64) -> String {
    if number.is_finite() { format!("{number:.2}") } else { "?".to_owned() }
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
    fn ages_have_two_units_at_most() {
        let said = [0, 59, 192, 7_500, 792_000].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(said, ["0s", "59s", "3m12s", "2h05m", "9d04h"]);
    }

    #[test]
    fn spans_read_as_people_say_them_and_garbage_is_told() {
        assert_eq!([0.0004, 0.161, 5.37, 192.0].map(span), ["0.4 ms", "161 ms", "5.37 s", "3m12s"]);
        assert_eq!([-1.0, f64::NAN, f64::INFINITY, 1e300].map(span)[..3], ["0 ms", "?", "?"]);
    }

    #[test]
    fn bars_and_shares_take_any_number() {
        assert_eq!([0.0, 0.33, 1.0, 7.0].map(bar), ["░░░░░░░░░░", "███░░░░░░░", "██████████", "██████████"]);
        assert_eq!((bar(f64::NAN), share(f64::NAN), count(f64::NAN)), (bar(0.0), "?".to_owned(), "?".to_owned()));
        assert_eq!((share(0.453), bytes_of(20 << 30, 60 << 30)), ("45%".to_owned(), "20.0/60.0 GiB".to_owned()));
        assert_eq!([1.618, f64::INFINITY].map(factor), ["1.62", "?"]);
        assert_eq!([0, 5 << 20, 3 << 29].map(bytes), ["0", "5 MiB", "1.5 GiB"]);
    }

    #[test]
    fn times_are_of_their_zone_and_garbage_is_told() {
        assert_eq!(time(1_795_388_702.123, &TimeZone::UTC, "%F %T%.3f"), "2026-11-22 23:05:02.123");
        assert_eq!([f64::NAN, 1e300].map(|seconds| time(seconds, &TimeZone::UTC, "%F")), ["?", "?"]);
    }
}
