//! Sample values by metric and labels, in a fixed order, and their text. It knows no metric by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::TextEncoder;
use prometheus::proto::{self, MetricFamily, MetricType};

use super::catalogue::{Kind, Metric};

/// One series' label values, in the order of the metric's label names.
type LabelValues = Arc<[String]>;

/// What a series holds.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    /// A counter's or a gauge's.
    Number(f64),
    /// A histogram's: observations for each bucket, the last one without an upper bound.
    Histogram { counts: Vec<u64>, sum: f64 },
}

/// All series of one metric.
#[derive(Clone, Debug)]
struct Family {
    metric: &'static Metric,
    series: BTreeMap<LabelValues, Value>,
}

/// Series of any number of metrics. A clone is cheap: label values are shared.
#[derive(Clone, Debug, Default)]
pub struct Samples(BTreeMap<&'static str, Family>);

impl Samples {
    /// Makes the series `value`.
    pub fn set(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        *self.series(metric, labels) = Value::Number(value);
    }

    /// Adds to the series; adding 0 makes it known.
    pub fn add(&mut self, metric: &'static Metric, labels: &[&str], more: f64) {
        if let Value::Number(value) = self.series(metric, labels) {
            *value += more;
        }
    }

    /// Counts one duration in seconds.
    pub fn observe(&mut self, metric: &'static Metric, labels: &[&str], seconds: f64) {
        let Kind::Histogram(bounds) = metric.kind else { return };
        if let Value::Histogram { counts, sum } = self.series(metric, labels) {
            // The bounds are inclusive: the first one that is not below the observation.
            counts[bounds.partition_point(|bound| *bound < seconds)] += 1;
            *sum += seconds;
        }
    }

    /// Makes the series known, at 0 or without observations.
    pub fn expect(&mut self, metric: &'static Metric, labels: &[&str]) {
        self.series(metric, labels);
    }

    /// Drops every series that `keep` says no to, given its label names and values.
    pub fn retain(&mut self, keep: impl Fn(&[&str], &[String]) -> bool) {
        for family in self.0.values_mut() {
            family.series.retain(|values, _| keep(family.metric.labels, values));
        }
    }

    /// Both in the exposition format, by name. No metric may be in both.
    pub fn text(&self, others: &Samples) -> String {
        let mut families: Vec<MetricFamily> =
            self.0.values().chain(others.0.values()).filter_map(Family::proto).collect();
        families.sort_by(|one, other| one.name().cmp(other.name()));
        let mut text = String::new();
        // Memory takes every write and no family is empty, so this does not happen.
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
            tracing::error!("metrics are incomplete: {error}");
        }
        text
    }

    fn series(&mut self, metric: &'static Metric, labels: &[&str]) -> &mut Value {
        debug_assert_eq!(labels.len(), metric.labels.len(), "label values of {}", metric.name);
        let family = self.0.entry(metric.name).or_insert_with(|| Family { metric, series: BTreeMap::new() });
        let values = labels.iter().map(|value| (*value).to_owned()).collect();
        family.series.entry(values).or_insert_with(|| Value::zero(metric.kind))
    }
}

impl Value {
    fn zero(kind: Kind) -> Value {
        match kind {
            Kind::Counter | Kind::Gauge => Value::Number(0.0),
            Kind::Histogram(bounds) => Value::Histogram { counts: vec![0; bounds.len() + 1], sum: 0.0 },
        }
    }
}

impl Family {
    /// In the encoder's words; `None` without a series, which the encoder would refuse.
    fn proto(&self) -> Option<MetricFamily> {
        if self.series.is_empty() {
            return None;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.metric.name.to_owned());
        family.set_help(self.metric.help.to_owned());
        family.set_field_type(match self.metric.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram(_) => MetricType::HISTOGRAM,
        });
        family.set_metric(self.series.iter().map(|(values, value)| sample(self.metric, values, value)).collect());
        Some(family)
    }
}

fn sample(metric: &Metric, values: &[String], value: &Value) -> proto::Metric {
    let mut sample = proto::Metric::from_label(metric.labels.iter().zip(values).map(label).collect());
    match (metric.kind, value) {
        (Kind::Histogram(bounds), Value::Histogram { counts, sum }) => {
            sample.set_histogram(histogram(bounds, counts, *sum))
        }
        (Kind::Counter, Value::Number(number)) => {
            let mut counter = proto::Counter::default();
            counter.set_value(*number);
            sample.set_counter(counter);
        }
        (_, Value::Number(number)) => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(*number);
            sample.set_gauge(gauge);
        }
        (_, Value::Histogram { .. }) => {}
    }
    sample
}

fn label((name, value): (&&'static str, &String)) -> proto::LabelPair {
    let mut pair = proto::LabelPair::default();
    pair.set_name((*name).to_owned());
    pair.set_value(value.clone());
    pair
}

fn histogram(bounds: &[f64], counts: &[u64], sum: f64) -> proto::Histogram {
    let mut below = 0;
    let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
        below += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum);
    histogram
}
