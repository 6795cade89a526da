//! An engine: its state, its memory, its requests, and why it does not serve.

use maud::{Markup, html};

use super::charts::chart;
use super::figures::{Part, ago, bar, share};
use super::groups::badge;
use super::sharing;
use super::timeline::engine_tone;
use super::view::View;
use crate::model::{EngineIsolation, EngineKey, EngineKind, EngineLoad, EngineStatus, GroupStatus};
use crate::text::figures::bytes;
use crate::text::span::age;

/// Engines' colours in a GPU's memory, by their place; they repeat.
const COLOURS: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];
/// Number of engines up to which each has its charts: the page is to stay small.
const MOST_CHARTS: usize = 24;

/// The same for an engine wherever it is drawn.
pub(super) fn colour(view: &View<'_>, group: &GroupStatus, engine: &EngineStatus) -> &'static str {
    let all = view
        .groups_on(group.gpus.first())
        .flat_map(|group| group.engines.iter().map(move |one| (&group.name, &one.name)));
    let place = all.into_iter().position(|one| one == (&group.name, &engine.name));
    COLOURS[place.unwrap_or_default() % COLOURS.len()]
}

/// An engine.
pub(super) fn engine(view: &View<'_>, group: &GroupStatus, engine: &EngineStatus) -> Markup {
    let tone = engine_tone(engine.state).class();
    html! {
        div class={ "engine edge-" (tone) } {
            p { b { (engine.name) } " " (badge(tone, engine.state.as_str())) (marks(engine)) }
            @if let Some(model) = engine.load.as_ref().and_then(|load| load.model.as_ref()) { small { (model) } }
            @if let Some(note) = &engine.note { p class={ "note " (tone) } { (note) } }
            @if let Some(next) = engine.next_try {
                p class={ "note " (tone) } { "next try in " (age(next.since(view.status.at))) }
            }
            (memory(engine, colour(view, group, engine)))
            @if let Some(load) = &engine.load { (self::load(load)) }
            (charts(view, group, engine))
            (sharing::engine(view, &group.overlap, &engine.sharing))
            @for unknown in &engine.unknown { small { (unknown.question) ": not known: " (unknown.why) } }
            small {
                @if engine.kind != EngineKind::Other { (engine.kind) " · " }
                "incarnation " (engine.incarnation) @if let Some(main) = engine.main { " · pid " (main) }
                @if engine.failures > 0 { " · " (engine.failures) " failed" }
            }
        }
    }
}

fn marks(engine: &EngineStatus) -> Markup {
    let isolation = match engine.isolation {
        EngineIsolation::None => None,
        EngineIsolation::Guilty => Some(("bad", "guilty")),
        EngineIsolation::Suspect => Some(("dim", "suspect")),
        EngineIsolation::Apart => Some(("dim", "suspect, apart")),
    };
    html! {
        @if let Some((tone, words)) = isolation { " " (badge(tone, words)) }
        @if engine.attached == Some(false) { " " (badge("bad", "outside MPS")) }
    }
}

fn charts(view: &View<'_>, group: &GroupStatus, engine: &EngineStatus) -> Markup {
    let engines: usize = view.status.groups.iter().map(|group| group.engines.len()).sum();
    let past = view.history.engine(&EngineKey::new(&group.name, &engine.name));
    let Some(past) = past.filter(|_| engines <= MOST_CHARTS) else { return html! {} };
    let limit = engine.device_memory_limit.unwrap_or_default() as f64;
    html! {
        div.charts {
            (chart(view, "requests", Some(&past.requests), 1.0, |figure| format!("{figure:.0}")))
            (chart(view, "memory", Some(&past.memory), limit, |figure| bytes(figure as u64)))
        }
    }
}

fn memory(engine: &EngineStatus, colour: &'static str) -> Markup {
    let Some(held) = engine.device_memory else { return html! { small { "device memory: unknown" } } };
    let label = match engine.device_memory_limit {
        Some(limit) => format!("{} of {}", bytes(held), bytes(limit)),
        None => format!("{}, no limit", bytes(held)),
    };
    let near = engine.device_memory_limit.is_some_and(|limit| held as f64 > limit as f64 * 0.95);
    let part = Part { amount: held as f64, class: if near { "full" } else { colour }, title: label.clone() };
    html! {
        @if let Some(limit) = engine.device_memory_limit { (bar(&label, limit as f64, &[part])) }
        small {
            (label)
            @if let Some(left) = engine.memory_time_to_limit { " · full in " (ago(left.as_secs_f64())) }
        }
    }
}

fn load(load: &EngineLoad) -> Markup {
    html! {
        p.figures {
            @if let Some(running) = load.running { span { "running " b { (running) } } }
            @if let Some(waiting) = load.waiting { span { "waiting " b { (waiting) } } }
            @if let Some(cache) = load.kv_cache { span { "KV " b { (share(cache)) } } }
        }
    }
}
