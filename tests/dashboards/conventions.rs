//! What Grafana's dashboard-linter asks for, and docs/dashboards.md promises: stable names, variables, links,
//! units, descriptions, matchers and ranges.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::dashboards::catalogued::labels_of;
use crate::dashboards::expressions::{RANGE, RATE_INTERVAL, matcher, name, parts};
use crate::dashboards::shipped::{Dashboard, dashboards, list, text};

/// Grafana's names of the units in use (its value formats).
const UNITS: &[&str] = &["none", "s", "bytes", "percentunit", "ops", "dateTimeFromNow"];
/// A counter is shown by one of these alone.
const OF_COUNTERS: &[&str] = &["rate", "increase"];

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

#[test]
fn each_keeps_its_name_and_is_not_edited_in_place() {
    for Dashboard { file, json } in dashboards() {
        assert_eq!(json["uid"], *file, "links go by it");
        assert!(json["id"].is_null(), "{file}: an id is of one Grafana alone");
        assert!(matches!(json["schemaVersion"].as_u64(), Some(39..=41)), "{file}");
        assert_eq!(json["editable"], false, "{file}");
        assert!(list(&json["tags"]).contains(&json!("mpswarden")), "{file}");
        for words in ["title", "description", "refresh"] {
            assert!(!text(&json[words]).is_empty(), "{file}: {words}");
        }
    }
}

#[test]
fn the_variables_are_the_same_everywhere() {
    for dashboard in dashboards() {
        let names: Vec<&str> = dashboard.variables().iter().map(|variable| text(&variable["name"])).collect();
        assert_eq!(names, ["datasource", "job", "instance", "group"], "{}", dashboard.file);
        let (first, others) = dashboard.variables().split_first().unwrap();
        assert_eq!((text(&first["type"]), text(&first["query"])), ("datasource", "prometheus"));
        assert_eq!(first["label"], "Data source");
        for variable in others {
            assert_eq!(text(&variable["label"]).to_lowercase(), text(&variable["name"]));
            assert_eq!((text(&variable["type"]), &variable["datasource"]), ("query", &source()));
            assert_eq!((&variable["multi"], &variable["includeAll"]), (&json!(true), &json!(true)));
            assert_eq!(variable["allValue"], ".+");
            assert_eq!(variable["refresh"], 2, "on a change of the time range");
            assert_eq!(variable["query"]["query"], variable["definition"]);
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    for dashboard in dashboards() {
        let mut titles = BTreeSet::new();
        for panel in dashboard.panels() {
            let place = dashboard.place(panel);
            assert!(titles.insert(text(&panel["title"])), "{place}: two have this title");
            assert!(text(&panel["description"]).ends_with('.'), "{place}: no description");
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(UNITS.contains(&text(&defaults["unit"])), "{place}: {}", defaults["unit"]);
            assert!(defaults["noValue"].is_string(), "{place}: what does it say when there is nothing?");
            assert_eq!(panel["datasource"], source(), "{place}");
            assert!(list(&panel["targets"]).iter().all(|target| target["datasource"] == source()), "{place}");
        }
    }
}

#[test]
fn ids_and_references_are_there_once() {
    for dashboard in dashboards() {
        let ids: BTreeSet<u64> = dashboard.everything().iter().filter_map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), dashboard.everything().len(), "{}", dashboard.file);
        let places: BTreeSet<String> = dashboard.queries().into_iter().map(|query| query.place).collect();
        assert_eq!(places.len(), dashboard.queries().len(), "{}", dashboard.file);
    }
}

#[test]
fn series_are_told_apart_by_their_legend() {
    for dashboard in dashboards() {
        let charts = ["timeseries", "state-timeline", "bargauge"];
        for panel in dashboard.panels().filter(|panel| charts.contains(&text(&panel["type"]))) {
            let told = |target: &Value| target["legendFormat"].as_str().is_some_and(|legend| legend.contains("{{"));
            assert!(list(&panel["targets"]).iter().all(told), "{}", dashboard.place(panel));
        }
    }
}

#[test]
fn every_selector_asks_for_the_chosen_job_instance_and_group() {
    for query in dashboards().iter().flat_map(Dashboard::queries) {
        for selector in parts(&query.place, &query.expr).selectors {
            assert_eq!(matcher(&selector, "job"), "=~$job", "{}", query.place);
            assert_eq!(matcher(&selector, "instance"), "=~$instance", "{}", query.place);
            let of_group = labels_of(name(&selector)).is_some_and(|labels| labels.contains(&"group"));
            // Sources are of the whole watchdog, some of a group or an engine.
            let by_group = of_group && !name(&selector).starts_with("mpswarden_source_");
            assert_eq!(matcher(&selector, "group"), if by_group { "=~$group" } else { "" }, "{}", query.place);
        }
    }
}

/// All jobs would otherwise be those of every program that Prometheus scrapes.
#[test]
fn what_other_programs_export_too_is_asked_of_watchdogs_alone() {
    for query in dashboards().iter().flat_map(Dashboard::queries) {
        let selectors = parts(&query.place, &query.expr).selectors;
        let is_shared = |series: &str| !series.starts_with("mps_") && !series.starts_with("mpswarden_");
        let shared = selectors.iter().filter(|selector| is_shared(name(selector))).count();
        let narrowed = selectors.iter().filter(|selector| name(selector) == "mpswarden_build_info").count();
        assert!(shared <= narrowed, "{}: {}", query.place, query.expr);
    }
}

#[test]
fn rates_are_over_the_rate_interval_and_nothing_has_a_fixed_range() {
    for query in dashboards().iter().flat_map(Dashboard::queries) {
        for (function, range, _) in parts(&query.place, &query.expr).ranges {
            assert!(range == RATE_INTERVAL || range == RANGE && function != "rate", "{}", query.place);
        }
    }
}

#[test]
fn counters_are_never_shown_as_they_stand() {
    let is_counter = |series: &str| ["_total", "_bucket", "_sum", "_count"].iter().any(|end| series.ends_with(end));
    for query in dashboards().iter().flat_map(Dashboard::queries) {
        let parts = parts(&query.place, &query.expr);
        let counters = parts.selectors.iter().filter(|selector| is_counter(name(selector))).count();
        let grown =
            |(function, _, selector): &&(&str, _, _)| OF_COUNTERS.contains(function) && is_counter(name(selector));
        assert_eq!(parts.ranges.iter().filter(grown).count(), counters, "{}: {}", query.place, query.expr);
    }
}

#[test]
fn each_links_to_the_others_with_its_variables_and_times() {
    let files: Vec<String> = dashboards().into_iter().map(|dashboard| dashboard.file).collect();
    for dashboard in dashboards() {
        let links = list(&dashboard.json["links"]);
        for other in files.iter().filter(|file| **file != dashboard.file) {
            let url = format!("/d/{other}/{other}");
            let link =
                links.iter().find(|link| link["url"] == *url).unwrap_or_else(|| panic!("{}: {url}", dashboard.file));
            assert_eq!((&link["includeVars"], &link["keepTime"]), (&json!(true), &json!(true)), "{}", dashboard.file);
        }
        assert_eq!(links.len(), files.len() - 1, "{}", dashboard.file);
    }
}
