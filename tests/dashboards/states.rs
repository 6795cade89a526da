//! States have their number, their word and their colour wherever they are shown, unknown among them; what is
//! missing never looks healthy.

use std::collections::BTreeMap;

use mpswarden::model::{EngineState, GroupState, ProbeState, RecoveryStep, ServerState};
use promql_parser::parser::VectorSelector;
use serde_json::Value;

use crate::dashboards::expressions::{matcher, name, parts};
use crate::dashboards::shipped::{dashboards, list, text};

/// The colour of what is unknown, and of nothing else.
const UNKNOWN: &str = "purple";

/// Every value that has the key, however deep.
fn all<'a>(json: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match json {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            if name == key {
                found.push(value);
            }
            all(value, key, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        _ => {}
    }
}

/// Number to word, of every value mapping in a panel.
fn mappings(panel: &Value) -> Vec<BTreeMap<String, Value>> {
    let mut options = Vec::new();
    all(&panel["fieldConfig"], "options", &mut options);
    let numbered = |options: &&Value| options.get("0").is_some();
    options.iter().copied().filter(numbered).map(|options| serde_json::from_value(options.clone()).unwrap()).collect()
}

fn state_metrics() -> [(&'static str, &'static str, Vec<&'static str>); 5] {
    [
        ("mps_group_state", "state", GroupState::ALL.iter().map(|state| state.as_str()).collect()),
        ("mps_engine_state", "state", EngineState::ALL.iter().map(|state| state.as_str()).collect()),
        ("mps_server_state", "state", ServerState::ALL.iter().map(|state| state.as_str()).collect()),
        ("mps_engine_probe_state", "state", ProbeState::ALL.iter().map(|state| state.as_str()).collect()),
        ("mps_recovery_step", "step", RecoveryStep::ALL.iter().map(|step| step.as_str()).collect()),
    ]
}

/// The numbers that an expression gives to a state's words.
fn numbers(factors: &[(f64, VectorSelector)], metric: &str, label: &str) -> BTreeMap<String, String> {
    let of_metric = factors.iter().filter(|(_, selector)| name(selector) == metric);
    let word = |selector| matcher(selector, label).trim_start_matches('=').to_owned();
    of_metric
        .map(|(number, selector)| (word(selector), number.to_string()))
        .filter(|(word, _)| !word.is_empty())
        .collect()
}

#[test]
fn every_state_has_a_number_a_word_and_a_colour() {
    let mut shown = 0;
    for dashboard in dashboards() {
        for panel in dashboard.panels() {
            let place = dashboard.place(panel);
            for target in list(&panel["targets"]) {
                let factors = parts(&place, text(&target["expr"])).factors;
                for (metric, label, words) in state_metrics() {
                    let numbers = numbers(&factors, metric, label);
                    if numbers.is_empty() {
                        continue;
                    }
                    assert!(words.iter().all(|word| numbers.contains_key(*word)), "{place}: {metric}: {numbers:?}");
                    let told = |mapping: &BTreeMap<String, Value>| {
                        numbers.iter().all(|(word, number)| mapping.get(number).is_some_and(|to| to["text"] == **word))
                    };
                    assert!(mappings(panel).iter().any(told), "{place}: {metric} without words");
                    shown += 1;
                }
            }
        }
    }
    assert!(shown > 0);
}

#[test]
fn steps_of_a_recovery_are_numbered_as_they_happen() {
    let mut shown = 0;
    for dashboard in dashboards() {
        for panel in dashboard.panels() {
            for target in list(&panel["targets"]) {
                let factors = parts(&dashboard.place(panel), text(&target["expr"])).factors;
                let numbers = numbers(&factors, "mps_recovery_step", "step");
                let in_order: Vec<&String> =
                    RecoveryStep::ALL.iter().filter_map(|step| numbers.get(step.as_str())).collect();
                assert!(in_order.is_sorted(), "{}: {numbers:?}", dashboard.place(panel));
                shown += usize::from(!numbers.is_empty());
            }
        }
    }
    assert!(shown > 0);
}

#[test]
fn unknown_has_a_colour_of_its_own() {
    for dashboard in dashboards() {
        for panel in dashboard.panels() {
            let place = dashboard.place(panel);
            for to in mappings(panel).iter().flat_map(BTreeMap::values) {
                assert_eq!(to["color"] == UNKNOWN, to["text"] == "unknown", "{place}: {to}");
            }
            let mut lists = Vec::new();
            all(&panel["fieldConfig"], "mappings", &mut lists);
            for mapping in lists.iter().flat_map(|mappings| list(mappings)).filter(|one| one["type"] == "special") {
                assert_eq!(mapping["options"]["match"], "null+nan", "{place}");
                assert_eq!(mapping["options"]["result"]["color"], UNKNOWN, "{place}");
            }
        }
    }
}

/// The lowest step is what a value gets that is not there.
#[test]
fn what_is_missing_never_looks_healthy() {
    for dashboard in dashboards() {
        for panel in dashboard.panels() {
            let mut lists = Vec::new();
            all(&panel["fieldConfig"], "steps", &mut lists);
            assert!(!lists.is_empty(), "{}", dashboard.place(panel));
            for steps in lists {
                assert_eq!(steps[0]["color"], UNKNOWN, "{}", dashboard.place(panel));
                assert!(steps[0]["value"].is_null(), "{}", dashboard.place(panel));
            }
        }
    }
}
