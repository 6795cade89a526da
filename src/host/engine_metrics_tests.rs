//! Pages as engines write them, garbage, and real sockets that misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const LONG: Duration = Duration::from_secs(60);
const VLLM: &str = include_str!("../../tests/fixtures/engine_metrics/vllm.txt");
const SGLANG: &str = include_str!("../../tests/fixtures/engine_metrics/sglang.txt");

fn parse(text: impl AsRef<[u8]>) -> Result<EngineLoad, MetricsError> {
    let mut page = Page::default();
    page.push(text.as_ref())?;
    page.finish()
}

fn running(text: impl AsRef<[u8]>) -> Option<f64> {
    parse(text).unwrap().running
}

#[test]
fn vllms_figures_are_read_and_all_else_is_left() {
    let load = EngineLoad {
        running: Some(24.0),
        waiting: Some(7.0),
        kv_cache: Some(0.341_269_841_269_841_3),
        prompt_tokens: Some(4_882_260.0),
        generation_tokens: Some(1_397_950.0),
        requests: Some(9351.0),
        model: Some("Qwen/Qwen2.5-0.5B-Instruct".into()),
        ..EngineLoad::default()
    };
    assert_eq!(parse(VLLM).unwrap(), load);
}

#[test]
fn sglangs_figures_are_read_without_the_shares_of_each_priority() {
    let load = EngineLoad {
        running: Some(14.0),
        waiting: Some(3.0),
        kv_cache: Some(0.74),
        prompt_tokens: Some(9001.0),
        generation_tokens: Some(4400.0),
        requests: None,
        model: Some("qwen/qwen2.5-0.5b-instruct".into()),
        ..EngineLoad::default()
    };
    assert_eq!(parse(SGLANG).unwrap(), load);
}

#[test]
fn a_page_may_be_cut_anywhere() {
    let whole = parse(VLLM).unwrap();
    for size in [1, 2, 3, 7, 64, 1000] {
        let mut page = Page::default();
        VLLM.as_bytes().chunks(size).for_each(|piece| page.push(piece).unwrap());
        assert_eq!(page.finish().unwrap(), whole, "pieces of {size}");
    }
}

#[test]
fn schedulers_of_one_engine_add_up_and_the_fullest_cache_counts() {
    let text = "vllm:num_requests_running{engine=\"0\"} 3\nvllm:num_requests_running{engine=\"1\"} 4\n\
                vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.75\n";
    let load = parse(text).unwrap();
    assert_eq!((load.running, load.kv_cache), (Some(7.0), Some(0.75)));
}

#[test]
fn an_older_name_counts_only_where_the_newer_is_missing() {
    let old = "vllm:gpu_cache_usage_perc 0.5\nvllm:prompt_tokens 10\n";
    assert_eq!((parse(old).unwrap().kv_cache, parse(old).unwrap().prompt_tokens), (Some(0.5), Some(10.0)));
    let both = format!("{old}vllm:kv_cache_usage_perc 0.4\nvllm:prompt_tokens_total 11\n");
    assert_eq!((parse(&both).unwrap().kv_cache, parse(&both).unwrap().prompt_tokens), (Some(0.4), Some(11.0)));
}

#[test]
fn a_page_without_a_known_name_shows_an_empty_load() {
    for page in ["", "# EOF\n", "\n\r\n", "up 1\nhttp_requests{path=\"/\"} 3 1763850123000\nworst +Inf\nnone NaN\n"] {
        assert_eq!(parse(page).unwrap(), EngineLoad::default(), "{page:?}");
    }
}

#[test]
fn a_figure_that_can_not_be_is_none_and_the_others_stay() {
    for value in ["NaN", "-1", "+Inf", "1e999"] {
        let text = format!("vllm:num_requests_running {value}\nvllm:num_requests_running{{engine=\"1\"}} 2\n");
        assert_eq!(running(format!("{text}sglang:num_running_reqs 5\n")), None, "{value}");
        assert_eq!(parse(format!("{text}vllm:num_requests_waiting 3\n")).unwrap().waiting, Some(3.0), "{value}");
    }
    assert_eq!(parse("vllm:kv_cache_usage_perc 34.1\nvllm:num_requests_running 1\n").unwrap().kv_cache, None);
    assert_eq!(running("vllm:num_requests_running 1e308\n".repeat(9)), None);
}

