//! vLLM 0.25, word for word as it was recorded on an H200. It ends with status 0 when its core has died.

use std::time::Duration;

use jiff::Zoned;

use super::{Dialect, End, Received, Row, Voice, Work, counter, gauge, repr, thousands, torch_words};
use crate::cuda::CudaError;
use crate::engine::books::Figures;

/// The dialect of vLLM.
pub(super) struct Vllm;

const FRONT_BEGINS: [&str; 5] = [
    "INFO [model.py:619] Resolved architecture: Qwen2ForCausalLM",
    "INFO [model.py:1776] Using max model len 4096",
    "INFO [scheduler.py:252] Chunked prefill is enabled with max_num_batched_tokens=8192.",
    "INFO [vllm.py:1042] Asynchronous scheduling is enabled.",
    "INFO [compilation.py:312] Enabled custom fusions: norm_quant, act_quant",
];

const CORE_LOADS: [&str; 6] = [
    "INFO [parallel_state.py:1942] rank 0 in world size 1 is assigned as DP rank 0, PP rank 0, PCP rank 0, TP rank 0, EP \
     rank N/A, EPLB rank N/A",
    "INFO [gpu_worker.py:360] Using V2 Model Runner",
    "INFO [model_runner.py:281] Loading model from scratch...",
    "INFO [cuda.py:416] Using AttentionBackendEnum.FLASH_ATTN backend.",
    "INFO [flash_attn.py:718] Using FlashAttention version 3",
    "INFO [model_runner.py:302] Model loading took 0.73 GiB and 1.305747 seconds",
];

const SERVES: [&str; 10] = [
    "INFO [launcher.py:37] Available routes are:",
    "INFO [launcher.py:46] Route: /load, Methods: GET",
    "INFO [launcher.py:46] Route: /version, Methods: GET",
    "INFO [launcher.py:46] Route: /health, Methods: GET",
    "INFO [launcher.py:46] Route: /metrics, Methods: GET",
    "INFO [launcher.py:46] Route: /v1/models, Methods: GET",
    "INFO [launcher.py:46] Route: /v1/completions, Methods: POST",
    "INFO:     Started server process",
    "INFO:     Waiting for application startup.",
    "INFO:     Application startup complete.",
];

const TRACEBACK: [&str; 11] = [
    "Traceback (most recent call last):",
    "  File \"/usr/lib/python3.12/site-packages/vllm/v1/engine/core.py\", line 1224, in run_engine_core",
    "    engine_core.run_busy_loop()",
    "  File \"/usr/lib/python3.12/site-packages/vllm/v1/engine/core.py\", line 1304, in _process_engine_step",
    "    outputs, model_executed = self.step_fn()",
    "                              ^^^^^^^^^^^^^^",
    "  File \"/usr/lib/python3.12/site-packages/vllm/v1/worker/gpu/async_utils.py\", line 50, in get_output",
    "    self.copy_event.synchronize()",
    "  File \"/usr/lib/python3.12/site-packages/torch/cuda/streams.py\", line 254, in synchronize",
    "    super().synchronize()",
    "    ^^^^^^^^^^^^^^^^^^^^^",
];

const LOST_ITS_CORE: [&str; 14] = [
    "WARNING [core_client.py:702] [shutdown] MPClient: engine core exited unexpectedly; starting cleanup",
    "INFO [core_client.py:655] [shutdown] MPClient: start timeout=default",
    "INFO [core_client.py:657] [shutdown] MPClient: stopping engine manager",
    "INFO [core_client.py:659] [shutdown] MPClient: engine manager stopped",
    "INFO [core_client.py:660] [shutdown] MPClient: cleaning up background resources",
    "INFO [core_client.py:662] [shutdown] MPClient: complete",
    "ERROR [async_llm.py:704] AsyncLLM output_handler failed.",
    "ERROR [async_llm.py:704] Traceback (most recent call last):",
    "ERROR [async_llm.py:704]   File \"/usr/lib/python3.12/site-packages/vllm/v1/engine/async_llm.py\", line 660, in \
     output_handler",
    "ERROR [async_llm.py:704]     outputs = await engine_core.get_output_async()",
    "ERROR [async_llm.py:704]               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
    "ERROR [async_llm.py:704]   File \"/usr/lib/python3.12/site-packages/vllm/v1/engine/core_client.py\", line 1061, in \
     get_output_async",
    "ERROR [async_llm.py:704]     raise self._format_exception(outputs) from None",
    "ERROR [async_llm.py:704] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace \
     (above) for the root cause.",
];

