//! Pages as engines write them, garbage, and real sockets that misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::page::{LONGEST_LINE, LONGEST_MODEL};
use super::*;
use crate::model::EngineKind;

const LONG: Duration = Duration::from_secs(60);
const VLLM: &str = include_str!("../../../tests/fixtures/engine_metrics/vllm.txt");
const VLLM_0_25: &str = include_str!("../../../tests/fixtures/engine_metrics/vllm-0.25.1.txt");
const SGLANG: &str = include_str!("../../../tests/fixtures/engine_metrics/sglang.txt");

fn parse(text: impl AsRef<[u8]>) -> EngineLoad {
    let mut page = Page::default();
    let _ = page.push(text.as_ref());
    page.finish("/metrics")
}

fn running(text: impl AsRef<[u8]>) -> Option<f64> {
    parse(text).running
}

fn no_metrics(text: impl AsRef<[u8]>) -> Option<String> {
    parse(text).no_metrics
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
        steps: parse(VLLM).steps,
        model: Some("Qwen/Qwen2.5-0.5B-Instruct".into()),
        kind: Some(EngineKind::Vllm),
        ..EngineLoad::default()
    };
    assert_eq!(parse(VLLM), load);
}

#[test]
fn a_recorded_page_of_vllm_0_25_is_read() {
    let load = EngineLoad {
        running: Some(8.0),
        waiting: Some(0.0),
        kv_cache: Some(0.003_341_878_776_780_826_7),
        prompt_tokens: Some(11264.0),
        generation_tokens: Some(3969.0),
        requests: Some(80.0),
        steps: Some(507.0),
        asleep: Some(false),
        model: Some("qwen05".into()),
        kind: Some(EngineKind::Vllm),
        no_metrics: None,
    };
    assert_eq!(parse(VLLM_0_25), load);
}

#[test]
fn sglangs_figures_are_read_without_the_shares_of_each_priority() {
    let load = EngineLoad {
        running: Some(14.0),
        waiting: Some(3.0),
        kv_cache: Some(0.74),
        prompt_tokens: Some(9001.0),
        generation_tokens: Some(4400.0),
        steps: Some(1835.1),
        model: Some("qwen/qwen2.5-0.5b-instruct".into()),
        kind: Some(EngineKind::Sglang),
        ..EngineLoad::default()
    };
    assert_eq!(parse(SGLANG), load);
}

#[test]
fn llama_cpps_figures_are_read() {
    let page = "# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.\n\
                # TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 9467\n\
                llamacpp:prompt_seconds_total 11.2223\nllamacpp:tokens_predicted_total 167\n\
                llamacpp:n_decode_total 89\nllamacpp:n_busy_slots_per_decode 1\n\
                llamacpp:kv_cache_usage_ratio 0.25\nllamacpp:requests_processing 2\nllamacpp:requests_deferred 1\n";
    let load = EngineLoad {
        running: Some(2.0),
        waiting: Some(1.0),
        kv_cache: Some(0.25),
        prompt_tokens: Some(9467.0),
        generation_tokens: Some(167.0),
        steps: Some(89.0),
        kind: Some(EngineKind::LlamaCpp),
        ..EngineLoad::default()
    };
    assert_eq!(parse(page), load);
}

#[test]
fn a_page_may_be_cut_anywhere() {
    let whole = parse(VLLM);
    for size in [1, 2, 3, 7, 64, 1000] {
        let mut page = Page::default();
        VLLM.as_bytes().chunks(size).for_each(|piece| page.push(piece).unwrap());
        assert_eq!(page.finish("/metrics"), whole, "pieces of {size}");
    }
}

