//! The engine's `/metrics`, with vLLM's names.

use super::batch::Batch;

/// The text format's content type.
pub const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Room for this many requests in the key-value cache.
const CACHE: f64 = 64.0;

/// All of it.
pub fn render(batch: &Batch) -> String {
    let state = batch.state();
    let (running, waiting) = state.running_and_waiting();
    let rows = [
        ("num_requests_running", "gauge", running as f64),
        ("num_requests_waiting", "gauge", waiting as f64),
        ("kv_cache_usage_perc", "gauge", running as f64 / CACHE),
        ("prompt_tokens_total", "counter", state.prompt_tokens as f64),
        ("generation_tokens_total", "counter", state.generation_tokens as f64),
    ];
    let name = &batch.name;
    let row = |(metric, kind, value): &(&str, &str, f64)| {
        format!("# TYPE vllm:{metric} {kind}\nvllm:{metric}{{engine=\"0\",model_name=\"{name}\"}} {value}\n")
    };
    rows.iter().map(row).collect()
}
