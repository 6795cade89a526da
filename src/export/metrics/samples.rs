//! Counters, histograms and what else outlives a status, by metric and labels, in a fixed order.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::catalogue::{Kind, Metric};
use super::families::{Families, harmless};

/// Separator of the labels of one series; none of them holds it.
const BETWEEN: char = '\0';

/// What a series holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A counter's or a gauge's.
    Number(f64),
    /// A histogram's.
    Histogram {
        /// Observations for each bucket, the last one without an upper bound.
        counts: Box<[u64]>,
        /// Sum of all observations.
        sum: f64,
    },
}

impl Value {
    /// 0, or no observations.
    pub(crate) fn zero(kind: Kind) -> Value {
        match kind {
            Kind::Counter | Kind::Gauge => Value::Number(0.0),
            Kind::Histogram(bounds) => Value::Histogram { counts: vec![0; bounds.len() + 1].into(), sum: 0.0 },
        }
    }

    /// Counts one duration in seconds in a histogram with the upper bounds of `kind`; nothing else takes one.
    pub(crate) fn observe(&mut self, kind: Kind, seconds: f64) {
        if let (Kind::Histogram(bounds), Value::Histogram { counts, sum }) = (kind, self) {
            // The bounds are inclusive: the first one that is not below the observation.
            counts[bounds.partition_point(|bound| *bound < seconds)] += 1;
            *sum += seconds;
        }
    }
}

/// One series; its labels' values are one text, since there are thousands of them.
#[derive(Clone, Debug)]
struct Series {
    metric: &'static Metric,
    values: Box<str>,
}

impl Series {
    fn new(metric: &'static Metric, values: &[&str]) -> Series {
        debug_assert_eq!(values.len(), metric.labels.len(), "label values of {}", metric.name);
        let mut joined = String::new();
        for (place, value) in values.iter().enumerate() {
            joined.extend((place > 0).then_some(BETWEEN));
            joined.push_str(&harmless(value));
        }
        Series { metric, values: joined.into() }
    }

    fn place(&self) -> (usize, &str) {
        (self.metric.row, &self.values)
    }
}

impl PartialEq for Series {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Series {}

impl PartialOrd for Series {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Series {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

/// Series of any number of metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(BTreeMap<Series, Value>);

impl Samples {
    /// Makes the series `value`.
    pub(super) fn set(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        *self.series(metric, labels) = Value::Number(value);
    }

    /// Adds 1 to the series.
    pub(super) fn count(&mut self, metric: &'static Metric, labels: &[&str]) {
        if let Value::Number(value) = self.series(metric, labels) {
            *value += 1.0;
        }
    }

    /// Adds to the series, which is a counter.
    pub(super) fn add(&mut self, metric: &'static Metric, labels: &[&str], more: f64) {
        if let Value::Number(value) = self.series(metric, labels) {
            *value += more;
        }
    }

    /// Counts one duration in seconds.
    pub(super) fn observe(&mut self, metric: &'static Metric, labels: &[&str], seconds: f64) {
        self.series(metric, labels).observe(metric.kind, seconds);
    }

    /// Makes the series known, at 0 or without observations.
    pub(super) fn expect(&mut self, metric: &'static Metric, labels: &[&str]) {
        self.series(metric, labels);
    }

    /// Adds every series to its family.
    pub(super) fn write(&self, families: &mut Families) {
        for (series, value) in &self.0 {
            families.value(series.metric, series.values.split(BETWEEN), value);
        }
    }

    fn series(&mut self, metric: &'static Metric, labels: &[&str]) -> &mut Value {
        self.0.entry(Series::new(metric, labels)).or_insert_with(|| Value::zero(metric.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{self as metric, ALL};
    use super::super::families::tests::samples;
    use super::*;

    #[test]
    fn labels_that_hold_what_keeps_them_apart_stay_apart() {
        let mut counted = Samples::default();
        counted.count(&metric::XID_ERRORS, &["0\0", "31"]);
        counted.count(&metric::XID_ERRORS, &["", ""]);
        counted.count(&metric::XID_ERRORS, &["0\0", "31"]);
        let mut families = Families::of(ALL);
        counted.write(&mut families);
        let expected = [
            "mps_gpu_xid_errors_total{gpu=\"\",xid=\"\"} 1",
            "mps_gpu_xid_errors_total{gpu=\"0\u{fffd}\",xid=\"31\"} 2",
        ];
        assert_eq!(samples(families), expected);
    }
}
