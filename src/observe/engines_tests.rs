//! An engine that is asked: late, asleep, without metrics, for a token.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::model::{GpuNamedBy, MetricsPlace, Report};

const LONG: Duration = Duration::from_secs(60);

fn engine() -> Member {
    Member::new(&"g".into(), &"e".into())
}

fn launch(url: &str, metrics: MetricsPlace) -> EngineLaunch {
    EngineLaunch {
        member: engine(),
        command: Vec::new(),
        user: None,
        working_directory: None::<PathBuf>,
        environment: Default::default(),
        environment_file: None,
        kind: EngineKind::Other,
        url: url.into(),
        health_path: "/health".into(),
        health_timeout: LONG,
        metrics,
        gpus: "GPU-1".into(),
        gpu_named_by: GpuNamedBy::Uuid,
        sm_percentage: None,
        device_memory_limit: None,
        probe: false,
        memory_max: None,
        found: None,
        external: None,
    }
}

fn endpoint(url: &str, metrics: MetricsPlace) -> Rc<Endpoint> {
    Rc::new(Endpoint::of(&launch(url, metrics)))
}

/// What a look reports, which must not fail.
async fn seen<F: Future<Output = Result<(), Blindness>>>(look: impl FnOnce(Reports) -> F) -> Vec<Observation> {
    let (sender, mut reports) = unbounded_channel();
    look(Reports(sender)).await.unwrap();
    let mut seen = Vec::new();
    while let Ok(Report::Observed(observation)) = reports.try_recv() {
        seen.push(observation);
    }
    seen
}

/// An engine that answers by path; it tells each request's first line and body.
async fn answering(answers: &'static [(&str, u16, &str)]) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (heard, hearing) = unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut caller, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let mut length = 0;
            while !is_whole(&request[..length]) {
                length += caller.read(&mut request[length..]).await.unwrap();
            }
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap();
            let (_, status, body) = answers.iter().find(|(known, ..)| *known == path).unwrap_or(&("", 404, ""));
            let words =
                format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            heard.send(format!("{path} {}", request.split("\r\n\r\n").nth(1).unwrap())).unwrap();
            caller.write_all(words.as_bytes()).await.unwrap();
        }
    });
    (url, hearing)
}

fn is_whole(request: &[u8]) -> bool {
    if request.starts_with(b"POST") { request.ends_with(b"}") } else { request.ends_with(b"\r\n\r\n") }
}

fn under() -> MetricsPlace {
    MetricsPlace::Under("/metrics".into())
}

#[tokio::test]
async fn an_engine_that_has_no_metrics_by_its_configuration_is_not_asked() {
    let place = endpoint("http://127.0.0.1:1", MetricsPlace::Nowhere);
    let observed = seen(|reports| look_load(engine(), place, LONG, reports)).await;
    let load = EngineLoad { no_metrics: Some("metrics_url = \"none\"".into()), ..EngineLoad::default() };
    assert_eq!(observed, [Observation::Load { engine: engine(), load }]);
}

#[tokio::test]
async fn metrics_may_stand_at_another_address() {
    let (url, mut hearing) = answering(&[("/m", 200, "llamacpp:requests_processing 2\n")]).await;
    let place = endpoint("http://127.0.0.1:1", MetricsPlace::Elsewhere(url, "/m".into()));
    let observed = seen(|reports| look_load(engine(), place, LONG, reports)).await;
    assert!(
        matches!(observed.as_slice(), [Observation::Load { load, .. }] if load.running == Some(2.0)),
        "{observed:?}"
    );
    assert_eq!(hearing.recv().await.unwrap(), "/m ");
}

#[tokio::test]
async fn an_engine_without_metrics_is_no_source_that_fails() {
    let (url, _hearing) = answering(&[("/metrics", 501, "{\"error\":{\"code\":501}}")]).await;
    let observed = seen(|reports| look_load(engine(), endpoint(&url, under()), LONG, reports)).await;
    let load = EngineLoad { no_metrics: Some("its /metrics answers 501".into()), ..EngineLoad::default() };
    assert_eq!(observed, [Observation::Load { engine: engine(), load }]);
}

