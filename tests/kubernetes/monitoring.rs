//! Rules and dashboards of the chart are those of `alerts/` and `dashboards/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::tools::{Tools, objects, one};
use crate::support::needs;

const RULES: [&str; 2] = ["--set", "prometheusRule.enabled=true"];

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    paths.sort();
    paths
}

/// All groups of `alerts/`, by name.
fn groups() -> BTreeMap<String, Value> {
    let read = |path: &PathBuf| serde_saphyr::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    by_name(files("alerts", ".rules.yaml").iter().flat_map(|path| read(path)["groups"].as_array().unwrap().clone()))
}

fn by_name(groups: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    groups.into_iter().map(|group| (group["name"].as_str().unwrap().to_owned(), group)).collect()
}

fn of_chart(tools: &Tools, arguments: &[&str]) -> BTreeMap<String, Value> {
    let made = objects(&tools.made(&[&RULES[..], arguments].concat()));
    by_name(one(&made, "PrometheusRule")["spec"]["groups"].as_array().unwrap().clone())
}

#[test]
fn the_rules_are_those_of_alerts() {
    let Some(tools) = Tools::find() else { return };
    let (chart, own) = (of_chart(&tools, &[]), groups());
    assert_eq!(chart.keys().collect::<Vec<_>>(), own.keys().collect::<Vec<_>>());
    for (name, group) in &own {
        assert_eq!(&chart[name], group, "{name}");
    }
}

#[test]
fn severities_and_runbooks_are_called_as_the_values_say() {
    let Some(tools) = Tools::find() else { return };
    let set = "prometheusRule.severities.critical=page,prometheusRule.runbookBase=https://example/r/";
    let rules = of_chart(&tools, &["--set", set]);
    let alerts: Vec<&Value> = rules.values().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let held = alerts.iter().find(|rule| rule["alert"] == "MpsGroupHeld").unwrap();
    assert_eq!(held["labels"]["severity"], "page");
    assert_eq!(held["annotations"]["runbook_url"], "https://example/r/MpsGroupHeld.md");
    assert!(alerts.iter().all(|rule| rule["labels"]["severity"] != "critical"));
}

#[test]
fn prometheus_takes_the_rules() {
    let (Some(tools), Some(promtool)) = (Tools::find(), needs::program("promtool", "prometheus")) else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let groups: Vec<Value> = of_chart(&tools, &[]).into_values().collect();
    fs::write(&file, json!({ "groups": groups }).to_string()).unwrap();
    let output = Command::new(promtool).args(["check", "rules"]).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_dashboards_are_those_of_dashboards() {
    let Some(tools) = Tools::find() else { return };
    let made = objects(&tools.made(&["--set", "dashboards.enabled=true,agent.enabled=false"]));
    let own = files("dashboards", ".json");
    assert_eq!(made.len(), own.len());
    for path in own {
        let name = path.file_name().unwrap().to_str().unwrap();
        let texts: Vec<&str> = made.iter().filter_map(|map| map["data"][name].as_str()).collect();
        assert_eq!(texts, [fs::read_to_string(&path).unwrap()], "{name}");
    }
}

#[test]
fn pods_are_scraped_under_the_job_that_rules_and_dashboards_know() {
    let Some(tools) = Tools::find() else { return };
    let made = objects(&tools.made(&["--set", "podMonitor.enabled=true"]));
    let (monitor, agent) = (one(&made, "PodMonitor"), one(&made, "DaemonSet"));
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["relabelings"], json!([{"targetLabel": "job", "replacement": "mpswarden"}]));
    let port = &agent["spec"]["template"]["spec"]["containers"][0]["ports"][0];
    assert_eq!(endpoint["port"], port["name"]);
    let labels = agent["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
    for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(labels.get(label), Some(value), "{label}");
    }
    assert!(Path::new("alerts/README.md").exists());
}