#[test]
fn schedulers_of_one_engine_add_up_and_the_fullest_cache_counts() {
    let text = "vllm:num_requests_running{engine=\"0\"} 3\nvllm:num_requests_running{engine=\"1\"} 4\n\
                vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.75\n";
    let load = parse(text);
    assert_eq!((load.running, load.kv_cache), (Some(7.0), Some(0.75)));
    let ranks = "sglang:num_running_reqs{dp_rank=\"0\",tp_rank=\"0\"} 3\n\
                 sglang:num_running_reqs{dp_rank=\"1\",tp_rank=\"2\"} 4\n";
    assert_eq!(running(ranks), Some(7.0));
}

#[test]
fn ranks_and_processes_that_show_the_same_requests_count_once() {
    for rank in ["tp_rank", "pp_rank", "moe_ep_rank", "attn_tp_rank", "pid"] {
        let line =
            |value, requests| format!("sglang:num_running_reqs{{{rank}=\"{value}\",model_name=\"m\"}} {requests}\n");
        assert_eq!(running(format!("{}{}{}", line(0, 3), line(1, 4), line(2, 4))), Some(4.0), "{rank}");
    }
    let turned = "vllm:num_requests_running{engine=\"0\",pid=\"7\"} 2\nvllm:num_requests_running{pid=\"8\",engine=\"0\"} 2\n\
                  vllm:num_requests_running{engine=\"1\",pid=\"7\"} 5\n";
    assert_eq!(running(turned), Some(7.0));
}

#[test]
fn an_older_name_counts_only_where_the_newer_is_missing() {
    let old = "vllm:gpu_cache_usage_perc 0.5\nvllm:prompt_tokens 10\n";
    assert_eq!((parse(old).kv_cache, parse(old).prompt_tokens), (Some(0.5), Some(10.0)));
    let both = format!("{old}vllm:kv_cache_usage_perc 0.4\nvllm:prompt_tokens_total 11\n");
    assert_eq!((parse(&both).kv_cache, parse(&both).prompt_tokens), (Some(0.4), Some(11.0)));
}

#[test]
fn sglangs_steps_change_with_its_throughput_and_with_its_live_count() {
    let steps = |live: u32, pace: f64| {
        let live = format!("sglang:realtime_tokens_total{{mode=\"decode\"}} {live}\n");
        parse(format!("{live}sglang:gen_throughput {pace}\n")).steps.unwrap()
    };
    let all = [steps(100, 0.0), steps(100, 90.0), steps(190, 0.0), steps(10, 90.0), steps(100, 90.5)];
    assert!(all.iter().enumerate().all(|(at, one)| all[..at].iter().all(|other| one != other)), "{all:?}");
    assert_eq!(steps(100, 90.0), steps(100, 90.0));
}

#[test]
fn vllm_sleeps_where_no_core_is_awake_and_a_page_that_does_not_say_leaves_it_open() {
    let state = |awake: u8, parked: u8| {
        parse(format!(
            "vllm:engine_sleep_state{{engine=\"0\",sleep_state=\"awake\"}} {awake}\n\
             vllm:engine_sleep_state{{engine=\"0\",sleep_state=\"weights_offloaded\"}} {parked}\n"
        ))
        .asleep
    };
    assert_eq!((state(1, 0), state(0, 1), state(0, 0)), (Some(false), Some(true), None));
    assert_eq!(parse("vllm:engine_sleep_state{sleep_state=\"awake\"} 0\n").asleep, Some(true));
    assert_eq!(parse("vllm:num_requests_running 0\n").asleep, None);
}

#[test]
fn a_page_without_a_known_name_shows_an_empty_load() {
    let tgi = "# TYPE tgi_queue_size gauge\ntgi_queue_size 3\ntgi_batch_current_size 8\n";
    let triton = "nv_inference_request_success{model=\"m\",version=\"1\"} 4\n";
    let other = "up 1\nhttp_requests{path=\"/\"} 3 1763850123000\nworst +Inf\nnone NaN\nless nan\n";
    for page in ["", "# EOF\n", "\n\r\n", "# HELP up Whether.\n", other, tgi, triton, "up 1"] {
        assert_eq!(parse(page), EngineLoad::default(), "{page:?}");
    }
}

