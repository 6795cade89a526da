//! vLLM: 0.6 to 0.25. `(EngineCore pid=714) ERROR 11-29 14:41:14 [core.py:1233] message`, the same without the process
//! in older ones. `--enable-log-requests` and `--enable-log-outputs` repeat prompts and answers, at level INFO.

use super::dialect::Dialect;

pub(super) const DIALECT: Dialect = Dialect {
    marks: &["KV cache", "GPU blocks", "Maximum concurrency", "No available memory", "Free memory on device"],
    allocated: &[
        r"GPU KV cache size: [\d,]+ tokens",
        r"# (?:GPU|cuda) blocks: [\d,]+",
        r"Maximum concurrency for [\d,]+ tokens",
    ],
    // Its own sums at the start, before the GPU refuses anything: what is free, or what its share leaves, is too
    // little. That is the same want with the same cures as an error of the GPU: more memory, or a smaller model.
    out_of_memory: &[
        r"No available memory for the cache blocks",
        r"Free memory on device.{0,80}? is less than desired GPU memory utilization",
        r"KV cache is needed, which is larger than the available KV cache memory",
    ],
    quotes: &[
        r"Received request ",
        r"Generated response ",
        r"(?:Request|Response) (?:body|payload|headers?)\b",
        r"Added request ",
        r"Dumping (?:input data|scheduler)",
        r"response_body=",
    ],
};
