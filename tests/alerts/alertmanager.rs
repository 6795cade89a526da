//! A real Alertmanager with the shipped example, its receivers replaced and its waits shortened.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::alerts::shipped::folder;
use crate::support::http;
use crate::support::needs;
use crate::support::running::{Running, directory};

/// An alert's labels; `alertname` is one of them.
pub type Labels = BTreeMap<String, String>;

/// An alert as Alertmanager reports it.
#[derive(Debug, Deserialize)]
pub struct Known {
    pub fingerprint: String,
    pub labels: Labels,
    pub status: Status,
}

#[derive(Debug, Deserialize)]
pub struct Status {
    /// Fingerprints of the alerts that inhibit it.
    #[serde(rename = "inhibitedBy")]
    pub inhibited_by: Vec<String>,
}

pub struct Alertmanager {
    pub address: SocketAddr,
    _running: Running,
}

impl Alertmanager {
    /// Starts it; `receiver` takes the place of the example's. `None`: it is not installed.
    pub fn start(receiver: SocketAddr) -> Option<Alertmanager> {
        let program = needs::program("prometheus-alertmanager", "prometheus-alertmanager")?;
        let directory = directory();
        let file = directory.path().join("alertmanager.yml");
        fs::write(&file, configuration(receiver)).unwrap();
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.path={}", directory.path().join("data").display()));
        command.args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="]);
        let mut running = Running::start(directory, &mut command);
        let address = running.await_answer("\"Listening on\" address=", "/-/ready");
        Some(Alertmanager { address, _running: running })
    }

    /// Has these alerts fire, each given by its labels.
    pub fn fire(&self, alerts: &[Labels]) {
        let alerts: Vec<Value> = alerts.iter().map(|labels| json!({ "labels": labels })).collect();
        http::post(self.address, "/api/v2/alerts", &json!(alerts).to_string()).expect("alerts are taken");
    }

    /// Every alert that it knows now.
    pub fn alerts(&self) -> Vec<Known> {
        let answer = http::body(self.address, "/api/v2/alerts").expect("alerts are told");
        serde_json::from_str(&answer).unwrap()
    }
}

fn configuration(receiver: SocketAddr) -> String {
    let mut text = fs::read_to_string(folder("alerts").join("alertmanager.example.yml")).unwrap();
    for (shipped, here) in [
        ("127.0.0.1:9095", receiver.to_string().as_str()),
        ("group_wait: 30s", "group_wait: 200ms"),
        ("group_wait: 10s", "group_wait: 200ms"),
        ("group_interval: 5m", "group_interval: 200ms"),
    ] {
        assert!(text.contains(shipped), "the example has no `{shipped}`");
        text = text.replace(shipped, here);
    }
    text
}
