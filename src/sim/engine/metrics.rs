//! The engine's `/metrics`, word for word in the names, labels and helps that vLLM or SGLang write. Values
//! follow the batch.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::TcpStream;

use super::batch::Batch;

/// The text format's content type.
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Room for this many requests in the key-value cache.
const CACHE: f64 = 96.0;

/// Whose metrics an engine shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// vLLM's, of its first engine core.
    #[default]
    Vllm,
    /// SGLang's, of its first scheduler.
    Sglang,
}

impl Dialect {
    /// By its name, `sglang`; anything else is vLLM.
    pub fn named(name: Option<&str>) -> Dialect {
        if name == Some("sglang") { Dialect::Sglang } else { Dialect::Vllm }
    }
}

/// How the page is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Whole, and the connection goes on.
    #[default]
    Well,
    /// Never.
    Hang,
    /// With series after series, for ever.
    Flood,
}

/// Answers one request for the page, on a connection that goes on if it returns.
pub fn answer(batch: &Batch, stream: &mut TcpStream) -> io::Result<()> {
    let manner = batch.state().manner;
    match manner {
        Manner::Well => {
            let page = render(batch);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {TYPE}\r\nContent-Length: {}\r\n\r\n{page}", page.len())
        }
        // Until the caller hangs up, or was silent for too long.
        Manner::Hang => io::copy(stream, &mut io::sink()).and(Err(io::ErrorKind::BrokenPipe.into())),
        Manner::Flood => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {TYPE}\r\n\r\n")?;
            (0_u64..).try_for_each(|number| writeln!(stream, "vllm:num_requests_running{{request=\"{number}\"}} 1.0"))
        }
    }
}

/// A metric with its labels beside the common ones.
struct Row {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    series: Vec<(String, f64)>,
}

/// All of it.
fn render(batch: &Batch) -> String {
    let mut page = String::new();
    for Row { name, kind, help, series } in rows(batch) {
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in series {
            // As Python writes them: with a point.
            let _ = writeln!(page, "{name}{{{labels}}} {value:?}");
        }
    }
    page
}

fn rows(batch: &Batch) -> Vec<Row> {
    let state = batch.state();
    let (running, waiting) = state.running_and_waiting();
    let (running, waiting) = (running as f64, waiting as f64);
    let cache = state.cached as f64 / CACHE;
    let (prompt, generated) = (state.prompt_tokens as f64, state.generation_tokens as f64);
    let (ended, aborted) = (state.ended as f64, state.aborted as f64);
    let (model, figures) = (&batch.model, [running, waiting, cache, prompt, generated, ended, aborted]);
    match batch.dialect {
        Dialect::Vllm => vllm(model, figures),
        Dialect::Sglang => sglang(model, figures),
    }
}

fn gauge(name: &'static str, help: &'static str, labels: &str, value: f64) -> Row {
    Row { name, kind: "gauge", help, series: vec![(labels.to_owned(), value)] }
}

fn counter(name: &'static str, help: &'static str, labels: &str, value: f64) -> Row {
    Row { kind: "counter", ..gauge(name, help, labels, value) }
}

fn vllm(model: &str, [running, waiting, cache, prompt, generated, ended, aborted]: [f64; 7]) -> Vec<Row> {
    let labels = &format!("engine=\"0\",model_name=\"{model}\"");
    let reason = |reason: &str, value| (format!("{labels},reason=\"{reason}\""), value);
    let finished =
        |reason: &str, value| (format!("engine=\"0\",finished_reason=\"{reason}\",model_name=\"{model}\""), value);
    vec![
        gauge("vllm:num_requests_running", "Number of requests in model execution batches.", labels, running),
        gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", labels, waiting),
        Row {
            name: "vllm:num_requests_waiting_by_reason",
            kind: "gauge",
            help: "Number of waiting requests by reason.",
            series: vec![reason("capacity", waiting), reason("deferred", 0.0)],
        },
        gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", labels, cache),
        counter("vllm:prompt_tokens_total", "Number of prefill tokens processed.", labels, prompt),
        counter("vllm:generation_tokens_total", "Number of generation tokens processed.", labels, generated),
        Row {
            name: "vllm:request_success_total",
            kind: "counter",
            help: "Count of successfully processed requests.",
            series: vec![finished("stop", 0.0), finished("length", ended), finished("abort", aborted)],
        },
    ]
}

fn sglang(model: &str, [running, waiting, cache, prompt, generated, ended, aborted]: [f64; 7]) -> Vec<Row> {
    let scheduler = format!("engine_type=\"unified\",model_name=\"{model}\",pp_rank=\"0\",tp_rank=\"0\"");
    let whole = format!("model_name=\"{model}\"");
    vec![
        gauge("sglang:num_running_reqs", "The number of running requests.", &scheduler, running),
        gauge("sglang:num_queue_reqs", "The number of requests in the waiting queue.", &scheduler, waiting),
        gauge("sglang:token_usage", "The token usage.", &scheduler, cache),
        counter("sglang:prompt_tokens_total", "Number of prefill tokens processed.", &whole, prompt),
        counter("sglang:generation_tokens_total", "Number of generation tokens processed.", &whole, generated),
        counter("sglang:num_requests_total", "Number of requests processed.", &whole, ended + aborted),
    ]
}
