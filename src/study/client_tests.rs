//! The client and the load against servers that answer well and badly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::{Caller, Target};
use super::load::{LoadOrder, Loaded, Pace, Step, Worker, generate};
use super::noise::Finest;
use super::request::Lengths;
use super::spread::Spread;

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
const TOKEN: &str = "data: {\"choices\":[{\"text\":\" a\"}]}\n\n";
const END: &str = "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n";
const NONE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":0}}\n\n";
const ONE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":1}}\n\n";
const LENGTHS: Lengths = Lengths { prompt: 8, output: 3 };

/// A whole answer of this text.
fn whole(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Three tokens, two in one chunk by the server's count.
fn well() -> String {
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":3}}"#;
    let end = r#"{"choices":[{"text":"","finish_reason":"length"}]}"#;
    format!("{STREAM}{TOKEN}{TOKEN}data: {end}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
}

/// A server; what it is asked goes through `answer`, path and body.
async fn server(answer: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer.clone()));
        }
    });
    url
}

async fn serve(mut stream: TcpStream, answer: Arc<impl Fn(&str, &str) -> String>) {
    let mut text = String::new();
    let mut piece = [0; 4096];
    loop {
        let length = stream.read(&mut piece).await.unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&piece[..length]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let wanted = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if length == 0 || body.len() >= wanted.unwrap_or(0) {
            let path = head.split(' ').nth(1).unwrap_or_default();
            let _ = stream.write_all(answer(path, body).as_bytes()).await;
            return;
        }
    }
}

/// One completion of an engine that answered its trial well.
async fn completed(answer: String) -> Result<Option<u64>, String> {
    let asked = AtomicUsize::new(0);
    let url = server(move |path, _| match path {
        "/v1/models" => whole("404 Not Found", ""),
        _ if asked.fetch_add(1, Ordering::SeqCst) == 0 => well(),
        _ => answer.clone(),
    });
    let target = Target::meet(&url.await, None).await.unwrap();
    let ended = Caller::of(&target).stream(LENGTHS, Instant::now(), |_, _| {}).await;
    ended.map(|usage| usage.map(|usage| usage.completion_tokens))
}

#[tokio::test]
async fn the_model_is_asked_for_and_every_field_is_sent_to_a_server_that_takes_it() {
    let models = r#"{"data":[{"id":"tiny"}]}"#;
    let url = server(move |path, body| match path {
        "/v1/models" => whole("200 OK", models),
        _ if ["\"tiny\"", "ignore_eos", "min_tokens", "include_usage", "\"prompt\":["]
            .iter()
            .all(|part| body.contains(part)) =>
        {
            well()
        }
        _ => whole("500 Internal Server Error", "a field is missing"),
    });
    let target = Target::meet(&url.await, None).await.unwrap();
    assert_eq!((target.model.as_deref(), target.lacks()), (Some("tiny"), None));
}