#[test]
fn a_figure_that_can_not_be_is_none_and_the_others_stay() {
    for value in ["NaN", "nan", "-1", "+Inf", "1e999"] {
        let text = format!("vllm:num_requests_running {value}\nvllm:num_requests_running{{engine=\"1\"}} 2\n");
        assert_eq!(running(format!("{text}sglang:num_running_reqs 5\n")), None, "{value}");
        assert_eq!(parse(format!("{text}vllm:num_requests_waiting 3\n")).waiting, Some(3.0), "{value}");
    }
    assert_eq!(parse("vllm:kv_cache_usage_perc 34.1\nvllm:num_requests_running 1\n").kv_cache, None);
    let two = "vllm:num_requests_running{engine=\"0\"} 1e308\nvllm:num_requests_running{engine=\"1\"} 1e308\n";
    assert_eq!(running(two), None);
}

#[test]
fn label_values_may_hold_anything() {
    let page = b"vllm:num_requests_running{ model_name = \"a \\\"b\\\"\\n\\\\{c}=,\xff\xfe\" , engine=\"0\", } 2 1763850123000\r\n";
    let load = parse(page);
    assert_eq!(load.running, Some(2.0));
    assert_eq!(load.model.as_deref(), Some("a \"b\" \\{c}=,\u{fffd}\u{fffd}"));
    let long = format!("vllm:num_requests_running{{model_name=\"{}\"}} 1\n", "ä".repeat(5000));
    assert_eq!(parse(long).model.unwrap().chars().count(), LONGEST_MODEL);
}

#[test]
fn a_line_that_nobody_can_read_costs_itself_alone() {
    let too_long = [b"vllm:num_requests_running{model_name=\"", &[b'x'; LONGEST_LINE][..], b"\"} 9\n"].concat();
    for strange in [
        &b"<!DOCTYPE html>\n"[..],
        b"{\"my.metric\",path=\"/\"} 3\n",
        b"my.metric{path=\"/\"} 3\n",
        b"1up 3\n",
        b"up is down\n",
        b"\xff\xfe 1\n",
        b"\x1f\x8b\x08\0\0\n",
        b"vllm:num_requests_running\n",
        b"vllm:num_requests_running many\n",
        b"vllm:num_requests_running{engine=\"9\" 1\n",
        b"vllm:num_requests_running{engine=\"9} 1\n",
        b"vllm:num_requests_running{engine} 1\n",
        b"vllm:num_requests_running{engine=\"9\"}\n",
        b"vllm:num_requests_running \xff\n",
        &too_long,
        b"",
    ] {
        let around = [b"vllm:num_requests_running 2\n", strange, b"vllm:num_requests_waiting 3\n"].concat();
        let load = parse(around);
        let seen = (load.running, load.waiting, load.no_metrics);
        assert_eq!(seen, (Some(2.0), Some(3.0), None), "{:?}", String::from_utf8_lossy(strange));
    }
}

#[test]
fn exemplars_and_timestamps_stand_behind_a_value() {
    assert_eq!(running("vllm:num_requests_running 2 1763850123000\n"), Some(2.0));
    let exemplar = "vllm:iteration_tokens_total_count{engine=\"0\"} 5 # {trace_id=\"a\"} 1.0 1763850123\n";
    assert_eq!(parse(exemplar).steps, Some(5.0));
}

#[test]
fn a_last_line_that_is_cut_off_is_not_believed() {
    let load = parse("vllm:num_requests_waiting 3\nvllm:num_requests_running 1");
    assert_eq!((load.running, load.waiting), (None, Some(3.0)));
}

