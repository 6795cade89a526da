//! Times as the documents have them: in RFC 3339 for people, and as seconds for arithmetic.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::Moment;

/// Where the boot lies on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wall {
    /// Seconds since 1970 of the boot.
    pub boot_seconds: f64,
}

impl Wall {
    /// Seconds since 1970 of a moment.
    pub(super) fn seconds(self, moment: Moment) -> f64 {
        self.boot_seconds + moment.as_secs_f64()
    }

    /// A moment in RFC 3339, and its seconds since 1970.
    pub(super) fn both(self, moment: Moment) -> (String, f64) {
        let seconds = self.seconds(moment);
        (rfc3339(seconds).unwrap_or_default(), seconds)
    }

    /// The same of a moment that may not be there.
    pub(super) fn both_of(self, moment: Option<Moment>) -> (Option<String>, Option<f64>) {
        moment.map(|moment| self.both(moment)).unzip()
    }
}

/// Seconds since 1970 in RFC 3339, UTC, with milliseconds; `None`: it is no time.
pub(super) fn rfc3339(seconds: f64) -> Option<String> {
    let timestamp = Timestamp::from_millisecond((seconds * 1e3).round() as i64).ok().filter(|_| seconds.is_finite())?;
    Some(timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// A number that JSON has; `None`: it is infinite, or none.
pub(super) fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

/// A span in seconds.
pub(super) fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_rfc_3339_to_the_millisecond() {
        assert_eq!(rfc3339(1_795_388_702.123).as_deref(), Some("2026-11-22T23:05:02.123Z"));
        assert_eq!(rfc3339(0.0).as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!([f64::NAN, f64::INFINITY, 1e300].map(rfc3339), [None, None, None]);
    }

    #[test]
    fn a_moment_is_told_by_the_wall_clock() {
        let wall = Wall { boot_seconds: 1_795_388_700.0 };
        let moment = Moment::from_nanos(2_500_000_000);
        assert_eq!(wall.both(moment), ("2026-11-22T23:05:02.500Z".to_owned(), 1_795_388_702.5));
        assert_eq!(wall.both_of(None), (None, None));
    }
}