#[tokio::test]
async fn a_server_that_refuses_a_field_is_asked_without_it_and_that_is_told() {
    let url = server(|path, body| match path {
        "/v1/models" => whole("404 Not Found", ""),
        _ if body.contains("\"prompt\":[") => whole("400 Bad Request", "prompt must be a string"),
        _ if body.contains("ignore_eos") => whole("422 Unprocessable Entity", "unknown field"),
        _ => well(),
    });
    let target = Target::meet(&url.await, None).await.unwrap();
    let lacks = target.lacks().unwrap();
    assert!(lacks.contains("token ids") && lacks.contains("ignore_eos") && !lacks.contains("usage"), "{lacks}");
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_told_with_its_reason() {
    let url = server(|_, _| whole("400 Bad Request", "no such model\nsecond line")).await;
    let why = Target::meet(&url, None).await.unwrap_err();
    assert_eq!(why, "HTTP 400: no such model second line");
    let why = Target::meet("http://127.0.0.1:1", None).await.unwrap_err();
    assert!(why.contains("no connection to 127.0.0.1:1"), "{why}");
    assert!(Target::meet("https://h", None).await.unwrap_err().contains("no http://host:port"));
}

#[tokio::test]
async fn an_answer_counts_only_from_its_beginning_to_its_end() {
    assert_eq!(completed(well()).await, Ok(Some(3)));
    let uncounted = format!("{STREAM}{TOKEN}data: [DONE]\n\n");
    assert_eq!(completed(uncounted).await, Ok(None));
    for (answer, part) in [
        (whole("503 Service Unavailable", "overloaded"), "HTTP 503: overloaded"),
        (format!("{STREAM}{TOKEN}"), "without an end"),
        (format!("{STREAM}data: [DONE]\n\n"), "without tokens"),
        (format!("{STREAM}{END}{NONE}data: [DONE]\n\n"), "without tokens"),
        (format!("{STREAM}{TOKEN}data: {{\"error\":\"dead\"}}\n\n"), "it failed: \"dead\""),
        (format!("{STREAM}data: nonsense\n\n"), "no chunk"),
        (format!("{STREAM}{}", "x".repeat(300 << 10)), "a line of over 256 KiB"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndata: x".to_owned(), "answers no HTTP"),
        ("garbage\r\n\r\n".to_owned(), "answers no HTTP"),
    ] {
        let why = completed(answer).await.unwrap_err();
        assert!(why.contains(part), "{part}: {why}");
    }
}

#[tokio::test]
async fn an_answer_has_tokens_by_the_servers_count_or_by_its_chunks_and_never_by_what_they_show() {
    for (answer, counted) in [
        (format!("{STREAM}{END}{ONE}"), Some(1)),
        (format!("{STREAM}{END}"), None),
        (format!("{STREAM}{ONE}data: [DONE]\n\n"), Some(1)),
        (format!("{STREAM}data: {{\"choices\":[{{\"text\":null}}]}}\n\n{END}"), None),
        (format!("{STREAM}data: null\n\n{TOKEN}data: {{\"choices\":null,\"usage\":null}}\n\n{END}{ONE}"), Some(1)),
    ] {
        assert_eq!(completed(answer.clone()).await, Ok(counted), "{answer}");
    }
}

#[tokio::test]
async fn one_odd_answer_costs_one_request_and_not_the_engine() {
    for odd in ["data: {\n\n", "data: [DONE]\n\n", "data: {\"error\":\"busy\"}\n\n"] {
        let asked = AtomicUsize::new(0);
        let url = server(move |path, _| match path {
            "/v1/models" => whole("404 Not Found", ""),
            _ if asked.fetch_add(1, Ordering::SeqCst) == 0 => format!("{STREAM}{odd}"),
            _ => well(),
        });
        assert!(Target::meet(&url.await, None).await.is_ok(), "{odd}");
    }
}

async fn order(url: &str, concurrency: u32) -> LoadOrder {
    let target = Target::meet(url, None).await.unwrap();
    LoadOrder {
        engines: vec![Worker { engine: "a".to_owned(), target, concurrency }],
        lengths: LENGTHS,
        pace: Pace::Closed,
        warm_up: 0.05,
        seconds: 0.2,
        longest: 20.0,
    }
}

/// Makes the load; what came of it, and the steps before.
async fn loaded(order: LoadOrder) -> (Loaded, Vec<Step>) {
    let made = tokio::task::spawn_blocking(move || {
        let mut steps = Vec::new();
        generate(&order, |step| steps.push(step)).unwrap();
        steps
    });
    let mut steps = made.await.unwrap();
    let Some(Step::Done(loaded)) = steps.pop() else { panic!("{steps:?}") };
    (loaded, steps)
}

#[tokio::test]
async fn load_goes_on_until_enough_of_it_was_seen_and_is_counted_as_the_server_counts() {
    let url = server(|_, _| well()).await;
    let (loaded, steps) = loaded(order(&url, 2).await).await;
    assert_eq!((steps, loaded.failures, loaded.not_measured), (vec![Step::Counts, Step::Counted], Vec::new(), None));
    let measured = &loaded.engines[0];
    assert!(measured.whole >= 20 && measured.requests >= measured.whole && measured.failed == 0, "{measured:?}");
    assert!(measured.running > 0.0 && measured.running <= 2.0, "{measured:?}");
    let tokens = measured.prompt_tokens + measured.generation_tokens;
    let (least, most) = (11 * measured.whole, 11 * (measured.requests + 2));
    assert!((least..=most).contains(&tokens), "{measured:?}");
}

#[tokio::test]
async fn an_engine_that_fails_every_request_is_not_measured_and_the_reason_is_kept() {
    let asked = AtomicUsize::new(0);
    let url = server(move |path, _| match path {
        "/v1/models" => whole("404 Not Found", ""),
        _ if asked.fetch_add(1, Ordering::SeqCst) == 0 => well(),
        _ => whole("500 Internal Server Error", "dead"),
    });
    let short = LoadOrder { longest: 0.3, ..order(&url.await, 2).await };
    let (loaded, steps) = loaded(short).await;
    assert_eq!((steps, loaded.engines.len()), (Vec::new(), 0));
    assert_eq!(loaded.failures, [("a".to_owned(), "HTTP 500: dead".to_owned())]);
    assert_eq!(loaded.not_measured.unwrap(), "the first requests to a did not all end within 300 ms");
}

#[tokio::test]
async fn an_answer_now_and_then_that_goes_wrong_costs_its_request_alone() {
    let asked = AtomicUsize::new(0);
    let url = server(move |path, _| match path {
        "/v1/models" => whole("404 Not Found", ""),
        _ => match asked.fetch_add(1, Ordering::SeqCst) % 40 {
            20 => whole("429 Too Many Requests", "slow down"),
            21 => format!("{STREAM}data: nonsense\n\n"),
            _ => well(),
        },
    });
    let (loaded, _) = loaded(LoadOrder { seconds: 0.5, ..order(&url.await, 4).await }).await;
    let measured = &loaded.engines[0];
    assert!(loaded.not_measured.is_none() && measured.failed > 0 && measured.whole > measured.failed, "{loaded:?}");
}

#[tokio::test]
async fn requests_that_come_by_themselves_keep_their_rate() {
    let url = server(|_, _| well()).await;
    let open = LoadOrder { pace: Pace::Open { rate: 200.0 }, seconds: 1.0, ..order(&url, 64).await };
    let (loaded, _) = loaded(open).await;
    let measured = &loaded.engines[0];
    let rate = measured.requests as f64 / measured.seconds;
    assert!((100.0..300.0).contains(&rate) && measured.running < 64.0, "{measured:?}");
}

#[tokio::test]
async fn a_rate_that_an_engine_cannot_keep_up_with_is_not_measured() {
    let url = server(|path, _| {
        if path == "/v1/completions" {
            std::thread::sleep(Duration::from_millis(20));
        }
        well()
    });
    let open = LoadOrder { pace: Pace::Open { rate: 500.0 }, ..order(&url.await, 2).await };
    let why = loaded(open).await.0.not_measured.unwrap();
    assert_eq!(why, "a could not keep up with 500 requests a second: over 2 were in flight");
}

/// A server that answers one request after the other, each in this time: of a fixed rate, whatever is in flight.
async fn paced(time: Duration) -> String {
    let url = server(move |path, _| {
        if path == "/v1/completions" {
            std::thread::sleep(time);
        }
        well()
    });
    url.await
}

#[tokio::test]
async fn the_true_ratio_of_two_rates_is_told_over_real_connections() {
    let [alone, shared] = [paced(Duration::from_millis(10)).await, paced(Duration::from_micros(12_500)).await];
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let mut rates = Vec::new();
        for url in [&alone, &shared] {
            let (loaded, _) = loaded(LoadOrder { seconds: 0.4, ..order(url, 4).await }).await;
            rates.push(loaded.engines[0].rate().unwrap());
        }
        ratios.push(rates[1] / rates[0]);
    }
    let told = Spread::of_ratios(ratios, Finest { noise: None, edges: 0.02 }, 2.0).unwrap();
    assert!(told.low < 0.85 && told.high > 0.75, "{told:?} is not 0.8");
}
