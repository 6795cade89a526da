//! `docs/runbooks/README.md` lists every alert, the most urgent first; UPDATE=1 writes its table anew.

use std::fs;

use crate::alerts::shipped::{Rule, folder, rules};

const BEGIN: &str = "<!-- alerts -->\n";
const END: &str = "<!-- end -->\n";

/// The first sentence of a runbook.
fn meaning(name: &str) -> String {
    let text = fs::read_to_string(folder("docs/runbooks").join(format!("{name}.md"))).unwrap();
    let body = text.split_once("## Meaning\n").unwrap().1;
    let end = body.match_indices('.').find(|(at, _)| body[at + 1..].starts_with([' ', '\n'])).unwrap().0;
    body[..end].to_owned()
}

fn row(rule: &Rule) -> String {
    let Rule { name, lasts, labels, .. } = rule;
    let lasts = lasts.as_deref().unwrap_or("at once");
    format!("| [{name}]({name}.md) | {} | {lasts} | {} |\n", labels["severity"], meaning(name))
}

#[test]
fn the_index_of_the_runbooks_lists_every_alert_the_most_urgent_first() {
    let path = folder("docs/runbooks").join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let after = rest.split_once(END).unwrap().1;
    let urgency =
        |rule: &Rule| ["critical", "warning", "info"].iter().position(|known| *known == rule.labels["severity"]);
    let mut rules = rules();
    rules.sort_by_key(|rule| (urgency(rule), rule.name.clone()));
    let rows: String = rules.iter().map(row).collect();
    let today = format!("{before}{BEGIN}| alert | severity | after | says |\n|---|---|---|---|\n{rows}{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, today).unwrap();
    } else {
        assert!(
            text == today,
            "docs/runbooks/README.md is not of today: UPDATE=1 cargo test --test main alerts::index"
        );
    }
}