#[test]
fn label_values_may_hold_anything() {
    let page = b"vllm:num_requests_running{ model_name = \"a \\\"b\\\"\\n\\\\{c}=,\xff\xfe\" , engine=\"0\", } 2 1763850123000\r\n";
    let load = parse(page).unwrap();
    assert_eq!(load.running, Some(2.0));
    assert_eq!(load.model.as_deref(), Some("a \"b\"\n\\{c}=,\u{fffd}\u{fffd}"));
    let long = format!("vllm:num_requests_running{{model_name=\"{}\"}} 1\n", "ä".repeat(5000));
    assert_eq!(parse(long).unwrap().model.unwrap().chars().count(), LONGEST_MODEL);
}

#[test]
fn what_is_no_text_format_fails_with_its_line() {
    for garbage in [
        &b"<!DOCTYPE html>\n"[..],
        b"{\"detail\":\"Not Found\"}\n",
        b"Not Found\n",
        b"OK\n",
        b"\x1f\x8b\x08\0\0\n",
        b"1up 3\n",
        b"up is down\n",
        b"\xff\xfe 1\n",
        b"vllm:num_requests_running\n",
        b"vllm:num_requests_running many\n",
        b"vllm:num_requests_running{engine=\"0\" 1\n",
        b"vllm:num_requests_running{engine=\"0} 1\n",
        b"vllm:num_requests_running{engine} 1\n",
        b"vllm:num_requests_running{engine=\"0\"}\n",
        b"vllm:num_requests_running \xff\n",
    ] {
        let page = [b"# HELP up Whether.\n", garbage].concat();
        let error = parse(page).unwrap_err();
        assert!(matches!(error, MetricsError::Malformed { line: 2, .. }), "{error}: {garbage:?}");
    }
}

#[test]
fn half_a_line_at_the_end_fails() {
    let error = parse("up 1\nvllm:num_requests_running 1").unwrap_err();
    assert_eq!(error.to_string(), "its metrics end in the middle of line 2");
}

#[test]
fn no_page_is_held_or_followed_for_ever() {
    let mut page = Page::default();
    let error = (0..).find_map(|_| page.push(&[b'x'; 1000]).err()).unwrap();
    assert!(matches!(error, MetricsError::LongLine { line: 1 }), "{error}");
    assert!(page.begun.capacity() <= 2 * LONGEST_LINE);

    let long = [&[b'#'; LONGEST_LINE + 1][..], b"\n"].concat();
    assert!(matches!(parse(long), Err(MetricsError::LongLine { line: 1 })));

    let mut page = Page::default();
    let series = b"http_requests_total{path=\"/a/very/long/one/it/is/and/another/one\"} 1\n".repeat(100);
    let error = (0..).find_map(|_| page.push(&series).err()).unwrap();
    assert_eq!(error.to_string(), "over 100000 lines of metrics: see which of its labels has so many values");

    let mut page = Page::default();
    let comment = [&[b'#'; 10_000][..], b"\n"].concat();
    let error = (0..).find_map(|_| page.push(&comment).err()).unwrap();
    assert_eq!(error.to_string(), "over 16 MiB of metrics: see what answers at its metrics_path");
}

proptest! {
    /// Garbage in a real page, cut anywhere: a result, the same as of the whole page.
    #[test]
    fn nothing_panics_and_where_a_page_is_cut_makes_no_difference(
        sglang: bool,
        spots in vec((any::<Index>(), vec(any::<u8>(), 0..4)), 0..6),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let mut page = if sglang { SGLANG } else { VLLM }.as_bytes().to_vec();
        for (spot, bytes) in spots {
            let at = spot.index(page.len());
            page.splice(at..(at + bytes.len()).min(page.len()), bytes);
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(page.len())).collect();
        cuts.sort();
        let ends = cuts.iter().copied().chain([page.len()]);
        let mut pieces = [0].into_iter().chain(cuts.iter().copied()).zip(ends).map(|(start, end)| &page[start..end]);
        let mut reading = Page::default();
        let read = pieces.try_for_each(|piece| reading.push(piece)).and_then(|()| reading.finish());
        let text = |read: Result<EngineLoad, MetricsError>| read.map_err(|error| error.to_string());
        prop_assert_eq!(text(read), text(parse(&page)));
    }
}

/// A server that does the same to each of its callers, once it was asked.
async fn server<F: Future<Output = ()> + Send>(treat: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut caller, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = caller.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /metrics HTTP/1.1\r\n"));
            treat(caller).await;
        }
    });
    url
}

