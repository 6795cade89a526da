//! Metric families of the `prometheus` crate, by the catalogue's rows. It knows no metric by name.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Series, MetricFamily, MetricType};

use super::catalogue::{self, Kind, Metric};
use super::samples::Value;
use crate::text::plain::is_order;

/// Families in the making. Each metric's series gather by themselves, since the format wants them together and
/// readings come by group.
pub(crate) struct Families {
    /// Series by the catalogue's rows; `None`: not asked for.
    series: Vec<Option<Vec<Series>>>,
}

impl Families {
    /// Families of these rows; what is added to others is left out.
    pub(crate) fn of(rows: &[&Metric]) -> Families {
        let mut series = vec![None; catalogue::ALL.len()];
        rows.iter().for_each(|row| series[row.row] = Some(Vec::new()));
        Families { series }
    }

    /// A series of a counter or a gauge; `values` are its labels' in the order of the metric's names.
    pub(crate) fn number(&mut self, metric: &'static Metric, values: &[&str], number: f64) {
        debug_assert_eq!(values.len(), metric.labels.len(), "label values of {}", metric.name);
        let Some(family) = &mut self.series[metric.row] else { return };
        family.push(of_number(metric.kind, pairs(metric.labels, values.iter().copied()), number));
    }

    /// An enumeration, one series a word: 1 for `current`, 0 for every other of `all`. Its label is the last.
    pub(crate) fn states(
        &mut self,
        metric: &'static Metric,
        values: &[&str],
        all: impl Iterator<Item = &'static str>,
        current: Option<&str>,
    ) {
        let Some((state, names)) = metric.labels.split_last() else { return };
        debug_assert_eq!(names.len(), values.len(), "label values of {}", metric.name);
        let Some(family) = &mut self.series[metric.row] else { return };
        let shared = pairs(names, values.iter().copied());
        for word in all {
            let mut labels = Vec::with_capacity(metric.labels.len());
            labels.extend_from_slice(&shared);
            labels.push(pair(state, word));
            family.push(of_number(metric.kind, labels, if Some(word) == current { 1.0 } else { 0.0 }));
        }
    }

    /// A series of any kind.
    pub(crate) fn value<'a>(&mut self, metric: &'static Metric, values: impl Iterator<Item = &'a str>, value: &Value) {
        let Some(family) = &mut self.series[metric.row] else { return };
        let labels = pairs(metric.labels, values);
        match (metric.kind, value) {
            (Kind::Histogram(bounds), Value::Histogram { counts, sum }) => {
                let mut series = Series::from_label(labels);
                series.set_histogram(histogram(bounds, counts, *sum));
                family.push(series);
            }
            (Kind::Counter | Kind::Gauge, Value::Number(number)) => {
                family.push(of_number(metric.kind, labels, *number));
            }
            (Kind::Histogram(_), Value::Number(_)) | (Kind::Counter | Kind::Gauge, Value::Histogram { .. }) => {}
        }
    }

    /// The families that have a series.
    pub(crate) fn finish(self) -> Vec<MetricFamily> {
        let rows = catalogue::ALL.iter().zip(self.series);
        let told = rows.filter_map(|(metric, series)| Some((metric, series.filter(|series| !series.is_empty())?)));
        told.map(|(metric, series)| family(metric, series)).collect()
    }
}

fn of_number(kind: Kind, labels: Vec<LabelPair>, number: f64) -> Series {
    let mut series = Series::from_label(labels);
    // No -0: it means nothing here.
    let number = number + 0.0;
    if kind == Kind::Counter {
        let mut counter = Counter::default();
        counter.set_value(number);
        series.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(number);
        series.set_gauge(gauge);
    }
    series
}

fn family(metric: &Metric, series: Vec<Series>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram(_) => MetricType::HISTOGRAM,
    });
    family.set_metric(series);
    family
}

/// `counts` are by bucket, those of the crate by all up to its bound. The one without a bound is the crate's to add.
fn histogram(bounds: &[f64], counts: &[u64], sum: f64) -> Histogram {
    let mut below = 0;
    let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum);
    histogram
}

fn pairs<'a>(names: &[&str], values: impl Iterator<Item = &'a str>) -> Vec<LabelPair> {
    let mut pairs = Vec::with_capacity(names.len());
    pairs.extend(names.iter().zip(values).map(|(name, value)| pair(name, value)));
    pairs
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(harmless(value));
    pair
}

