//! SGLang 0.5. Its health is a token, its counters grow when a request ends, and when its scheduler has died it kills
//! itself.

use std::time::Duration;

use jiff::Zoned;

use super::{Dialect, End, Received, Row, Voice, Work, counter, gauge, repr, torch_words};
use crate::cuda::CudaError;
use crate::engine::books::Figures;

/// The dialect of SGLang.
pub(super) struct Sglang;

const TRACEBACK: [&str; 7] = [
    "Scheduler hit an exception: Traceback (most recent call last):",
    "  File \"/usr/lib/python3.12/site-packages/sglang/srt/managers/scheduler.py\", line 2884, in run_scheduler_process",
    "    scheduler.event_loop_overlap()",
    "  File \"/usr/lib/python3.12/site-packages/sglang/srt/managers/scheduler.py\", line 1012, in event_loop_overlap",
    "    self.process_batch_result(tmp_batch, tmp_result)",
    "  File \"/usr/lib/python3.12/site-packages/sglang/srt/managers/tp_worker.py\", line 276, in resolve_last_batch_result",
    "    copy_done.synchronize()",
];

impl Dialect for Sglang {
    /// The lines of a message; of several only the first has the time.
    fn line(&self, voice: Voice, now: &Zoned, text: &str) -> String {
        let of_the_message = text.starts_with(' ') || text.starts_with("torch.") || text.is_empty();
        let continues = ["Search for `", "CUDA kernel errors", "For debugging", "Compile with"];
        if of_the_message || continues.iter().any(|begin| text.starts_with(begin)) {
            return text.to_owned();
        }
        let rank = if voice == Voice::Core { " TP0" } else { "" };
        format!("[{}{rank}] {text}", now.strftime("%Y-%m-%d %H:%M:%S"))
    }

    fn begins(&self, model: &str) -> Vec<String> {
        let model = repr(model);
        vec![format!(
            "server_args=ServerArgs(model_path={model}, tokenizer_path={model}, tp_size=1, enable_metrics=True)"
        )]
    }

    fn loads(&self, _: &str) -> Vec<String> {
        vec![
            "Init torch distributed begin.".to_owned(),
            "Init torch distributed ends. mem usage=0.00 GB".to_owned(),
            "Load weight begin. avail mem=138.62 GB".to_owned(),
            "Load weight end. type=Qwen2ForCausalLM, dtype=torch.bfloat16, avail mem=137.61 GB, mem usage=1.01 GB."
                .to_owned(),
        ]
    }

    fn allocated(&self, tokens: u64, _: Duration) -> Vec<String> {
        let size = tokens as f64 * 6144.0 / f64::from(1 << 30);
        vec![
            format!("KV Cache is allocated. #tokens: {tokens}, K size: {size:.2} GB, V size: {size:.2} GB"),
            "Memory pool end. avail mem=118.55 GB".to_owned(),
            format!("max_total_num_tokens={tokens}, chunked_prefill_size=8192, max_prefill_tokens=16384"),
        ]
    }

    fn serves(&self, port: u16) -> Vec<String> {
        vec![
            format!("INFO:     Started server process [{}]", std::process::id()),
            "INFO:     Waiting for application startup.".to_owned(),
            "INFO:     Application startup complete.".to_owned(),
            format!("INFO:     Uvicorn running on http://127.0.0.1:{port} (Press CTRL+C to quit)"),
            "The server is fired up and ready to roll!".to_owned(),
        ]
    }

    fn received(&self, Received { id, prompt, tokens }: &Received) -> String {
        format!(
            "Receive: obj=GenerateReqInput(rid='{id:032x}', text={}, sampling_params={{'max_new_tokens': {tokens}}}, \
             stream=True)",
            repr(prompt)
        )
    }

    fn periodic(&self, _: &Work) -> Option<String> {
        None
    }

    fn batch(&self, work: &Work) -> Option<String> {
        let Work { running, waiting, cache, prompt, generated } = work;
        Some(if *prompt > 0.0 {
            format!(
                "Prefill batch, #new-seq: 1, #new-token: {prompt:.0}, #cached-token: 0, token usage: {cache:.2}, \
                 #running-req: {running}, #queue-req: {waiting}, "
            )
        } else {
            format!(
                "Decode batch, #running-req: {running}, #token: {}, token usage: {cache:.2}, cuda graph: True, gen \
                 throughput (token/s): {generated:.2}, #queue-req: {waiting}, ",
                running * 64
            )
        })
    }

    fn dies_of(&self, error: CudaError) -> Vec<String> {
        TRACEBACK.map(str::to_owned).into_iter().chain(torch_words(error)).chain([String::new()]).collect()
    }

    fn lost_its_core(&self, core: u32) -> Vec<String> {
        vec![
            format!("Subprocess scheduler_0 (pid={core}) crashed with exit code -3."),
            "SIGQUIT received. signum=None, frame=None. It usually means one child failed.".to_owned(),
        ]
    }

    fn stops(&self, requests: usize) -> [Vec<String>; 2] {
        let words = format!("Gracefully exiting... Remaining number of requests {requests}. Remaining requests");
        [vec![format!("{words} remaining_rids=[].")], Vec::new()]
    }

    fn end(&self) -> End {
        End { after: Duration::from_millis(20), status: None }
    }

    fn drains(&self) -> bool {
        true
    }

    fn health_by_token(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }

    fn counts_steps(&self) -> bool {
        false
    }

    fn rows(&self, model: &str, figures: &Figures) -> Vec<Row> {
        let scheduler = &format!("engine_type=\"unified\",model_name=\"{model}\",pp_rank=\"0\",tp_rank=\"0\"");
        let whole = &format!("model_name=\"{model}\"");
        let mode = |mode: &str, value| {
            let labels = format!("engine_type=\"unified\",mode=\"{mode}\",model_name=\"{model}\",pp_rank=\"0\"");
            ("", format!("{labels},tp_rank=\"0\""), value)
        };
        let Figures { running, waiting, cache, prompt, generated, throughput, .. } = *figures;
        vec![
            gauge("sglang:num_running_reqs", "The number of running requests.", scheduler, running),
            gauge("sglang:num_queue_reqs", "The number of requests in the waiting queue.", scheduler, waiting),
            gauge("sglang:token_usage", "The token usage.", scheduler, cache),
            gauge("sglang:gen_throughput", "The generation throughput (token/s).", scheduler, throughput),
            Row {
                name: "sglang:realtime_tokens_total",
                kind: "counter",
                help: "Total number of tokens processed in realtime (updated on each log interval).",
                series: vec![
                    mode("prefill_compute", figures.prompt_so_far),
                    mode("prefill_cache", 0.0),
                    mode("decode", figures.generated_so_far),
                ],
            },
            counter("sglang:prompt_tokens_total", "Number of prefill tokens processed.", whole, prompt),
            counter("sglang:generation_tokens_total", "Number of generation tokens processed.", whole, generated),
            counter(
                "sglang:num_requests_total",
                "Number of requests processed.",
                whole,
                figures.ended + figures.aborted,
            ),
        ]
    }
}
