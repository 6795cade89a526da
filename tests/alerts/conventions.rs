//! Each alert has a severity, words for people, a runbook, and a case that fires and one that does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::alerts::shipped::{Expected, cases, files, folder, rules};

/// The node's name, which the watchdog tells; its address where it does not.
const NODE: &str = r#"{{ with printf "last_over_time(mpswarden_node_info{instance=%q}[1d])" $labels.instance | query }}{{ . | first | label "node" }}{{ else }}{{ $labels.instance }}{{ end }}"#;
/// What people call a GPU, behind its index.
const GPU_NAME: &str = r#"{{ with printf "last_over_time(mps_gpu_info{instance=%q,gpu=%q}[1d])" $labels.instance $labels.gpu | query }}{{ with (. | first).Labels }} ({{ .name }}, {{ .uuid }}){{ end }}{{ end }}"#;
/// Alerts that are about no node, or about many.
const OF_NO_NODE: [&str; 2] = ["MpswardenAbsent", "MpsFaultsAcrossFleet"];

const RUNBOOKS: &str = "https://github.com/mpswarden/mpswarden/blob/main/docs/runbooks/";

#[test]
fn every_alert_has_a_severity_and_words_for_people() {
    for rule in rules() {
        let name = &rule.name;
        assert!(name.starts_with("Mpswarden") || name.starts_with("Mps"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}: CamelCase");
        let labels: Vec<&str> = rule.labels.keys().map(String::as_str).collect();
        assert_eq!(labels, if OF_NO_NODE.contains(&name.as_str()) { &["severity"][..] } else { &["node", "severity"] });
        assert!(["critical", "warning", "info"].contains(&rule.labels["severity"].as_str()), "{name}");
        let annotations: Vec<&str> = rule.annotations.keys().map(String::as_str).collect();
        assert_eq!(annotations, ["description", "runbook_url", "summary"], "{name}");
        assert_eq!(rule.annotations["runbook_url"], format!("{RUNBOOKS}{name}.md"));
        assert!(rule.annotations["summary"].ends_with('.'), "{name}: a summary is a sentence");
    }
}

#[test]
fn an_alert_tells_its_node_by_name_and_its_gpu_by_index_and_name() {
    for rule in rules().iter().filter(|rule| !OF_NO_NODE.contains(&rule.name.as_str())) {
        assert_eq!(rule.labels["node"], NODE, "{}", rule.name);
        let (summary, description) = (&rule.annotations["summary"], &rule.annotations["description"]);
        assert!(summary.contains(NODE), "{}: {summary}", rule.name);
        let bare = [summary, description].map(|text| text.replace(NODE, "").replace(GPU_NAME, ""));
        assert!(!bare.iter().any(|text| text.contains("on {{ $labels.instance }}")), "{}: an address", rule.name);
        let told = summary.matches("GPU {{").count();
        assert_eq!(summary.matches(GPU_NAME).count(), told, "{}: a GPU without its name", rule.name);
    }
}

/// Who reads it minutes later would take "6 s ago" for now.
#[test]
fn a_time_is_told_as_a_time() {
    for rule in rules() {
        for text in rule.annotations.values() {
            let is_age = text.split("}}").skip(1).any(|rest| rest.trim_start().starts_with("ago"));
            assert!(!is_age, "{}: {text}", rule.name);
        }
    }
}

#[test]
fn no_name_is_taken_twice() {
    let mut names = BTreeSet::new();
    assert!(rules().iter().all(|rule| names.insert(rule.name.clone())));
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let cases = cases();
    for rule in rules() {
        let own = || cases.iter().filter(|case| case.alertname == rule.name);
        assert!(own().any(|case| !case.exp_alerts.is_empty()), "{}: no case fires", rule.name);
        assert!(own().any(|case| case.exp_alerts.is_empty()), "{}: no case is silent", rule.name);
    }
}

#[test]
fn what_a_firing_case_expects_is_whole() {
    let rules = rules();
    for case in cases() {
        let rule = rules.iter().find(|rule| rule.name == case.alertname);
        let rule = rule.unwrap_or_else(|| panic!("a case for {}, which is no alert", case.alertname));
        for expected in &case.exp_alerts {
            assert_eq!(expected.exp_labels["severity"], rule.labels["severity"], "{}", rule.name);
            assert!(expected.exp_annotations.keys().eq(rule.annotations.keys()), "{}", rule.name);
            assert!(expected.exp_annotations["summary"].len() < 120, "{}: a summary is short", rule.name);
        }
    }
}

/// Alertmanager groups and inhibits by these: an expression must not lose them.
#[test]
fn alerts_keep_the_labels_that_alertmanager_groups_by() {
    for case in cases() {
        for Expected { exp_labels: labels, .. } in &case.exp_alerts {
            let name = case.alertname.as_str();
            assert!(OF_NO_NODE.contains(&name) || labels.contains_key("instance"), "{name}");
            let needed = match name {
                // Several that hang as one are a fault of their group.
                "MpsEngineHang" if !labels.contains_key("engine") => &["group"][..],
                _ if name.starts_with("MpsEngine") => &["group", "engine"],
                _ if name.starts_with("MpsGpu") => &["gpu"],
                _ if ["MpsGroup", "MpsRec", "MpsRes", "MpsServer", "MpsControl"]
                    .iter()
                    .any(|part| name.starts_with(part)) =>
                {
                    &["group"]
                }
                _ => &[],
            };
            assert!(needed.iter().all(|label| labels.contains_key(*label)), "{name}: {labels:?}");
        }
    }
}

/// All but their index.
fn runbooks() -> Vec<PathBuf> {
    let mut books = files(&folder("docs/runbooks"), ".md");
    books.retain(|path| !path.ends_with("README.md"));
    books
}

#[test]
fn every_alert_has_a_runbook_and_no_runbook_is_left_over() {
    let alerts: BTreeSet<String> = rules().into_iter().map(|rule| rule.name).collect();
    let books: BTreeSet<String> =
        runbooks().iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(alerts, books);
}

#[test]
fn a_runbook_has_its_four_parts_and_says_something_in_each() {
    for path in runbooks() {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(text.starts_with(&format!("# {name}\n")), "{name}");
        let parts: Vec<(&str, &str)> = text.split("\n## ").skip(1).map(|part| part.split_once('\n').unwrap()).collect();
        let headings: Vec<&str> = parts.iter().map(|(heading, _)| *heading).collect();
        assert_eq!(headings, ["Meaning", "Impact", "Diagnosis", "Mitigation"], "{name}");
        assert!(parts.iter().all(|(_, body)| !body.trim().is_empty()), "{name}");
    }
}

/// Commands that end all engines of a group, a GPU or a node.
const END_MANY: [&str; 7] = [
    "`mpswarden restart GROUP",
    "`mpswarden stop GROUP`",
    "`mpswarden stop GROUP ",
    "nvidia-smi --gpu-reset",
    "systemctl restart mpswarden",
    "eset of the GPU",
    "reboot",
];

/// Who is tired does what is written first.
#[test]
fn a_runbook_says_that_healthy_engines_end_before_it_says_how() {
    for path in runbooks() {
        let text = fs::read_to_string(&path).unwrap();
        let (_, mitigation) = text.split_once("\n## Mitigation\n").unwrap();
        let first = END_MANY.iter().filter_map(|command| mitigation.find(command)).min();
        let Some(first) = first else { continue };
        let sentence = mitigation[..first].rfind(['.', '|', ':']).unwrap_or(0);
        let rest = &mitigation[sentence..];
        let warned = mitigation[..first].contains("every engine")
            || rest[..rest.find("\n").unwrap_or(rest.len())].contains("every engine");
        assert!(warned, "{}: {}", path.display(), rest.lines().next().unwrap_or_default());
    }
}

#[test]
fn what_a_runbook_refers_to_is_there() {
    let books = folder("docs/runbooks");
    for path in files(&books, ".md") {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0) {
            assert!(books.join(link.split('#').next().unwrap()).is_file(), "{}: {link}", path.display());
        }
    }
}
