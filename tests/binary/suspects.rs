//! Tests what the real binary says of faults whose culprit is known, over the simulation's measured times.

use mpswarden::sim::Injection;
use serde_json::Value;

use crate::support::http;
use crate::support::scene::Scene;
use crate::support::schema;
use crate::support::watchdog::Watchdog;

/// Three engines, a fault of the first, and the incident that it became.
fn after(injection: Injection) -> (Scene, Watchdog, Value) {
    let scene = Scene::with(3);
    let watchdog = scene.serving();
    scene.inject(injection);
    watchdog.await_event("suspects", "who: ");
    watchdog.await_event("serving", "restart of all clients ended serving");
    watchdog.await_serving();
    let incident = crate::support::scene::eventually("an incident that is over", || {
        let all: Value = serde_json::from_str(&http::get(watchdog.address(), "/api/v1/incidents").ok()?.1).ok()?;
        schema::assert_is("incidents", &all);
        let of_the_group = |incident: &&Value| incident["verdict"].is_string() && incident["result"] == "serving";
        all["incidents"].as_array()?.iter().find(of_the_group).cloned()
    });
    (scene, watchdog, incident)
}

fn strength(incident: &Value, engine: &str) -> String {
    let suspects = incident["suspects"].as_array().unwrap();
    let of = suspects.iter().find(|held| held["engine"] == engine).unwrap();
    of["strength"].as_str().unwrap().to_owned()
}

fn verdict(incident: &Value) -> &str {
    incident["verdict"].as_str().unwrap()
}

fn has_evidence_of(incident: &Value, source: &str) -> bool {
    incident["evidence"].as_array().unwrap().iter().any(|line| line["word"] == source)
}

fn ends(scene: &Scene, mut watchdog: Watchdog) {
    watchdog.stop();
    scene.assert_nothing_is_left();
}

/// What an engine prints convicts none: any user who sends it a prompt may have it print that. On a machine that is
/// busy otherwise the error may come too late to tell: then none is suspected, and it is tried again.
#[test]
fn a_traps_culprit_is_suspected_by_its_early_error() {
    for _ in 0..5 {
        let (scene, watchdog, incident) = after(Injection::Trap);
        ends(&scene, watchdog);
        for engine in ["qwen-a", "qwen-b", "qwen-c"] {
            assert_ne!(strength(&incident, engine), "convicted", "{incident:#}");
        }
        if strength(&incident, "qwen-a") == "suspected" {
            assert!(verdict(&incident).starts_with("perhaps qwen-a: its error came "), "{incident:#}");
            assert!(has_evidence_of(&incident, "output") && has_evidence_of(&incident, "server_log"));
            return;
        }
    }
    panic!("five traps made nobody suspected");
}

#[test]
fn an_illegal_address_convicts_nobody() {
    let (scene, watchdog, incident) = after(Injection::IllegalAddress);
    assert!(verdict(&incident).starts_with("not known: it was one of "), "{incident:#}");
    for engine in ["qwen-a", "qwen-b", "qwen-c"] {
        assert_eq!(strength(&incident, engine), "weak");
    }
    ends(&scene, watchdog);
}

#[test]
fn a_client_killed_with_work_in_flight_explains_the_fault_of_all() {
    let (scene, watchdog, incident) = after(Injection::SigkillBusy);
    assert!(verdict(&incident).starts_with("qwen-a: "), "{incident:#}");
    assert!(verdict(&incident).ends_with("that is no fault of its own"), "{incident:#}");
    assert_eq!((strength(&incident, "qwen-a"), strength(&incident, "qwen-b")), ("convicted".into(), "cleared".into()));
    assert!(has_evidence_of(&incident, "exit"));
    ends(&scene, watchdog);
}
