//! Engines that stand still, starve or lose their GPU process, and the drain before a planned stop.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use mpswarden::sim::{Injection, Traffic};

use crate::support::metrics::Metrics;
use crate::support::scene::{PATIENCE, Scene};
use crate::support::watchdog::{EnginePids, Watchdog};

/// Three engines that may hang for three seconds, and a watchdog that acts on it.
fn scene() -> Scene {
    let mut scene = Scene::with(3);
    scene.group().insert("policy".to_owned(), toml::toml! { hang = "enforce" }.into());
    (0..3).for_each(|place| drop(scene.engine(place).insert("hang_after".to_owned(), "3s".into())));
    scene
}

fn traffic(scene: &Scene, engines: &[&str]) -> Traffic {
    Traffic::start(engines.iter().filter_map(|name| scene.stage.engine_address(name))).unwrap()
}

fn tokens(metrics: &Metrics, engine: &str) -> f64 {
    metrics.sum("mps_engine_tokens_total", &[("engine", engine), ("kind", "generation")])
}

fn makes_tokens(watchdog: &Watchdog, engine: &str) {
    let before = tokens(&watchdog.metrics(), engine);
    watchdog.await_metrics("tokens of a sibling", |metrics| tokens(metrics, engine) > before);
}

/// The first engine alone is taken out for this fault and serves again; its siblings' processes and tokens go on.
fn the_first_engine_alone_restarts(injection: Injection, fault: &str, evidence: &str) {
    let scene = scene();
    let mut watchdog = scene.serving();
    let _traffic = traffic(&scene, &["qwen-a", "qwen-b"]);
    makes_tokens(&watchdog, "qwen-a");
    makes_tokens(&watchdog, "qwen-b");
    let before = watchdog.engines();
    scene.inject(injection);
    let found = watchdog.await_event(fault, evidence);
    assert_eq!(found.engine(), "qwen-a");
    watchdog.await_line("the new incarnation", |line| line.is("started", "incarnation 2"));
    watchdog.await_serving();
    makes_tokens(&watchdog, "qwen-b");
    only_the_first_is_new(&before, &watchdog.engines());
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_restarts_total", &[("tier", "engine"), ("reason", fault)]), 1.0);
    assert_eq!(metrics.sum("mps_restarts_total", &[]), 1.0, "{}", watchdog.told());
    assert_eq!((watchdog.generation(), metrics.sum("mps_fault_active", &[])), (1, 0.0));
    drop(_traffic);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

fn only_the_first_is_new(before: &[EnginePids], after: &[EnginePids]) {
    assert_ne!(before[0].main, after[0].main);
    assert_eq!(before[1..], after[1..]);
}

#[test]
fn an_engine_whose_kernel_never_ends_is_evicted_and_its_siblings_go_on() {
    the_first_engine_alone_restarts(Injection::Hang, "hang", "requests running and no token for ");
}

#[test]
fn an_engine_whose_gpu_process_is_stopped_is_evicted_and_the_evidence_says_so() {
    the_first_engine_alone_restarts(Injection::StopCore, "hang", "is stopped (state ");
}

#[test]
fn an_engine_that_is_stopped_as_a_whole_is_evicted_and_the_evidence_says_so() {
    the_first_engine_alone_restarts(Injection::Stop, "hang", "is stopped (state ");
}

#[test]
fn a_dead_gpu_process_behind_a_living_health_endpoint_is_found_at_once() {
    the_first_engine_alone_restarts(Injection::DeadCore, "engine_died", "calls itself healthy");
}

#[test]
fn an_engine_that_starves_is_told_and_left_alone() {
    let mut scene = scene();
    // Longer than the pauses of a sibling's traffic, which is its own: users who wait for one engine ask no other.
    (0..3).for_each(|place| drop(scene.engine(place).insert("hang_after".to_owned(), "8s".into())));
    let mut watchdog = scene.serving();
    let _traffic = [traffic(&scene, &["qwen-a"]), traffic(&scene, &["qwen-b"])];
    makes_tokens(&watchdog, "qwen-a");
    makes_tokens(&watchdog, "qwen-b");
    let before = watchdog.engines();
    scene.inject(Injection::Starve);
    watchdog.await_event("starved", "while qwen-b makes tokens");
    makes_tokens(&watchdog, "qwen-b");
    assert_eq!((watchdog.engines(), watchdog.count("hang", "")), (before, 0));
    assert_eq!(watchdog.metrics().sum("mps_restarts_total", &[]), 0.0);
    drop(_traffic);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

/// A request for so many tokens, a hundred a second; whether its answer was whole.
fn complete(address: SocketAddr, tokens: u32) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = format!(r#"{{"prompt":"How are you?","max_tokens":{tokens},"stream":true}}"#);
    let head = format!("POST /v1/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).is_ok() && answer.contains("data: [DONE]")
}

fn works(watchdog: &Watchdog, engine: &str) {
    let running = |metrics: &Metrics| metrics.sum("mps_engine_requests_running", &[("engine", engine)]) >= 1.0;
    watchdog.await_metrics("its request", running);
}

#[test]
fn requests_in_flight_end_before_the_watchdog_does() {
    let mut scene = Scene::set();
    scene.engine(0).insert("drain_timeout".to_owned(), "50s".into());
    let mut watchdog = scene.serving();
    let address = scene.stage.engine_address("qwen-a").unwrap();
    std::thread::scope(|scope| {
        let request = scope.spawn(|| complete(address, 500));
        works(&watchdog, "qwen-a");
        watchdog.ask_to_stop();
        watchdog.await_event("draining", "1 in flight");
        assert_eq!(watchdog.ready(), 503);
        watchdog.await_event("drained", "its last request ended");
        assert!(request.join().unwrap(), "the answer was cut off");
    });
    assert_eq!(watchdog.ended().code(), Some(0));
    scene.assert_nothing_is_left();
}

#[test]
fn a_second_signal_ends_a_drain() {
    let mut scene = Scene::set();
    scene.engine(0).insert("drain_timeout".to_owned(), "10m".into());
    let mut watchdog = scene.serving();
    let address = scene.stage.engine_address("qwen-a").unwrap();
    std::thread::scope(|scope| {
        let request = scope.spawn(|| complete(address, 60_000));
        works(&watchdog, "qwen-a");
        watchdog.ask_to_stop();
        watchdog.await_event("draining", "1 in flight");
        watchdog.ask_to_stop();
        assert_eq!(watchdog.ended().code(), Some(0));
        assert!(!request.join().unwrap(), "it was cut off");
    });
    scene.assert_nothing_is_left();
}
