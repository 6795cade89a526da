//! The names of llama.cpp's server, which shows them where it was started with `--metrics`. Its token counters grow
//! when a prompt or an answer ends; each call of its decoder is counted at once.

use serde_json::{Value, json};

use super::dialect::{Figure, MetricsDialect};
use super::token::{COMPLETION, Form};
use crate::model::EngineKind;

pub(super) const DIALECT: MetricsDialect = MetricsDialect {
    kind: EngineKind::LlamaCpp,
    prefix: "llamacpp:",
    names: &[
        ("requests_processing", Figure::Running),
        ("requests_deferred", Figure::Waiting),
        ("kv_cache_usage_ratio", Figure::KvCache),
        ("prompt_tokens_total", Figure::PromptTokens),
        ("tokens_predicted_total", Figure::GenerationTokens),
        ("n_decode_total", Figure::Steps),
    ],
    forms: &[COMPLETION, NATIVE],
};

/// Its own request, of the versions before it had OpenAI's.
const NATIVE: Form = Form { path: "/completion", body: native };

fn native(_: Option<&str>) -> Value {
    json!({ "prompt": "1", "n_predict": 1, "temperature": 0 })
}
