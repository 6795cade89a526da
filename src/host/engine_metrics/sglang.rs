//! SGLang's names. Its token counters grow when a request ends; what moves meanwhile is the throughput and, in newer
//! versions, the live count.

use super::dialect::{Figure, MetricsDialect};
use super::token::{CHAT, COMPLETION};
use crate::model::EngineKind;

pub(super) const DIALECT: MetricsDialect = MetricsDialect {
    kind: EngineKind::Sglang,
    prefix: "sglang:",
    names: &[
        ("num_running_reqs", Figure::Running),
        ("num_queue_reqs", Figure::Waiting),
        ("token_usage", Figure::KvCache),
        ("prompt_tokens_total", Figure::PromptTokens),
        ("prompt_tokens", Figure::PromptTokens),
        ("generation_tokens_total", Figure::GenerationTokens),
        ("generation_tokens", Figure::GenerationTokens),
        ("num_requests_total", Figure::Requests),
        ("num_requests", Figure::Requests),
        ("realtime_tokens_total", Figure::Steps),
        ("realtime_tokens", Figure::Steps),
        ("gen_throughput", Figure::Pace),
    ],
    forms: &[COMPLETION, CHAT],
};