const STOPS: [&str; 5] = [
    "INFO [launcher.py:100] [shutdown] API server: shutdown triggered",
    "INFO [launcher.py:116] [shutdown] API server: stopping engine client mode=abort timeout=0s",
    "INFO [core_client.py:655] [shutdown] MPClient: start timeout=0s",
    "INFO [core_client.py:657] [shutdown] MPClient: stopping engine manager",
    "WARNING [utils.py:626] [shutdown] Process manager: force killing remaining processes count=1",
];

const STOPPED: [&str; 5] = [
    "INFO [core_client.py:659] [shutdown] MPClient: engine manager stopped",
    "INFO [core_client.py:662] [shutdown] MPClient: complete",
    "INFO [launcher.py:125] [shutdown] API server: engine client stopped",
    "INFO [launcher.py:128] [shutdown] API server: signalling HTTP server shutdown",
    "INFO [launcher.py:149] [shutdown] API server: shutting down FastAPI HTTP server",
];

fn owned<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    lines.into_iter().map(str::to_owned).collect()
}

impl Dialect for Vllm {
    /// The time stands between level and place; what Python or uvicorn prints by itself has the prefix alone.
    fn line(&self, voice: Voice, now: &Zoned, text: &str) -> String {
        let process = if voice == Voice::Front { "APIServer" } else { "EngineCore" };
        let pid = std::process::id();
        match text.split_once(" [") {
            Some((level @ ("INFO" | "WARNING" | "ERROR"), rest)) => {
                format!("({process} pid={pid}) {level} {} [{rest}", now.strftime("%m-%d %H:%M:%S"))
            }
            _ => format!("({process} pid={pid}) {text}"),
        }
    }

    fn begins(&self, model: &str) -> Vec<String> {
        let banner = format!("INFO [api_utils.py:339]   █▄█▀ █     █     █     █  model   {model}");
        let arguments = format!("INFO [api_utils.py:273] non-default args: {{'model': {}}}", repr(model));
        [banner, arguments].into_iter().chain(owned(FRONT_BEGINS)).collect()
    }

    fn loads(&self, model: &str) -> Vec<String> {
        let model = repr(model);
        let first = format!(
            "INFO [core.py:114] Initializing a V1 LLM engine (v0.25.1) with config: model={model}, tokenizer={model}"
        );
        std::iter::once(first).chain(owned(CORE_LOADS)).collect()
    }

    fn allocated(&self, tokens: u64, took: Duration) -> Vec<String> {
        vec![
            format!("INFO [kv_cache_utils.py:2146] GPU KV cache size: {} tokens", thousands(tokens)),
            format!(
                "INFO [kv_cache_utils.py:2147] Maximum concurrency for 4,096 tokens per request: {:.2}x",
                tokens as f64 / 4096.0
            ),
            format!(
                "INFO [core.py:344] init engine (profile, create kv cache, warmup model) took {:.2} s",
                took.as_secs_f64()
            ),
        ]
    }

    fn serves(&self, port: u16) -> Vec<String> {
        let first = [
            "INFO [api_server.py:612] Supported tasks: ['generate']".to_owned(),
            format!("INFO [api_server.py:616] Starting vLLM server on http://127.0.0.1:{port}"),
        ];
        first.into_iter().chain(owned(SERVES)).collect()
    }

