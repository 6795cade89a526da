//! Every expression of every dashboard returns data: the real binary plays faults, and a real Prometheus
//! scrapes it, beside a stand-in for what a demo has not.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::dashboards::expressions::with_all_chosen;
use crate::dashboards::shipped::{Dashboard, Query, dashboards, text};
use crate::dashboards::stand_in;
use crate::support::http;
use crate::support::running::{self, Running};

/// Upper bound for all data to be there, on a loaded machine too.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two rounds: as often as Prometheus scrapes.
const PAUSE: Duration = Duration::from_secs(1);

/// A fault of the whole group, an engine that dies alone, a server that dies. The later ones are for a machine on
/// which the first comes before Prometheus is up.
fn demo() -> (Running, SocketAddr) {
    let faults = ["illegal-address@15s", "sigkill-idle:qwen-b@30s", "server-kill@45s", "illegal-address@75s"];
    let injections = faults.iter().flat_map(|fault| ["--inject", fault]);
    running::demo(&["--for", "10m"].into_iter().chain(injections).collect::<Vec<_>>())
}

/// Scrapes each second.
fn prometheus(targets: [SocketAddr; 2]) -> Option<(Running, SocketAddr)> {
    let targets = targets.map(|target| format!("'{target}'")).join(", ");
    let text = format!(
        "global: {{ scrape_interval: 1s }}\n\
         scrape_configs: [{{ job_name: mpswarden, static_configs: [{{ targets: [{targets}] }}] }}]\n"
    );
    running::prometheus(&text)
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = write!(encoded, "%{byte:02X}");
        encoded
    })
}

/// The labels of all series that have a number now; `None`: there are none.
fn series(prometheus: SocketAddr, expr: &str) -> Option<BTreeSet<String>> {
    let answer = http::body(prometheus, &format!("/api/v1/query?query={}", encoded(&with_all_chosen(expr))))?;
    let answer: Value = serde_json::from_str(&answer).ok()?;
    let is_number = |one: &&Value| one["value"][1].as_str().is_some_and(|value| value != "NaN");
    let found: Vec<&Value> = answer["data"]["result"].as_array()?.iter().filter(is_number).collect();
    let labels = |one: &&Value| one["metric"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    (!found.is_empty()).then(|| found.iter().flat_map(labels).collect())
}

/// The labels that a legend is made of.
fn named(legend: &str) -> impl Iterator<Item = &str> {
    legend.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0))
}

/// Series are there, and their legend names labels that they have.
fn is_answered(prometheus: SocketAddr, query: &Query) -> bool {
    series(prometheus, &query.expr).is_some_and(|labels| named(&query.legend).all(|label| labels.contains(label)))
}

/// What a variable offers: `label_values(SELECTOR, LABEL)`.
fn offers(dashboard: &Dashboard) -> Vec<Query> {
    let of_prometheus = dashboard.variables().iter().filter(|variable| variable["type"] == "query");
    let query = |variable: &Value| {
        let inside = text(&variable["definition"]).strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (selector, label) = inside.rsplit_once(", ").unwrap();
        let place = format!("{}: variable {}", dashboard.file, text(&variable["name"]));
        Query { place, expr: selector.to_owned(), legend: format!("{{{{{label}}}}}") }
    };
    of_prometheus.map(query).collect()
}

#[test]
fn every_expression_returns_data_from_a_demo() {
    let (_demo, target) = demo();
    let Some((_prometheus, prometheus)) = prometheus([target, stand_in::watchdog()]) else { return };
    let asked = |dashboard: &Dashboard| dashboard.queries().into_iter().chain(offers(dashboard)).collect::<Vec<_>>();
    let mut waiting: Vec<Query> = dashboards().iter().flat_map(asked).collect();
    let deadline = Instant::now() + PATIENCE;
    while !waiting.is_empty() && Instant::now() < deadline {
        thread::sleep(PAUSE);
        waiting.retain(|query| !is_answered(prometheus, query));
    }
    let places: Vec<&str> = waiting.iter().map(|query| query.place.as_str()).collect();
    assert!(places.is_empty(), "without data:\n{}", places.join("\n"));
    assert_eq!(series(prometheus, "mps_of_nobody"), None, "what nobody exports has no data");
}
