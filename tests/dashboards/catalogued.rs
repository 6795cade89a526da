//! Expressions name what is exported: metrics of the catalogue, labels that they have, words of the model.

use std::collections::BTreeSet;

use mpswarden::export::catalogue::{ALL, Kind, Metric};

use crate::dashboards::expressions::{name, parts};
use crate::dashboards::shipped::dashboards;
use crate::support::label_words::words;

/// Prometheus' own of every target.
const SCRAPED: &[&str] = &["up", "scrape_duration_seconds", "scrape_samples_scraped"];
/// Prometheus' own labels.
const OWN_LABELS: &[&str] = &["job", "instance"];

/// The labels of a series; `None`: no such series.
pub fn labels_of(series: &str) -> Option<Vec<&'static str>> {
    if SCRAPED.contains(&series) {
        return Some(Vec::new());
    }
    ALL.iter().find_map(|metric| match (metric.kind, series.strip_prefix(metric.name)?) {
        (Kind::Histogram(_), "_bucket") => Some([metric.labels, &["le"]].concat()),
        (Kind::Histogram(_), "_sum" | "_count") | (Kind::Counter | Kind::Gauge, "") => Some(metric.labels.to_vec()),
        _ => None,
    })
}

#[test]
fn every_metric_is_in_the_catalogue_with_the_labels_that_are_asked_for() {
    for query in dashboards().iter().flat_map(|dashboard| dashboard.queries()) {
        for selector in parts(&query.place, &query.expr).selectors {
            let series = name(&selector);
            let labels = labels_of(series).unwrap_or_else(|| panic!("{}: {series} is not exported", query.place));
            for matcher in &selector.matchers.matchers {
                let known = labels.contains(&matcher.name.as_str()) || OWN_LABELS.contains(&matcher.name.as_str());
                assert!(known, "{}: {series} has no label {}", query.place, matcher.name);
            }
        }
    }
}

/// Rows without a panel: what others join with or show, and the times of a hold (its group is shown as held).
const NOT_SHOWN: &[&str] = &[
    "mpswarden_node_info",
    "process_virtual_memory_bytes",
    "mps_gpu_info",
    "mps_server_start_time_seconds",
    "mps_group_hold_timestamp_seconds",
    "mps_group_hold_until_timestamp_seconds",
    "mps_gpu_xid_last_timestamp_seconds",
    "mps_gpu_compute_mode",
];

#[test]
fn every_metric_has_a_panel_or_is_named_here() {
    let queries: Vec<_> = dashboards().iter().flat_map(|dashboard| dashboard.queries()).collect();
    let selectors = queries.iter().flat_map(|query| parts(&query.place, &query.expr).selectors);
    let shown: BTreeSet<String> = selectors.map(|selector| name(&selector).to_owned()).collect();
    let is_shown =
        |metric: &Metric| ["", "_bucket", "_sum"].iter().any(|end| shown.contains(&format!("{}{end}", metric.name)));
    let missing: Vec<&str> = ALL.iter().filter(|metric| !is_shown(metric)).map(|metric| metric.name).collect();
    assert_eq!(missing, NOT_SHOWN);
}

#[test]
fn a_matcher_asks_for_words_that_there_are() {
    for query in dashboards().iter().flat_map(|dashboard| dashboard.queries()) {
        for selector in parts(&query.place, &query.expr).selectors {
            for matcher in &selector.matchers.matchers {
                let Some(words) = words(name(&selector), &matcher.name) else { continue };
                for asked in matcher.value.split('|') {
                    assert!(words.contains(&asked), "{}: {}={asked}", query.place, matcher.name);
                }
            }
        }
    }
}
