//! Gauges of one engine, and its counters that others keep: CPU time and tokens.

use super::catalogue::{self as metric, Metric};
use super::families::Families;
use super::gauges::{flag, write_known};
use crate::model::{ContainerName, EngineIsolation, EngineLoad, EngineState, EngineStatus, GroupName, Question};

/// Most characters of a model's name: an engine may say anything.
const LONGEST_MODEL: usize = 200;

/// Adds them.
pub(super) fn write(families: &mut Families, group: &GroupName, engine: &EngineStatus) {
    let labels = &[group.as_str(), engine.name.as_str()];
    let states = EngineState::ALL.iter().map(|state| state.as_str());
    families.states(&metric::ENGINE_STATE, labels, states, Some(engine.state.as_str()));
    let isolations = EngineIsolation::ALL.iter().map(|isolation| isolation.as_str());
    families.states(&metric::ENGINE_ISOLATED, labels, isolations, Some(engine.isolation.as_str()));
    write_known(families, &metric::ENGINE_ATTACHED, labels, engine.attached.map(flag));
    write_bytes(families, &metric::ENGINE_DEVICE_MEMORY, labels, engine.device_memory);
    write_bytes(families, &metric::ENGINE_DEVICE_MEMORY_LIMIT, labels, engine.device_memory_limit);
    write_known(families, &metric::ENGINE_SM_LIMIT, labels, engine.sm_limit);
    let left = engine.memory_time_to_limit.map(|left| left.as_secs_f64());
    write_known(families, &metric::ENGINE_TIME_TO_LIMIT, labels, left);
    write_bytes(families, &metric::ENGINE_RESIDENT, labels, engine.resident_memory);
    families.number(&metric::ENGINE_CPU, labels, engine.cpu.as_secs_f64());
    if let Some(load) = &engine.load {
        write_load(families, labels, load);
    }
    for (code, how, lines) in &engine.doubted {
        let code = code.to_string();
        families.number(&metric::EVIDENCE_REFUTED, &[labels[0], labels[1], &code, how.as_str()], *lines as f64);
    }
    for question in Question::ALL.iter().filter(|_| engine.state == EngineState::Serving) {
        let unknown = engine.unknown.iter().any(|unknown| unknown.question == *question);
        families.number(&metric::ENGINE_UNKNOWN, &[labels[0], labels[1], question.as_str()], flag(unknown));
    }
    write_info(families, labels, engine);
}

fn write_load(families: &mut Families, labels: &[&str; 2], load: &EngineLoad) {
    write_known(families, &metric::REQUESTS_RUNNING, labels, load.running);
    write_known(families, &metric::REQUESTS_WAITING, labels, load.waiting);
    write_known(families, &metric::KV_CACHE, labels, load.kv_cache);
    write_known(families, &metric::TOKENS, &[labels[0], labels[1], "prompt"], load.prompt_tokens);
    write_known(families, &metric::TOKENS, &[labels[0], labels[1], "generation"], load.generation_tokens);
}

/// One series however many clients it has: a join on group and engine must find one.
fn write_info(families: &mut Families, labels: &[&str; 2], engine: &EngineStatus) {
    let model = engine.load.as_ref().and_then(|load| load.model.as_deref()).unwrap_or_default();
    let end = model.char_indices().nth(LONGEST_MODEL).map_or(model.len(), |(end, _)| end);
    let main = engine.main.map(|process| process.pid.to_string()).unwrap_or_default();
    let clients: Vec<String> = engine.clients.iter().map(u32::to_string).collect();
    let (endpoint, clients) = (engine.address.as_str(), clients.join(","));
    let (kind, by) = (engine.kind.as_str(), engine.custody.managed_by().as_str());
    let ContainerName { pod, namespace, container } = &engine.container;
    #[rustfmt::skip]
    let labels =
        &[labels[0], labels[1], &model[..end], endpoint, &main, &clients, kind, by, pod, namespace, container];
    families.number(&metric::ENGINE_INFO, labels, 1.0);
}

fn write_bytes(families: &mut Families, metric: &'static Metric, labels: &[&str], bytes: Option<u64>) {
    write_known(families, metric, labels, bytes.map(|bytes| bytes as f64));
}
