//! A fault in the demo becomes an alert at a webhook, and resolves there after the recovery: the real binary,
//! a real Prometheus with the shipped rules and a real Alertmanager with the shipped example.

use std::net::SocketAddr;

use serde_json::Value;

use crate::alerts::alertmanager::Alertmanager;
use crate::alerts::shipped::{folder, recordings, rules};
use crate::alerts::webhook::Webhook;
use crate::support::http;
use crate::support::running::{self, Running, eventually};

/// Engines start one after the other, 1.5 s each: a recovery that lasts for some scrapes.
const ENGINES: &str = "6";

/// The second fault is for a machine on which the first comes before Prometheus is up.
fn demo() -> (Running, SocketAddr) {
    let faults = ["--inject", "illegal-address@15s", "--inject", "illegal-address@60s"];
    running::demo(&[&["--engines", ENGINES, "--for", "10m"], &faults[..]].concat())
}

/// Scrapes and evaluates each second.
fn prometheus(target: SocketAddr, alertmanager: SocketAddr) -> Option<(Running, SocketAddr)> {
    let rules = folder("alerts").join("*.rules.yaml");
    let text = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: ['{}']\n\
         alerting: {{ alertmanagers: [{{ static_configs: [{{ targets: ['{alertmanager}'] }}] }}] }}\n\
         scrape_configs: [{{ job_name: mpswarden, static_configs: [{{ targets: ['{target}'] }}] }}]\n",
        rules.display()
    );
    running::prometheus(&text)
}

fn data(prometheus: SocketAddr, path: &str) -> Option<Value> {
    let answer: Value = serde_json::from_str(&http::body(prometheus, path)?).ok()?;
    Some(answer["data"].clone())
}

/// Every shipped rule was evaluated over what the demo exports, without an error.
fn assert_rules_are_sound(prometheus: SocketAddr) {
    let groups = data(prometheus, "/api/v1/rules").unwrap()["groups"].clone();
    let evaluated: Vec<Value> =
        groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
    assert_eq!(evaluated.len(), rules().len() + recordings().len());
    for rule in evaluated {
        assert_eq!(rule["health"], "ok", "{}: {}", rule["name"], rule["lastError"]);
    }
}

#[test]
fn a_fault_in_the_demo_is_told_to_the_webhook_and_resolves_after_the_recovery() {
    let webhook = Webhook::listen();
    let Some(alertmanager) = Alertmanager::start(webhook.address) else { return };
    let (demo, target) = demo();
    let Some((_prometheus, prometheus)) = prometheus(target, alertmanager.address) else { return };

    let told = |alert: &str, status: &str| {
        eventually(&format!("{alert} {status}"), || webhook.told_of(alert, status).into_iter().next())
    };
    let (receiver, faulted) = told("MpsGroupFaulted", "firing");
    assert_eq!(receiver, "/chat", "a fault that is repaired pages nobody");
    assert_eq!(faulted["labels"]["fault"], "gpu_fault");
    let (_, recovering) = told("MpsRecoveryInProgress", "firing");
    assert_eq!(recovering["labels"]["group"], "small-llms");
    assert!(recovering["annotations"]["summary"].as_str().unwrap().contains("small-llms"), "{recovering}");
    let (_, resolved) = told("MpsRecoveryInProgress", "resolved");
    assert_eq!(resolved["labels"], recovering["labels"]);
    assert!(demo.told().contains("ended serving"), "{}", demo.told());

    assert_rules_are_sound(prometheus);
    assert_eq!(webhook.messages_at("/page"), 0, "what is repaired pages nobody");
}
