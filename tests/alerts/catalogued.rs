//! Expressions name what is exported: metrics of the catalogue, labels that they have, words of the model.

use std::collections::BTreeSet;

use mpswarden::export::catalogue::{ALL, Kind};
use mpswarden::model::{Fault, HeldReason, Source};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};

use crate::alerts::shipped::{Rule, recordings, rules};
use crate::support::label_words::words;

/// Prometheus' own labels.
const SCRAPED: &[&str] = &["job", "instance"];

struct Selectors(Vec<VectorSelector>);

impl ExprVisitor for Selectors {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        match expr {
            Expr::VectorSelector(selector) => self.0.push(selector.clone()),
            Expr::MatrixSelector(matrix) => self.0.push(matrix.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}

/// What a rule asks for, with what the series that it takes from a recording rule ask for.
fn selectors(rule: &Rule) -> Vec<VectorSelector> {
    let found = selectors_of(&rule.name, &rule.expr);
    let (recorded, exported): (Vec<_>, Vec<_>) = found.into_iter().partition(|selector| name(selector).contains(':'));
    let of_recording = |selector: &VectorSelector| {
        let known = recordings().into_iter().find(|recording| recording.name == name(selector));
        let known = known.unwrap_or_else(|| panic!("{}: nobody records {}", rule.name, name(selector)));
        selectors_of(&known.name, &known.expr)
    };
    recorded.iter().flat_map(of_recording).chain(exported).collect()
}

fn selectors_of(rule: &str, expr: &str) -> Vec<VectorSelector> {
    let expr = parser::parse(expr).unwrap_or_else(|error| panic!("{rule}: {error}"));
    let mut found = Selectors(Vec::new());
    walk_expr(&mut found, &expr).unwrap();
    assert!(!found.0.is_empty(), "{rule}");
    found.0
}

fn name(selector: &VectorSelector) -> &str {
    selector.name.as_deref().expect("a selector names its metric")
}

/// The labels of a series; `None`: no such metric.
fn labels_of(series: &str) -> Option<Vec<&'static str>> {
    if series == "up" {
        return Some(Vec::new());
    }
    let bucket = series.strip_suffix("_bucket");
    let is_bucket = |kind: Kind| bucket.is_some() && matches!(kind, Kind::Histogram(_));
    let metric = ALL.iter().find(|metric| {
        metric.name == series && !matches!(metric.kind, Kind::Histogram(_))
            || Some(metric.name) == bucket && is_bucket(metric.kind)
    })?;
    Some(metric.labels.iter().copied().chain(bucket.map(|_| "le")).collect())
}

#[test]
fn every_metric_is_in_the_catalogue_with_the_labels_that_are_asked_for() {
    for rule in rules() {
        for selector in selectors(&rule) {
            let series = name(&selector);
            let labels = labels_of(series).unwrap_or_else(|| panic!("{}: {series} is not exported", rule.name));
            for Matcher { name, .. } in &selector.matchers.matchers {
                let known = labels.contains(&name.as_str()) || SCRAPED.contains(&name.as_str());
                assert!(known, "{}: {series} has no label {name}", rule.name);
            }
        }
    }
}

#[test]
fn what_is_recorded_is_made_of_what_is_exported() {
    for recording in recordings() {
        for selector in selectors_of(&recording.name, &recording.expr) {
            let labels = labels_of(name(&selector)).unwrap_or_else(|| panic!("{}: no {selector:?}", recording.name));
            assert!(selector.matchers.matchers.iter().all(|matcher| labels.contains(&matcher.name.as_str())));
        }
    }
}

#[test]
fn a_matcher_asks_for_words_that_there_are() {
    for rule in rules() {
        for selector in selectors(&rule) {
            for matcher in &selector.matchers.matchers {
                let Some(words) = words(name(&selector), &matcher.name) else { continue };
                for asked in matcher.value.split('|') {
                    assert!(words.contains(&asked), "{}: {}={asked}", rule.name, matcher.name);
                }
            }
        }
    }
}

fn asks_for(selector: &VectorSelector, label: &str, word: &str) -> bool {
    let of_label = |matcher: &&Matcher| matcher.name == label;
    selector.matchers.matchers.iter().filter(of_label).all(|matcher| matcher.is_match(word))
}

fn alerts_on(series: &[&str], label: &str, word: &str) -> bool {
    let hits = |selector: &VectorSelector| series.contains(&name(selector)) && asks_for(selector, label, word);
    rules().iter().any(|rule| selectors(rule).iter().any(hits))
}

#[test]
fn every_fault_has_an_alert() {
    let faults = ["mps_fault_active", "mps_fault_last_timestamp_seconds"];
    for fault in Fault::ALL {
        // These have gauges that say more.
        let told = match fault {
            Fault::ForeignProcess => alerts_on(&["mps_foreign_processes"], "", ""),
            Fault::UnknownClient => alerts_on(&["mps_unknown_clients"], "", ""),
            _ => alerts_on(&faults, "fault", fault.as_str()),
        };
        assert!(told, "{}", fault.as_str());
    }
}

#[test]
fn every_reason_to_hold_a_group_and_every_source_has_an_alert() {
    // These name their cause: the GPU, or the server.
    let by_fault = [HeldReason::GpuLost, HeldReason::GpuResetNeeded, HeldReason::ServerCannotStart];
    for reason in HeldReason::ALL {
        let told = match by_fault.contains(reason) {
            true => alerts_on(&["mps_fault_active"], "fault", reason.as_str()),
            false => alerts_on(&["mps_group_held"], "reason", reason.as_str()),
        };
        assert!(told, "{reason}");
    }
    assert!(Source::ALL.iter().all(|source| alerts_on(&["mpswarden_source_up"], "source", source.as_str())));
}

/// A series that goes while the watchdog is blind, or while scrapes fail, must not resolve an alert with it.
#[test]
fn what_pages_for_a_level_keeps_its_last_known_value() {
    let own = ["up", "mpswarden_source_up"];
    for rule in rules().iter().filter(|rule| rule.labels["severity"] == "critical") {
        let levels: BTreeSet<String> = selectors(rule).iter().map(|selector| name(selector).to_owned()).collect();
        let bridged = rule.expr.contains("last_over_time(");
        assert!(bridged || levels.iter().all(|series| own.contains(&series.as_str())), "{}", rule.name);
    }
}

/// A negative matcher would also take words that a later version adds: only where that is meant.
#[test]
fn states_are_asked_for_by_name() {
    for rule in rules() {
        for selector in selectors(&rule) {
            for matcher in selector.matchers.matchers.iter().filter(|matcher| matcher.name == "state") {
                assert!(matches!(matcher.op, MatchOp::Equal | MatchOp::Re(_)), "{}", rule.name);
            }
        }
    }
}
