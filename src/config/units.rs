//! Durations and sizes as people write them: `30s`, `40GiB`. Pure.

use std::time::Duration;

const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// The longest duration: sums of a few never overflow.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// What a duration looks like.
pub(crate) const DURATION_HINT: &str = r#"a whole number with ms, s, m, h or d, at most 365d: "500ms", "30s", "10m""#;

/// What a size looks like.
pub(crate) const SIZE_HINT: &str =
    r#"a whole number with B, KiB, MiB, GiB or TiB: "512MiB", "40GiB"; or bytes without quotes"#;

/// `500ms`, `30s`, `10m`, `1h`, `7d`; at most 365 days.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let length = Duration::from_millis(scaled(text, &DURATIONS)?);
    (length <= LONGEST).then_some(length)
}

/// `512MiB`, `40GiB`: bytes.
pub(crate) fn size(text: &str) -> Option<u64> {
    scaled(text, &SIZES)
}

/// The inverse of [`duration`], for whole milliseconds.
pub(crate) fn write_duration(length: Duration) -> String {
    written(u64::try_from(length.as_millis()).unwrap_or(u64::MAX), &DURATIONS, "0s")
}

/// The inverse of [`size`].
pub(crate) fn write_size(bytes: u64) -> String {
    written(bytes, &SIZES, "0B")
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn written(amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    match units.iter().rev().find(|(_, factor)| amount.is_multiple_of(*factor)) {
        Some((name, factor)) if amount > 0 => format!("{}{name}", amount / factor),
        _ => zero.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_and_sizes_read_as_people_write_them() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        assert_eq!(duration("10m"), Some(Duration::from_secs(600)));
        assert_eq!(size("40GiB"), Some(40 << 30));
        assert_eq!(size("7B"), Some(7));
    }

    #[test]
    fn what_is_not_a_whole_number_with_a_unit_is_refused() {
        for text in ["", "s", "30", "-1s", "1.5s", "30 s", "30S", "366d", "99999999999999999999s", "ⅷs"] {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["", "GiB", "40", "40GB", "40gib", "99999999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0u64..31_536_000_000, bytes: u64) {
            let length = Duration::from_millis(millis);
            prop_assert_eq!(duration(&write_duration(length)), Some(length));
            prop_assert_eq!(size(&write_size(bytes)), Some(bytes));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (duration(&text), size(&text));
        }
    }
}
