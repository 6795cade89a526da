//! The text exposition format 0.0.4: lines by metric, then all in one piece. It knows no metric by name.

use std::fmt::Write;

use super::catalogue::{self, Kind, Metric};
use crate::text::plain::is_order;

/// What a series holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A counter's or a gauge's.
    Number(f64),
    /// A histogram's.
    Histogram {
        /// Observations for each bucket, the last one without an upper bound.
        counts: Box<[u64]>,
        /// Of all observations.
        sum: f64,
    },
}

impl Value {
    /// 0, or no observations.
    pub fn zero(kind: Kind) -> Value {
        match kind {
            Kind::Counter | Kind::Gauge => Value::Number(0.0),
            Kind::Histogram(bounds) => Value::Histogram { counts: vec![0; bounds.len() + 1].into(), sum: 0.0 },
        }
    }

    /// Counts one duration in seconds in a histogram with the upper bounds of `kind`; nothing else takes one.
    pub fn observe(&mut self, kind: Kind, seconds: f64) {
        if let (Kind::Histogram(bounds), Value::Histogram { counts, sum }) = (kind, self) {
            // The bounds are inclusive: the first one that is not below the observation.
            counts[bounds.partition_point(|bound| *bound < seconds)] += 1;
            *sum += seconds;
        }
    }
}

/// A page in the making. Each metric's lines gather by themselves, since the format wants them together and
/// readings come by group. Kept from page to page for its memory.
pub struct Exposition {
    /// By the catalogue's rows.
    families: Vec<Family>,
    /// Rows by name, in which order they are told.
    order: Vec<usize>,
}

struct Family {
    /// HELP and TYPE.
    head: String,
    lines: String,
}

impl Default for Exposition {
    fn default() -> Self {
        let families = catalogue::ALL.iter().map(|metric| Family::new(metric)).collect();
        let mut order: Vec<usize> = (0..catalogue::ALL.len()).collect();
        order.sort_by_key(|row| catalogue::ALL[*row].name);
        Exposition { families, order }
    }
}

impl Exposition {
    /// A series of a counter or a gauge; `values` are its labels' in the order of the metric's names.
    pub fn number(&mut self, metric: &'static Metric, values: &[&str], number: f64) {
        let lines = &mut self.families[metric.row].lines;
        lines.push_str(metric.name);
        if !values.is_empty() {
            lines.push('{');
            push_labels(lines, metric, values);
            lines.push('}');
        }
        push_value(lines, number);
    }

    /// An enumeration, one series a word: 1 for `current`, 0 for every other of `all`. Its label is the last.
    pub fn states(
        &mut self,
        metric: &'static Metric,
        values: &[&str],
        all: impl Iterator<Item = &'static str>,
        current: Option<&str>,
    ) {
        let Some((state, names)) = metric.labels.split_last() else { return };
        debug_assert_eq!(names.len(), values.len(), "label values of {}", metric.name);
        let lines = &mut self.families[metric.row].lines;
        let begin = lines.len();
        lines.push_str(metric.name);
        lines.push('{');
        push_pairs(lines, names, values);
        lines.push_str(if names.is_empty() { "" } else { "," });
        lines.push_str(state);
        lines.push_str("=\"");
        // The first line's beginning is every line's.
        let shared = begin..lines.len();
        for (place, word) in all.enumerate() {
            if place > 0 {
                lines.extend_from_within(shared.clone());
            }
            lines.push_str(word);
            lines.push_str(if Some(word) == current { "\"} 1\n" } else { "\"} 0\n" });
        }
    }

    /// A series whose labels are text already, as `labels` makes it.
    pub fn series(&mut self, metric: &'static Metric, labels: &str, value: &Value) {
        let lines = &mut self.families[metric.row].lines;
        match (metric.kind, value) {
            (Kind::Histogram(bounds), Value::Histogram { counts, sum }) => {
                push_histogram(lines, metric.name, labels, bounds, counts, *sum);
            }
            (_, Value::Number(number)) => push_line(lines, metric.name, "", labels, *number),
            (_, Value::Histogram { .. }) => {}
        }
    }

