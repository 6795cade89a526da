//! vLLM's names, of 0.6 to 0.25 and later. Each of its engine cores counts requests of its own.

use super::dialect::{Figure, MetricsDialect};
use super::token::{CHAT, COMPLETION};
use crate::model::EngineKind;

pub(super) const DIALECT: MetricsDialect = MetricsDialect {
    kind: EngineKind::Vllm,
    prefix: "vllm:",
    names: &[
        ("num_requests_running", Figure::Running),
        ("num_requests_waiting", Figure::Waiting),
        ("kv_cache_usage_perc", Figure::KvCache),
        ("gpu_cache_usage_perc", Figure::KvCache),
        ("prompt_tokens_total", Figure::PromptTokens),
        ("prompt_tokens", Figure::PromptTokens),
        ("generation_tokens_total", Figure::GenerationTokens),
        ("generation_tokens", Figure::GenerationTokens),
        ("request_success_total", Figure::Requests),
        ("request_success", Figure::Requests),
        // A histogram: one observation an iteration.
        ("iteration_tokens_total_count", Figure::Steps),
        ("iteration_tokens_total_sum", Figure::Steps),
        ("engine_sleep_state", Figure::Sleep),
    ],
    forms: &[COMPLETION, CHAT],
};
