//! What is shipped in `alerts/` and `docs/runbooks/`, read as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A `*.rules.yaml`.
#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<RuleGroup>,
}

#[derive(Deserialize)]
struct RuleGroup {
    rules: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Alert(Rule),
    Recording(Recording),
}

/// A series that Prometheus makes of others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    #[serde(rename = "record")]
    pub name: String,
    pub expr: String,
}

/// An alert.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(rename = "alert")]
    pub name: String,
    pub expr: String,
    #[serde(rename = "for")]
    pub lasts: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// A `*.test.yaml`, as far as it is looked at here.
#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    #[serde(default)]
    alert_rule_test: Vec<Case>,
}

/// What promtool expects of one alert at one time.
#[derive(Deserialize)]
pub struct Case {
    pub alertname: String,
    pub exp_alerts: Vec<Expected>,
}

#[derive(Deserialize)]
pub struct Expected {
    pub exp_labels: BTreeMap<String, String>,
    pub exp_annotations: BTreeMap<String, String>,
}

/// A folder of the repository.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The files in `folder` whose names end so, in order.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = paths.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    found.sort();
    assert!(!found.is_empty(), "{}: no {ending}", folder.display());
    found
}

fn entries() -> impl Iterator<Item = Entry> {
    let files = files(&folder("alerts"), ".rules.yaml");
    files.into_iter().flat_map(|path| parse::<RuleFile>(&path).groups).flat_map(|group| group.rules)
}

/// Every alert.
pub fn rules() -> Vec<Rule> {
    entries().filter_map(|entry| if let Entry::Alert(rule) = entry { Some(rule) } else { None }).collect()
}

/// Every recording rule.
pub fn recordings() -> Vec<Recording> {
    entries().filter_map(|entry| if let Entry::Recording(rule) = entry { Some(rule) } else { None }).collect()
}

/// Every case of every promtool test.
pub fn cases() -> Vec<Case> {
    let files = files(&folder("alerts"), ".test.yaml");
    files.iter().flat_map(|path| parse::<TestFile>(path).tests).flat_map(|test| test.alert_rule_test).collect()
}

fn parse<T: DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
