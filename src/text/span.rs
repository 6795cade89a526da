//! Spans of time as people say them. The one place that spells a duration, outside of configurations (`config::units`)
//! and of the axes of charts.

use std::time::Duration;

/// Measured: `0.4 ms`, `12.3 ms`, `161 ms`, `5.37 s`; from two minutes on as [`age`].
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_micros() {
        0 => "0 ms".to_owned(),
        1..100_000 => format!("{:.1} ms", seconds * 1e3),
        100_000..1_000_000 => format!("{:.0} ms", seconds * 1e3),
        1_000_000..120_000_000 => format!("{seconds:.2} s"),
        _ => age(time),
    }
}

/// A span like [`span`], of seconds. Less than nothing is nothing. `None`: it is no number.
pub fn span_of(seconds: f64) -> Option<String> {
    match seconds {
        _ if !seconds.is_finite() => None,
        ..0.0 => Some(span(Duration::ZERO)),
        _ => Some(span(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))),
    }
}

/// An age to the second, in two units at most: `12 s`, `3 min 12 s`, `2 h`, `2 h 5 min`, `9 d 4 h`.
pub fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let (whole, rest) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3600 => ((minutes, "min"), (seconds % 60, "s")),
        3600..86_400 => ((hours, "h"), (minutes % 60, "min")),
        _ => ((days, "d"), (hours % 24, "h")),
    };
    match rest.0 {
        0 => format!("{} {}", whole.0, whole.1),
        _ => format!("{} {} {} {}", whole.0, whole.1, rest.0, rest.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_say_them() {
        let said = |micros| span(Duration::from_micros(micros));
        let all = [0, 413, 12_345, 161_000, 1_534_000, 723_000_000].map(said);
        assert_eq!(all, ["0 ms", "0.4 ms", "12.3 ms", "161 ms", "1.53 s", "12 min 3 s"]);
    }

    #[test]
    fn ages_have_two_units_at_most() {
        let said = [0, 59, 120, 192, 7_500, 792_000].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(said, ["0 s", "59 s", "2 min", "3 min 12 s", "2 h 5 min", "9 d 4 h"]);
    }

    #[test]
    fn what_is_no_span_is_none() {
        assert_eq!([-1.0, 5.37].map(span_of), [Some("0 ms".to_owned()), Some("5.37 s".to_owned())]);
        assert_eq!([f64::NAN, f64::INFINITY].map(span_of), [None, None]);
        assert!(span_of(1e300).is_some());
    }
}
