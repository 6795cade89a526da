//! Counters, histograms and what else outlives a status, by metric and labels, in a fixed order.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::catalogue::Metric;
use super::exposition::{self, Exposition, Value};

/// One series; its labels are text already, so that a page costs no escapes.
#[derive(Clone, Debug)]
struct Series {
    metric: &'static Metric,
    labels: Box<str>,
}

impl Series {
    fn place(&self) -> (usize, &str) {
        (self.metric.row, &self.labels)
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
pub struct Samples(BTreeMap<Series, Value>);

impl Samples {
    /// Makes the series `value`.
    pub fn set(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        *self.series(metric, labels) = Value::Number(value);
    }

    /// Adds 1 to the series.
    pub fn count(&mut self, metric: &'static Metric, labels: &[&str]) {
        if let Value::Number(value) = self.series(metric, labels) {
            *value += 1.0;
        }
    }

    /// Counts one duration in seconds.
    pub fn observe(&mut self, metric: &'static Metric, labels: &[&str], seconds: f64) {
        self.series(metric, labels).observe(metric.kind, seconds);
    }

    /// Makes the series known, at 0 or without observations.
    pub fn expect(&mut self, metric: &'static Metric, labels: &[&str]) {
        self.series(metric, labels);
    }

    /// Adds every series to the page.
    pub fn write(&self, page: &mut Exposition) {
        for (series, value) in &self.0 {
            page.series(series.metric, &series.labels, value);
        }
    }

    fn series(&mut self, metric: &'static Metric, labels: &[&str]) -> &mut Value {
        let series = Series { metric, labels: exposition::labels(metric, labels).into() };
        self.0.entry(series).or_insert_with(|| Value::zero(metric.kind))
    }
}
