//! Spans of time and sizes, as people write them.

use std::time::Duration;

/// `10m`, `90s`, `500ms`, `2h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let (number, millis) = units.iter().find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, *millis)))?;
    Some(Duration::from_millis(number.parse::<u32>().ok().map(u64::from)?.checked_mul(millis)?))
}

/// `40GiB`, `512MiB`, or bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0), ("", 0)];
    let (number, shift) = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_have_units() {
        assert_eq!(duration("10m"), Some(Duration::from_secs(600)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!((duration("10"), duration("-1s"), duration("s")), (None, None, None));
        assert_eq!((size("40GiB"), size("7"), size("much")), (Some(40 << 30), Some(7), None));
        assert_eq!(size("99999999999GiB"), None);
    }
}
