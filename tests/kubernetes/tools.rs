//! Helm, kubectl and the schemas of Kubernetes' API, which `.ci/kubernetes-tools` brings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{needs, schema};

const CHART: &str = "deploy/helm/mpswarden";
/// Versions of the API that the objects are held against.
const VERSIONS: [&str; 2] = ["1.36.0", "1.37.0"];
/// Operators' own objects, of which the API knows nothing.
const FOREIGN: &str = "monitoring.coreos.com/v1";

/// The folder with the tools.
pub(super) struct Tools(PathBuf);

impl Tools {
    /// The tools; `None`: they are not there, and stderr says how to get them.
    pub(super) fn find() -> Option<Tools> {
        let output = Command::new(".ci/kubernetes-tools").arg("--where").output();
        let found = output.ok().filter(|output| output.status.success());
        let Some(found) = found else {
            needs::skipped("helm, kubectl and Kubernetes' schemas are missing: run .ci/kubernetes-tools");
            return None;
        };
        Some(Tools(String::from_utf8(found.stdout).unwrap().trim().into()))
    }

    pub(super) fn helm(&self, arguments: &[&str]) -> Output {
        Command::new(self.0.join("helm")).args(arguments).output().unwrap()
    }

    /// What the chart makes of these values, each a file or `--set` word.
    pub(super) fn made(&self, arguments: &[&str]) -> String {
        let output = self.helm(&[&["template", "test", CHART, "--namespace", "mps"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Why the chart refuses these values.
    pub(super) fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.helm(&[&["template", "test", CHART], arguments].concat());
        assert!(!output.status.success(), "{arguments:?} is taken");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub(super) fn kustomized(&self, base: &Path) -> String {
        let output = Command::new(self.0.join("kubectl")).arg("kustomize").arg(base).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Panics where an object is not as Kubernetes' API says, in one of the versions.
    pub(super) fn assert_valid(&self, objects: &[Value]) {
        for version in VERSIONS {
            let read = |name: &str| -> Value {
                let text = fs::read_to_string(self.0.join(version).join(name));
                serde_json::from_str(&text.unwrap_or_else(|error| panic!("{version}: {name}: {error}"))).unwrap()
            };
            let definitions = read("_definitions.json");
            for object in objects.iter().filter(|object| object["apiVersion"] != FOREIGN) {
                let [kind, api] = ["kind", "apiVersion"].map(|key| object[key].as_str().unwrap().to_lowercase());
                let api = api.replace(".k8s.io", "").replace('/', "-");
                let wrong = schema::complaints_by(&read(&format!("{kind}-{api}.json")), &definitions, object);
                assert!(wrong.is_empty(), "{kind} in {version}:\n{}\n{object:#}", wrong.join("\n"));
            }
        }
    }
}

/// The objects in a text of several documents.
pub(super) fn objects(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n").map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
    documents.filter(|document| !document.is_null()).collect()
}

/// The one object of this kind.
pub(super) fn one<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "several of {kind}");
    one
}