#[test]
fn a_page_of_another_kind_is_called_what_it_is() {
    for (page, what) in [
        ("<!DOCTYPE html>\n<html>\nversion 2\n</html>\n", "HTML"),
        ("  \n<html></html>", "HTML"),
        ("{\"error\":{\"code\":501}}", "JSON"),
        ("{\n  \"detail\": \"Not Found\"\n}\n", "JSON"),
        ("[]", "JSON"),
        ("Not Found\n", "not in the Prometheus text format"),
        ("OK", "not in the Prometheus text format"),
        ("\u{1f}\u{8b}\n", "not in the Prometheus text format"),
    ] {
        assert_eq!(no_metrics(page), Some(format!("its /metrics is {what}")), "{page:?}");
    }
    assert_eq!(no_metrics("{\"my.metric\"} 3\nup 1\n"), None);
}

#[test]
fn no_page_is_held_or_followed_for_ever_and_what_came_first_counts() {
    const FIRST: &[u8] = b"vllm:num_requests_running 3\n";
    let comment = [&[b'#'; 10_000][..], b"\n"].concat();
    let series = b"http_requests_total{path=\"/a/very/long/one/it/is/and/another/one\"} 1\n".repeat(100);
    for endless in [comment, series, vec![b'x'; 1000]] {
        let mut page = Page::default();
        page.push(FIRST).unwrap();
        let pushed = (0..20_000).find_map(|_| page.push(&endless).err());
        assert_eq!(pushed, Some(Full));
        assert_eq!(page.finish("/metrics").running, Some(3.0));
    }
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
        pieces.try_for_each(|piece| reading.push(piece)).unwrap();
        // A NaN equals nothing, and neither is one ever shown.
        prop_assert_eq!(reading.finish("/metrics"), parse(&page));
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
            assert!(request[..length].starts_with(b"GET /metrics"));
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
async fn flooded(head: &'static [u8], piece: Vec<u8>, timeout: Duration) -> Result<EngineLoad, MetricsError> {
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
    let read = read(&mut peer, "/metrics", timeout).await;
    // The connection was closed.
    gone.recv().await.unwrap();
    read
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
async fn an_engine_without_metrics_says_so_in_its_load_and_one_that_fails_is_told() {
    let none = |status: u16| Some(format!("its /metrics answers {status}"));
    for status in [204, 301, 307, 400, 401, 403, 404, 405, 410, 426, 501] {
        let words = format!("HTTP/1.1 {status} X\r\nLocation: /\r\nContent-Length: 0\r\n\r\n");
        let load = answered(words.leak().as_bytes()).await.unwrap();
        assert_eq!(load, EngineLoad { no_metrics: none(status), ..EngineLoad::default() });
    }
    for status in [408, 429, 500, 502, 503] {
        let words = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let error = answered(words.leak().as_bytes()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("its metrics answer with status {status}"));
    }
}

#[tokio::test]
async fn the_word_that_there_are_none_holds_no_query() {
    let url = server(|mut caller| async move {
        caller.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    });
    let load = read(&mut Peer::new(&url.await), "/metrics?token=s3cret", LONG).await.unwrap();
    assert_eq!(load.no_metrics.as_deref(), Some("its /metrics answers 403"));
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
async fn gigabytes_and_a_million_series_are_cut_off_and_a_head_without_an_end_fails() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n";
    let long = [&[b'#'; 10_000][..], b"\n"].concat();
    assert_eq!(flooded(head, long, LONG).await.unwrap(), EngineLoad::default());
    let words = flooded(head, vec![b'x'; 65536], LONG).await.unwrap().no_metrics;
    assert_eq!(words.as_deref(), Some("its /metrics is not in the Prometheus text format"));
    let series = b"vllm:num_requests_running{request=\"1234567\"} 1\n".repeat(1000);
    assert_eq!(flooded(head, series, LONG).await.unwrap().running, Some(1.0));
    let error = flooded(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n".repeat(100), LONG).await.unwrap_err();
    assert!(matches!(error, MetricsError::Get(GetError::Malformed { .. })), "{error}");
}
