//! Which program an engine is, as far as its answers and its output differ.

use super::words::words;

words!(
    /// The dialect that an engine speaks.
    #[derive(Default)]
    EngineKind {
        /// vLLM, 0.6 and later.
        Vllm = "vllm",
        /// The engine SGLang.
        Sglang = "sglang",
        /// llama.cpp's server.
        LlamaCpp = "llama.cpp",
        /// `transformers serve`.
        Transformers = "transformers",
        /// Any other, or not known yet: nothing is taken for granted.
        #[default]
        Other = "other",
    }
);

impl EngineKind {
    /// Whether its gauges of requests are written now and then only, not with each request.
    pub fn gauges_lag(self) -> bool {
        self == EngineKind::Sglang
    }
}