    /// The page, by name; metrics without a series are left out. Begins anew afterwards.
    pub fn take(&mut self) -> String {
        let size = self.families.iter().map(|family| family.head.len() + family.lines.len()).sum();
        let mut text = String::with_capacity(size);
        for row in &self.order {
            let family = &mut self.families[*row];
            if !family.lines.is_empty() {
                text.push_str(&family.head);
                text.push_str(&family.lines);
                family.lines.clear();
            }
        }
        text
    }
}

impl Family {
    fn new(metric: &Metric) -> Family {
        let Metric { name, help, kind, .. } = metric;
        Family { head: format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str()), lines: String::new() }
    }
}

/// Label names and values as a line has them between its braces.
pub fn labels(metric: &Metric, values: &[&str]) -> String {
    let mut text = String::new();
    push_labels(&mut text, metric, values);
    text
}

fn push_labels(text: &mut String, metric: &Metric, values: &[&str]) {
    debug_assert_eq!(values.len(), metric.labels.len(), "label values of {}", metric.name);
    push_pairs(text, metric.labels, values);
}

fn push_pairs(text: &mut String, names: &[&str], values: &[&str]) {
    for (place, (name, value)) in names.iter().zip(values).enumerate() {
        text.push_str(if place > 0 { "," } else { "" });
        text.push_str(name);
        text.push_str("=\"");
        push_escaped(text, value);
        text.push('"');
    }
}

/// The format escapes three characters. Others that drive a terminal or turn a line are valid there, but nobody means
/// them: each becomes U+FFFD.
fn push_escaped(text: &mut String, value: &str) {
    if !value.bytes().any(|byte| byte == b'\\' || byte == b'"' || byte.is_ascii_control() || !byte.is_ascii()) {
        return text.push_str(value);
    }
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            order if is_order(order) => text.push(char::REPLACEMENT_CHARACTER),
            other => text.push(other),
        }
    }
}

fn push_histogram(text: &mut String, name: &str, labels: &str, bounds: &[f64], counts: &[u64], sum: f64) {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut below = 0;
    let mut bucket = |count: u64, bound: &dyn std::fmt::Display| {
        below += count;
        push(text, format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}\n"));
    };
    for (bound, count) in bounds.iter().zip(counts) {
        bucket(*count, bound);
    }
    bucket(counts.get(bounds.len()).copied().unwrap_or(0), &"+Inf");
    let all = below as f64;
    push_line(text, name, "_sum", labels, sum);
    push_line(text, name, "_count", labels, all);
}

fn push_line(text: &mut String, name: &str, suffix: &str, labels: &str, number: f64) {
    text.push_str(name);
    text.push_str(suffix);
    if !labels.is_empty() {
        text.push('{');
        text.push_str(labels);
        text.push('}');
    }
    push_value(text, number);
}

/// A space, the number as the format spells it, the line's end.
fn push_value(text: &mut String, number: f64) {
    if number == 0.0 {
        text.push_str(" 0\n");
    } else if number == 1.0 {
        text.push_str(" 1\n");
    } else if number.is_infinite() {
        text.push_str(if number > 0.0 { " +Inf\n" } else { " -Inf\n" });
    } else if number.abs() >= 1e17 || number.abs() < 1e-6 {
        // Digits alone would fill the line.
        push(text, format_args!(" {number:e}\n"));
    } else {
        push(text, format_args!(" {number}\n"));
    }
}

