//! docs/dashboards.md names every dashboard, and its provisioning file is one.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::dashboards::shipped::{dashboards, text};

/// Grafana's file of dashboard providers, as far as it is used.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Provisioning {
    api_version: u32,
    providers: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Provider {
    name: String,
    #[serde(rename = "folder")]
    _folder: String,
    #[serde(rename = "type")]
    kind: String,
    allow_ui_updates: bool,
    options: Options,
}

#[derive(Deserialize)]
struct Options {
    path: String,
}

fn docs() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dashboards.md")).unwrap()
}

#[test]
fn every_dashboard_is_documented_under_its_title() {
    for dashboard in dashboards() {
        let row = format!("| `{}.json` | **{}**: ", dashboard.file, text(&dashboard.json["title"]));
        assert!(docs().contains(&row), "{row}");
    }
}

#[test]
fn the_provisioning_file_is_one() {
    let docs = docs();
    let yaml = docs.split_once("```yaml\n").unwrap().1.split_once("```").unwrap().0;
    let provisioning: Provisioning = serde_saphyr::from_str(yaml).unwrap();
    assert_eq!(provisioning.api_version, 1);
    let [provider] = provisioning.providers.as_slice() else { panic!("one provider") };
    assert_eq!(
        (provider.name.as_str(), provider.kind.as_str(), provider.allow_ui_updates),
        ("mpswarden", "file", false)
    );
    assert!(Path::new(&provider.options.path).is_absolute());
}