    fn received(&self, Received { id, prompt, tokens }: &Received) -> String {
        format!(
            "INFO [logger.py:68] Received request cmpl-{id:016x}-0: prompt: {}, params: SamplingParams(n=1, \
             presence_penalty=0.0, frequency_penalty=0.0, temperature=1.0, top_p=1.0, max_tokens={tokens}), lora_request: \
             None.",
            repr(prompt)
        )
    }

    fn periodic(&self, work: &Work) -> Option<String> {
        let Work { running, waiting, cache, prompt, generated } = work;
        Some(format!(
            "INFO [loggers.py:273] Engine 000: Avg prompt throughput: {prompt:.1} tokens/s, Avg generation throughput: \
             {generated:.1} tokens/s, Running: {running} reqs, Waiting: {waiting} reqs, GPU KV cache usage: {:.1}%, \
             Prefix cache hit rate: 0.0%",
            cache * 100.0
        ))
    }

    fn batch(&self, _: &Work) -> Option<String> {
        None
    }

    fn dies_of(&self, error: CudaError) -> Vec<String> {
        let words = torch_words(error);
        let traceback = || owned(TRACEBACK).into_iter().chain(words.clone());
        let logged = |line: String| format!("ERROR [core.py:1233] {line}");
        let mut lines = vec![logged("EngineCore encountered a fatal error.".to_owned())];
        lines.extend(traceback().map(logged));
        lines.push("Process EngineCore:".to_owned());
        lines.extend(traceback());
        lines
    }

    fn lost_its_core(&self, _: u32) -> Vec<String> {
        owned(LOST_ITS_CORE)
    }

    fn stops(&self, _: usize) -> [Vec<String>; 2] {
        [owned(STOPS), owned(STOPPED)]
    }

    fn end(&self) -> End {
        End { after: Duration::from_millis(500), status: Some(0) }
    }

    fn drains(&self) -> bool {
        false
    }

    fn health_by_token(&self) -> Option<Duration> {
        None
    }

    fn counts_steps(&self) -> bool {
        true
    }

    fn rows(&self, model: &str, figures: &Figures) -> Vec<Row> {
        let labels = &format!("engine=\"0\",model_name=\"{model}\"");
        let with = |name: &str, word: &str, value| ("", format!("{labels},{name}=\"{word}\""), value);
        let ended = |word: &str, value: f64| {
            ("", format!("engine=\"0\",finished_reason=\"{word}\",model_name=\"{model}\""), value)
        };
        let Figures { running, waiting, cache, prompt, generated, .. } = *figures;
        vec![
            gauge("vllm:num_requests_running", "Number of requests in model execution batches.", labels, running),
            gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", labels, waiting),
            Row {
                name: "vllm:num_requests_waiting_by_reason",
                kind: "gauge",
                help: "Number of waiting requests by reason.",
                series: vec![with("reason", "capacity", waiting), with("reason", "deferred", 0.0)],
            },
            Row {
                name: "vllm:engine_sleep_state",
                kind: "gauge",
                help: "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; \
                       weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
                series: [("awake", 1.0), ("weights_offloaded", 0.0), ("discard_all", 0.0)]
                    .map(|(state, value)| with("sleep_state", state, value))
                    .to_vec(),
            },
            gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", labels, cache),
            counter("vllm:prompt_tokens_total", "Number of prefill tokens processed.", labels, prompt),
            counter("vllm:generation_tokens_total", "Number of generation tokens processed.", labels, generated),
            Row {
                name: "vllm:request_success_total",
                kind: "counter",
                help: "Count of successfully processed requests.",
                series: vec![ended("stop", 0.0), ended("length", figures.ended), ended("abort", figures.aborted)],
            },
            Row {
                name: "vllm:iteration_tokens_total",
                kind: "histogram",
                help: "Histogram of number of tokens per engine_step.",
                series: vec![
                    ("_bucket", format!("engine=\"0\",le=\"+Inf\",model_name=\"{model}\""), figures.steps),
                    ("_count", labels.clone(), figures.steps),
                    ("_sum", labels.clone(), prompt + generated),
                ],
            },
        ]
    }
}
