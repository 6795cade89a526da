//! The terminal, `/api/v1/status` and `/metrics` say the same of one watchdog.

use serde_json::Value;

use crate::support::http;
use crate::support::metrics::Metrics;
use crate::support::scene::eventually;
use crate::terminal::asking::Demo;
use crate::terminal::player::asked;

/// What all three are asked for, in the words of the status.
fn of_status(status: &Value) -> Vec<(String, f64)> {
    let group = &status["groups"][0];
    let mut facts = vec![
        (format!("group is {}", group["state"].as_str().unwrap()), 1.0),
        (format!("server is {}", group["server"].as_str().unwrap()), 1.0),
    ];
    let mut number = |name: &str, value: &Value| facts.push((name.to_owned(), value.as_f64().unwrap_or(-1.0)));
    number("clients", &group["clients"]);
    number("generation", &group["generation"]);
    number("budget", &group["budget_remaining"]);
    number("gpu memory", &status["gpus"][0]["memory_used_bytes"]);
    for engine in group["engines"].as_array().unwrap() {
        let name = engine["name"].as_str().unwrap();
        number(&format!("memory of {name}"), &engine["device_memory_bytes"]);
        number(&format!("{name} is {}", engine["state"].as_str().unwrap()), &Value::from(1.0));
    }
    facts
}

/// The same facts, in the words of the metrics.
fn of_metrics(metrics: &Metrics, status: &Value) -> Vec<(String, f64)> {
    let group = &status["groups"][0];
    let of_group = ("group", "small-llms");
    let one = |name: &str, labels: &[(&str, &str)]| metrics.value(name, labels).unwrap_or(-1.0);
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let (state, server) = (word(&group["state"]), word(&group["server"]));
    let mut facts = vec![
        (format!("group is {state}"), one("mps_group_state", &[of_group, ("state", &state)])),
        (format!("server is {server}"), one("mps_server_state", &[of_group, ("state", &server)])),
        ("clients".to_owned(), one("mps_clients", &[of_group])),
        ("generation".to_owned(), one("mps_group_generation", &[of_group])),
        ("budget".to_owned(), one("mps_restart_budget_remaining", &[of_group])),
        ("gpu memory".to_owned(), one("mps_gpu_memory_used_bytes", &[("gpu", "0")])),
    ];
    for engine in group["engines"].as_array().unwrap() {
        let (name, state) = (word(&engine["name"]), word(&engine["state"]));
        let of_engine = [of_group, ("engine", name.as_str())];
        facts.push((format!("memory of {name}"), one("mps_engine_device_memory_bytes", &of_engine)));
        let labels = [of_group, ("engine", name.as_str()), ("state", state.as_str())];
        facts.push((format!("{name} is {state}"), one("mps_engine_state", &labels)));
    }
    facts
}

#[test]
fn the_terminal_the_status_and_the_metrics_agree() {
    let demo = Demo::play();
    let (socket, address) = (demo.socket(), demo.address());
    let terminal = || {
        let (code, out, _) = asked(&socket, &["status", "--json"]);
        (code == 0).then(|| serde_json::from_str::<Value>(&out).unwrap())
    };
    eventually("a demo that serves", || terminal().filter(|status| status["groups"][0]["state"] == "serving"));
    // Between three looks something may change: they agree when nothing does.
    eventually("agreement", || {
        let shown = terminal()?;
        let served: Value = serde_json::from_str(&http::get(address, "/api/v1/status").ok()?.1).ok()?;
        let metrics = Metrics::parse(&http::get(address, "/metrics").ok()?.1);
        let facts = of_status(&shown);
        assert!(facts.iter().all(|(_, value)| *value >= 0.0) || shown != served, "{facts:?}");
        (facts == of_status(&served) && facts == of_metrics(&metrics, &shown)).then_some(())
    });
    let (code, text, _) = asked(&socket, &["status"]);
    assert_eq!(code, 0);
    for part in ["small-llms  serving  enforce", "qwen-a", "qwen-b", "attached", "server active"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}