/// What comes of a server that says these words, then does nothing until its caller leaves.
async fn answered(words: &'static [u8]) -> Result<EngineLoad, MetricsError> {
    let url = server(move |mut caller| async move {
        caller.write_all(words).await.ok();
        tokio::io::copy(&mut caller, &mut tokio::io::sink()).await.ok();
    });
    read(&mut Peer::new(&url.await), "/metrics", LONG).await
}

/// What comes of a server that says `head`, then `piece` again and again until its caller leaves.
async fn flooded(head: &'static [u8], piece: Vec<u8>, timeout: Duration) -> MetricsError {
    let (left, mut gone) = tokio::sync::mpsc::channel(1);
    let url = server(move |mut caller| {
        let (left, piece) = (left.clone(), piece.clone());
        async move {
            caller.write_all(head).await.ok();
            while caller.write_all(&piece).await.is_ok() {
                tokio::task::yield_now().await;
            }
            left.send(()).await.ok();
        }
    });
    let mut peer = Peer::new(&url.await);
    let error = read(&mut peer, "/metrics", timeout).await.unwrap_err();
    // The connection was closed.
    gone.recv().await.unwrap();
    error
}

#[tokio::test]
async fn a_page_comes_over_a_socket_whole_or_in_chunks() {
    let page = b"HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\nvllm:num_requests_running 3\n";
    assert_eq!(answered(page).await.unwrap().running, Some(3.0));
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   7\r\nvllm:nu\r\n15\r\nm_requests_running 3\n\r\n0\r\n\r\n";
    assert_eq!(answered(chunks).await.unwrap().running, Some(3.0));
}

#[tokio::test]
async fn an_engine_without_metrics_shows_an_empty_load_and_one_that_fails_is_told() {
    for words in [&b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found"[..], b"HTTP/1.1 405 No\r\n\r\n"] {
        assert_eq!(answered(words).await.unwrap(), EngineLoad::default());
    }
    let error = answered(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").await.unwrap_err();
    assert_eq!(error.to_string(), "its metrics answer with status 503");
}

#[tokio::test]
async fn an_engine_that_says_no_http_or_half_a_page_fails() {
    assert!(matches!(answered(b"SSH-2.0-OpenSSH_9.9\r\n").await, Err(MetricsError::Get(GetError::Malformed { .. }))));
    let url = server(|mut caller| async move {
        caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nvllm:num_requests_running 3\n").await.unwrap();
    });
    let error = read(&mut Peer::new(&url.await), "/metrics", LONG).await.unwrap_err();
    assert!(matches!(error, MetricsError::Get(GetError::Malformed { .. })), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_reset_fails() {
    let url = server(|mut caller| async move {
        caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nvllm:num").await.unwrap();
        caller.set_zero_linger().unwrap();
    });
    let error = read(&mut Peer::new(&url.await), "/metrics", LONG).await.unwrap_err();
    assert!(matches!(error, MetricsError::Get(GetError::Malformed { .. })), "{error}");
}

#[tokio::test]
async fn an_engine_that_hangs_or_trickles_costs_its_time_and_no_more() {
    for head in [&b"HTTP/1.1 200 OK\r\n"[..], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"] {
        let trickle = if head.ends_with(b"\r\n\r\n") { &b"2\r\n#\n\r\n"[..] } else { b"" };
        let url = server(move |mut caller| async move {
            caller.write_all(&[head, trickle].concat()).await.ok();
            tokio::io::copy(&mut caller, &mut tokio::io::sink()).await.ok();
        });
        let error = read(&mut Peer::new(&url.await), "/metrics", Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, MetricsError::Get(GetError::Timeout { .. })), "{error}");
    }
}

#[tokio::test]
async fn gigabytes_and_a_million_series_are_cut_off_and_a_head_without_an_end_too() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n";
    let long = [&[b'#'; 10_000][..], b"\n"].concat();
    assert!(matches!(flooded(head, long, LONG).await, MetricsError::TooLarge));
    assert!(matches!(flooded(head, vec![b'x'; 65536], LONG).await, MetricsError::LongLine { line: 1 }));
    let series = b"vllm:num_requests_running{request=\"1234567\"} 1\n".repeat(1000);
    assert!(matches!(flooded(head, series, LONG).await, MetricsError::TooManyLines));
    let error = flooded(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n".repeat(100), LONG).await;
    assert!(matches!(error, MetricsError::Get(GetError::Malformed { .. })), "{error}");
}