#[tokio::test]
async fn a_token_is_asked_of_the_model_that_the_metrics_name() {
    const PAGE: &str = "vllm:num_requests_running{model_name=\"m\"} 0\n";
    let (url, mut hearing) = answering(&[("/metrics", 200, PAGE), ("/v1/completions", 200, "{}")]).await;
    let place = endpoint(&url, under());
    seen(|reports| look_load(engine(), place.clone(), LONG, reports)).await;
    let observed = seen(|reports| look_token(engine(), place.clone(), LONG, reports)).await;
    assert_eq!(observed, [Observation::Token { engine: engine(), given: true }]);
    assert_eq!(hearing.recv().await.unwrap(), "/metrics ");
    let request = hearing.recv().await.unwrap();
    assert!(request.starts_with("/v1/completions ") && request.contains("\"model\":\"m\""), "{request}");
}

#[tokio::test]
async fn a_model_that_no_metrics_name_is_looked_up_once() {
    let list = ("/v1/models", 200, "{\"data\":[{\"id\":\"n\"}]}");
    let (url, mut hearing) = answering(Box::leak(Box::new([list, ("/v1/completions", 200, "{}")]))).await;
    let place = endpoint(&url, under());
    for _ in 0..2 {
        seen(|reports| look_token(engine(), place.clone(), LONG, reports)).await;
    }
    let asked = [hearing.recv().await, hearing.recv().await, hearing.recv().await];
    let paths = asked.map(|request| request.unwrap().split(' ').next().unwrap().to_owned());
    assert_eq!(paths, ["/v1/models", "/v1/completions", "/v1/completions"]);
}

#[tokio::test]
async fn an_engine_that_answers_something_else_says_nothing_and_one_that_does_not_answer_gave_no_token() {
    let (url, _hearing) = answering(&[("/v1/completions", 503, "busy")]).await;
    assert_eq!(seen(|reports| look_token(engine(), endpoint(&url, under()), LONG, reports)).await, []);
    let (nobody, _hearing) = answering(&[]).await;
    assert_eq!(seen(|reports| look_token(engine(), endpoint(&nobody, under()), LONG, reports)).await, []);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = endpoint(&format!("http://{}", silent.local_addr().unwrap()), under());
    let observed = seen(|reports| look_token(engine(), place, Duration::from_millis(20), reports)).await;
    assert_eq!(observed, [Observation::Token { engine: engine(), given: false }]);
}

#[tokio::test]
async fn an_engine_that_sleeps_is_not_asked_for_a_token() {
    const PAGE: &str = "vllm:engine_sleep_state{sleep_state=\"awake\"} 0\n";
    let (url, mut hearing) = answering(&[("/metrics", 200, PAGE), ("/v1/completions", 200, "{}")]).await;
    let place = endpoint(&url, under());
    seen(|reports| look_load(engine(), place.clone(), LONG, reports)).await;
    assert_eq!(seen(|reports| look_token(engine(), place, LONG, reports)).await, []);
    hearing.recv().await.unwrap();
    assert!(hearing.try_recv().is_err());
}

#[tokio::test]
async fn the_ports_of_its_own_connections_are_told_while_a_look_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = endpoint(&format!("http://{}", listener.local_addr().unwrap()), under());
    assert!(place.own_ports().is_empty());
    let look = seen(|reports| look_health(engine(), place.clone(), Duration::from_millis(50), reports));
    let caller = async {
        let (stream, caller) = listener.accept().await.unwrap();
        assert_eq!(place.own_ports(), [caller.port()]);
        stream
    };
    let (observed, _stream) = tokio::join!(look, caller);
    assert_eq!(observed, [Observation::Health { engine: engine(), health: Health::NoAnswer }]);
}
