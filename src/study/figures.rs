//! A study's figures as people read them, the same in the terminal and in the report. Pure text.

use std::time::Duration;

use jiff::Timestamp;

use super::spread::Spread;
use crate::text::span::{age, span_of};

/// What was not measured.
pub(super) const NONE: &str = "–";

/// A ratio: `1.62`.
pub(super) fn times(ratio: f64) -> String {
    match ratio.abs() {
        ..100.0 => format!("{ratio:.2}"),
        _ => whole(ratio),
    }
}

/// What a ratio's runs span: `1.58–1.66`.
pub(super) fn span(ratio: &Spread) -> String {
    format!("{}–{}", times(ratio.low), times(ratio.high))
}

/// Tokens a second: `8.3`, `2600`.
pub(super) fn rate(tokens: f64) -> String {
    match tokens.abs() {
        ..10.0 => format!("{tokens:.1}"),
        _ => whole(tokens),
    }
}

fn whole(number: f64) -> String {
    match number.abs() {
        _ if !number.is_finite() => NONE.to_owned(),
        ..1e7 => format!("{number:.0}"),
        _ => format!("{number:.1e}"),
    }
}

/// A span of time: `12.3 ms`, `161 ms`, `5.37 s`.
pub(super) fn seconds(seconds: f64) -> String {
    span_of(seconds).unwrap_or_else(|| NONE.to_owned())
}

/// How long a study took: `42 s`, `24 min 3 s`.
pub(super) fn took(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(|_| NONE.to_owned(), age)
}

/// A number as short as it gets, on an axis or in a sentence: `512`, `4k`, `1.5k`, `2M`.
pub(super) fn short(number: f64) -> String {
    let of = |unit: f64, name: &str| {
        let digits = if (number / unit).fract().abs() < 0.05 { 0 } else { 1 };
        format!("{:.digits$}{name}", number / unit)
    };
    match number.abs() {
        ..1e3 => plain(number),
        ..1e6 => of(1e3, "k"),
        ..1e9 => of(1e6, "M"),
        _ if number.is_finite() => format!("{number:.0e}"),
        _ => NONE.to_owned(),
    }
}

/// A number with as few digits as it takes: `0`, `0.5`, `250`.
fn plain(number: f64) -> String {
    if !number.is_finite() {
        return NONE.to_owned();
    }
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Time on an axis: `100 µs`, `5 ms`, `2 s`.
pub(super) fn short_time(seconds: f64) -> String {
    match seconds {
        ..0.001 => format!("{} µs", plain(seconds * 1e6)),
        ..1.0 => format!("{} ms", plain(seconds * 1e3)),
        _ => format!("{} s", short(seconds)),
    }
}

/// `50 %`.
pub(super) fn percent(percentage: f64) -> String {
    format!("{} %", plain(percentage))
}

/// The figure, or that there is none.
pub(super) fn or_none<T>(figure: Option<T>, told: impl Fn(T) -> String) -> String {
    figure.map_or_else(|| NONE.to_owned(), told)
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// `2026-11-22 23:15 UTC` of seconds since 1970.
pub(super) fn date(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.map_or_else(|| NONE.to_owned(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_as_many_digits_as_they_are_worth() {
        assert_eq!([1.618, 0.5, 123.4, 1e300].map(times), ["1.62", "0.50", "123", "1.0e300"]);
        assert_eq!([8.26, 2600.4, 12e6].map(rate), ["8.3", "2600", "1.2e7"]);
        assert_eq!([0.00042, 0.0123, 0.161, 5.371].map(seconds), ["0.4 ms", "12.3 ms", "161 ms", "5.37 s"]);
        assert_eq!([0.0, 0.5, 512.0, 4096.0, 1500.0, 2e6].map(short), ["0", "0.5", "512", "4.1k", "1.5k", "2M"]);
        assert_eq!([1e-4, 5e-3, 2.0].map(short_time), ["100 µs", "5 ms", "2 s"]);
    }

    #[test]
    fn what_is_no_number_is_told_as_none() {
        for told in [
            times(f64::NAN),
            short(f64::NAN),
            rate(f64::INFINITY),
            percent(f64::NAN),
            took(f64::NAN),
            seconds(f64::INFINITY),
        ] {
            assert!(told.starts_with(NONE), "{told}");
        }
    }

    #[test]
    fn dates_and_lists_read_as_people_say_them() {
        assert_eq!((date(1_795_388_702), date(u64::MAX)), ("2026-11-22 23:05 UTC".to_owned(), NONE.to_owned()));
        let words = ["a", "b", "c"].map(str::to_owned);
        assert_eq!((listed(&words[..1]), listed(&words)), ("a".to_owned(), "a, b and c".to_owned()));
    }
}