/// A label's text as it may be shown. The encoder escapes what would break a line of the format. Other characters that
/// drive a terminal or turn a line are valid there, but they are never meant: each becomes U+FFFD.
pub(super) fn harmless(value: &str) -> String {
    if value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return value.to_owned();
    }
    let plain = |c| if c != '\n' && is_order(c) { char::REPLACEMENT_CHARACTER } else { c };
    value.chars().map(plain).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(crate) mod tests {
    use prometheus::TextEncoder;
    use proptest::prelude::*;

    use super::super::catalogue as metric;
    use super::*;

    /// The samples as text, without what the format says of them.
    pub(crate) fn samples(families: Families) -> Vec<String> {
        let text = TextEncoder::new().encode_to_string(&families.finish()).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    fn one(gpu: &str, number: f64) -> String {
        let mut families = Families::of(catalogue::ALL);
        families.number(&metric::GPU_BUSY, &[gpu], number);
        let lines = samples(families);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    }

    #[test]
    fn what_would_break_a_line_or_drive_a_terminal_is_escaped_or_replaced() {
        let line = one("a\"b\\c\nd\re\u{1b}[2J\0é\u{7f}\u{9b}\u{202e}", 0.5);
        let label = "a\\\"b\\\\c\\nd\u{fffd}e\u{fffd}[2J\u{fffd}é\u{fffd}\u{fffd}\u{fffd}";
        assert_eq!(line, format!("mps_gpu_busy_ratio{{gpu=\"{label}\"}} 0.5"));
    }

    #[test]
    fn an_enumeration_is_1_for_its_current_word_alone() {
        let mut families = Families::of(catalogue::ALL);
        families.states(&metric::GPU_RECOVERY_ACTION, &["0"], ["none", "gpu_reset"].into_iter(), Some("gpu_reset"));
        let expected = [
            "mps_gpu_recovery_action{gpu=\"0\",action=\"none\"} 0",
            "mps_gpu_recovery_action{gpu=\"0\",action=\"gpu_reset\"} 1",
        ];
        assert_eq!(samples(families), expected);
    }

    #[test]
    fn a_metric_without_a_series_has_no_family_and_neither_has_one_that_is_not_asked_for() {
        let mut families = Families::of(&[&metric::PROCESS_THREADS, &metric::PROCESS_CPU]);
        families.number(&metric::PROCESS_THREADS, &[], 7.0);
        families.number(&metric::PROCESS_MAX_FDS, &[], 7.0);
        families.states(&metric::GPU_RECOVERY_ACTION, &["0"], ["none"].into_iter(), None);
        let families = families.finish();
        let names: Vec<&str> = families.iter().map(MetricFamily::name).collect();
        assert_eq!(names, ["process_threads"]);
    }

    #[test]
    fn a_histograms_buckets_hold_all_up_to_their_bound() {
        let mut value = Value::zero(metric::RECOVERY_SECONDS.kind);
        [0.25, 0.3, 2000.0].iter().for_each(|seconds| value.observe(metric::RECOVERY_SECONDS.kind, *seconds));
        let mut families = Families::of(catalogue::ALL);
        families.value(&metric::RECOVERY_SECONDS, ["llms", "clients"].into_iter(), &value);
        let lines = samples(families);
        let labels = "group=\"llms\",tier=\"clients\"";
        for (suffix, labels, number) in [
            ("bucket", format!("{labels},le=\"0.25\""), "1"),
            ("bucket", format!("{labels},le=\"0.5\""), "2"),
            ("bucket", format!("{labels},le=\"900\""), "2"),
            ("bucket", format!("{labels},le=\"+Inf\""), "3"),
            ("sum", labels.to_owned(), "2000.55"),
            ("count", labels.to_owned(), "3"),
        ] {
            let line = format!("mps_recovery_seconds_{suffix}{{{labels}}} {number}");
            assert!(lines.contains(&line), "{line} is not in {lines:#?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_label_says_its_line_is_one_and_orders_nothing(gpu in any::<String>()) {
            let line = one(&gpu, 1.0);
            prop_assert!(!line.chars().any(is_order), "{:?}", line);
            let value = line.strip_prefix("mps_gpu_busy_ratio{gpu=\"").unwrap().strip_suffix("\"} 1").unwrap();
            let read = value.replace("\\\\", "\0").replace("\\n", "\n").replace("\\\"", "\"").replace('\0', "\\");
            prop_assert_eq!(read, harmless(&gpu));
        }

        #[test]
        fn any_number_is_read_back_as_it_was(number in prop::num::f64::ANY) {
            let line = one("0", number);
            let read: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
            prop_assert!(read == number || (read.is_nan() && number.is_nan()), "{}", line);
        }
    }
}