/// Memory takes every write.
fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use prometheus::TextEncoder;
    use prometheus::proto;
    use proptest::prelude::*;

    use super::super::catalogue as metric;
    use super::*;

    fn one(number: f64) -> String {
        let mut page = Exposition::default();
        page.number(&metric::GPU_BUSY, &["0"], number);
        page.take().lines().last().unwrap().to_owned()
    }

    #[test]
    fn numbers_are_spelled_as_the_format_says() {
        let spelled = [0.0, -0.0, 1.0, 42.0, 0.5, 1_000_000_015.25, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        let told: Vec<String> =
            spelled.map(|number| one(number).rsplit_once(' ').unwrap().1.to_owned()).into_iter().collect();
        assert_eq!(told, ["0", "0", "1", "42", "0.5", "1000000015.25", "+Inf", "-Inf", "NaN"]);
        assert_eq!(one(1e300), "mps_gpu_busy_ratio{gpu=\"0\"} 1e300");
    }

    #[test]
    fn what_would_break_a_line_or_drive_a_terminal_is_escaped_or_replaced() {
        let label = labels(&metric::GPU_BUSY, &["a\"b\\c\nd\re\u{1b}[2J\0é\u{7f}\u{9b}\u{202e}"]);
        assert_eq!(label, "gpu=\"a\\\"b\\\\c\\nd\u{fffd}e\u{fffd}[2J\u{fffd}é\u{fffd}\u{fffd}\u{fffd}\"");
    }

    #[test]
    fn an_enumeration_is_1_for_its_current_word_alone() {
        let mut page = Exposition::default();
        page.states(&metric::GPU_RECOVERY_ACTION, &["0"], ["none", "gpu_reset"].into_iter(), Some("gpu_reset"));
        let text = page.take();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        let expected = [
            "mps_gpu_recovery_action{gpu=\"0\",action=\"none\"} 0",
            "mps_gpu_recovery_action{gpu=\"0\",action=\"gpu_reset\"} 1",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_page_begins_anew_once_it_is_taken() {
        let mut page = Exposition::default();
        page.number(&metric::PROCESS_THREADS, &[], 7.0);
        let first = page.take();
        assert!(first.ends_with("# TYPE process_threads gauge\nprocess_threads 7\n"), "{first}");
        assert_eq!(page.take(), "");
    }

    /// What the `prometheus` crate writes for one series with these label values.
    fn by_the_oracle(metric: &Metric, values: &[&str], value: &Value) -> String {
        let pairs = metric.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut series = proto::Metric::from_label(pairs.collect());
        let mut family = proto::MetricFamily::default();
        match (value, metric.kind) {
            (Value::Histogram { counts, sum }, Kind::Histogram(bounds)) => {
                series.set_histogram(histogram(bounds, counts, *sum));
                family.set_field_type(proto::MetricType::HISTOGRAM);
            }
            (Value::Number(number), _) => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(*number);
                series.set_gauge(gauge);
                family.set_field_type(proto::MetricType::GAUGE);
            }
            _ => unreachable!("the value is of the metric's kind"),
        }
        family.set_name(metric.name.to_owned());
        family.set_help(metric.help.to_owned());
        family.set_metric(vec![series]);
        TextEncoder::new().encode_to_string(&[family]).unwrap()
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

    proptest! {
        #[test]
        fn the_prometheus_crate_writes_the_same_numbers(
            gpu in "[\n -~\\u{a1}-\\u{ac}\\u{ae}-\\u{5ff}\\u{3000}-\\u{9fff}\\u{1f300}-\\u{1f6ff}]{0,12}",
            number in prop_oneof![-1e16..1e16, 1e-6..1.0, (0u32..1000).prop_map(f64::from)],
        ) {
            let mut page = Exposition::default();
            page.number(&metric::GPU_BUSY, &[&gpu], number);
            prop_assert_eq!(page.take(), by_the_oracle(&metric::GPU_BUSY, &[&gpu], &Value::Number(number)));
        }

        #[test]
        fn the_prometheus_crate_writes_the_same_histograms(seconds in prop::collection::vec(0.0..1000.0, 0..20)) {
            let values = ["a\"\\\n", "clients"];
            let mut value = Value::zero(metric::RECOVERY_SECONDS.kind);
            seconds.iter().for_each(|seconds| value.observe(metric::RECOVERY_SECONDS.kind, *seconds));
            let mut page = Exposition::default();
            page.series(&metric::RECOVERY_SECONDS, &labels(&metric::RECOVERY_SECONDS, &values), &value);
            prop_assert_eq!(page.take(), by_the_oracle(&metric::RECOVERY_SECONDS, &values, &value));
        }

        #[test]
        fn any_number_is_read_back_as_it_was(number in prop::num::f64::ANY) {
            let line = one(number);
            let read: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
            prop_assert!(read == number || (read.is_nan() && number.is_nan()), "{}", line);
        }
    }
}
