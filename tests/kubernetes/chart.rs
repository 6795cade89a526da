//! The chart as a whole: it lints, each value has an effect, wrong ones are refused, the bases are what it makes.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use super::tools::{Tools, objects};

const ON: [&str; 2] = ["--values", "tests/kubernetes/on.yaml"];

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_chart_lints_and_has_the_programs_version() {
    let Some(tools) = Tools::find() else { return };
    for values in [&[][..], &ON, &["--values", "deploy/kustomize/sidecar/values.yaml"]] {
        let output = tools.helm(&[&["lint", "--strict", "deploy/helm/mpswarden"], values].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let chart = yaml("deploy/helm/mpswarden/Chart.yaml");
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key], env!("CARGO_PKG_VERSION"), "{key}");
    }
}

#[test]
fn everything_that_it_makes_is_as_kubernetes_says() {
    let Some(tools) = Tools::find() else { return };
    for values in [&[][..], &ON, &["--values", "tests/kubernetes/all.yaml", "--set", "agent.enabled=true,mode=observe"]]
    {
        tools.assert_valid(&objects(&tools.made(values)));
    }
    let set = "sidecar.enabled=true,mode=observe,agent.updateStrategy.rollingUpdate=null";
    tools.assert_valid(&objects(&tools.made(&["--values", "tests/kubernetes/all.yaml", "--set", set])));
}

/// The path of each value, as far as tables lead.
fn leaves(values: &Value, path: &[String], found: &mut Vec<Vec<String>>) {
    match values.as_object().filter(|table| !table.is_empty()) {
        Some(table) => {
            table.iter().for_each(|(key, value)| leaves(value, &[path, std::slice::from_ref(key)].concat(), found))
        }
        None => found.push(path.to_vec()),
    }
}

/// Values with this one alone.
fn alone(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, key| Value::Object(Map::from_iter([(key.clone(), inner)])))
}

#[test]
fn every_value_changes_what_the_chart_makes() {
    let Some(tools) = Tools::find() else { return };
    let (usual, all) = (yaml("deploy/helm/mpswarden/values.yaml"), yaml("tests/kubernetes/all.yaml"));
    let mut paths = Vec::new();
    leaves(&usual, &[], &mut paths);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("one.yaml");
    let with = |path: &[String], value: Value| {
        fs::write(&file, alone(path, value).to_string()).unwrap();
        tools.made(&[&ON[..], &["--values", file.to_str().unwrap()]].concat())
    };
    let before = tools.made(&ON);
    for path in paths {
        let pointer = format!("/{}", path.iter().map(|key| key.replace('/', "~1")).collect::<Vec<_>>().join("/"));
        let other = all.pointer(&pointer).unwrap_or_else(|| panic!("all.yaml lacks {pointer}"));
        // There is one mode only.
        if pointer != "/mode" {
            assert_ne!(with(&path, other.clone()), before, "{pointer} = {other} has no effect");
        }
    }
}

#[test]
fn values_that_can_not_be_meant_are_refused_with_the_place() {
    let Some(tools) = Tools::find() else { return };
    for (set, why) in [
        ("agent.prot=1", "agent"),
        ("mode=enforce", "mode"),
        ("agent.port=0", "port"),
        ("sidecar.restartBy=signal", "restartBy"),
        ("sidecar.restartAfter=soon", "restartAfter"),
        ("mps.root=relative", "root"),
        ("sidecar.enabled=true", "sidecar.engines names no engine"),
        ("prometheusRule.severities.critcal=page", "severities"),
    ] {
        let said = tools.refuses(&["--set", set]);
        assert!(said.contains(why), "{set}: {said}");
    }
    let engine = json!({"sidecar": {"enabled": true, "engines": [{"name": "a", "command": ["x"], "port": 1}]}});
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, engine.to_string()).unwrap();
    assert!(tools.refuses(&["--values", file.path().to_str().unwrap()]).contains("image"));
}

#[test]
fn the_kustomize_bases_are_what_the_chart_makes() {
    let Some(tools) = Tools::find() else { return };
    let place = tempfile::tempdir().unwrap();
    let written = Command::new("deploy/kustomize/write").arg(place.path()).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    for base in ["agent", "sidecar"] {
        let (file, here) = (format!("{base}/{base}.yaml"), Path::new("deploy/kustomize"));
        let [is, should] = [here, place.path()].map(|folder| fs::read_to_string(folder.join(&file)).unwrap());
        assert!(is == should, "{file} is not what the chart makes: run deploy/kustomize/write");
    }
    for base in ["agent", "sidecar", "monitoring"] {
        let folder = place.path().join(base);
        let kustomization = format!("deploy/kustomize/{base}/kustomization.yaml");
        fs::copy(kustomization, folder.join("kustomization.yaml")).unwrap();
        let made = objects(&tools.kustomized(&folder));
        let file = fs::read_to_string(folder.join(format!("{base}.yaml"))).unwrap();
        assert_eq!(made.len(), objects(&file).len(), "{base}");
        tools.assert_valid(&made);
    }
}

#[test]
fn a_packed_chart_holds_rules_and_dashboards() {
    let Some(tools) = Tools::find() else { return };
    let place = tempfile::tempdir().unwrap();
    let output = tools.helm(&["package", "deploy/helm/mpswarden", "--destination", place.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let packed = place.path().join(format!("mpswarden-{}.tgz", env!("CARGO_PKG_VERSION")));
    let list = Command::new("tar").arg("--list").arg("--file").arg(packed).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for file in ["alerts/group.rules.yaml", "dashboards/mpswarden-group.json"] {
        assert!(list.contains(&format!("mpswarden/files/{file}")), "{file} is not in:\n{list}");
    }
    assert!(!list.contains(".test.yaml"), "{list}");
}
