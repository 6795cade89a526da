//! GPUs, their groups, servers and engines as a picture.

use maud::{Markup, html};

use super::View;
use super::figures::{self, Part, bar, share};
use super::sharing;
use crate::model::{
    EngineKind, EngineLoad, EngineState, EngineStatus, GpuStatus, GroupState, GroupStatus, Mode, RecoveryStep,
    ServerState,
};
use crate::text::figures::{bytes, plural};

/// Engines' colours in a GPU's memory, by their place; they repeat.
const COLOURS: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];

/// A GPU and the groups on it.
pub(super) fn gpu(view: &View<'_>, gpu: &GpuStatus) -> Markup {
    let identity = &gpu.identity;
    html! {
        section.gpu {
            h2 { "GPU " (identity.label()) " " small { (identity.product()) " · " (identity.uuid) } }
            (memory(view, gpu))
            (activity(gpu))
            @for group in view.groups_on(&identity.uuid) { (self::group(view, group)) }
        }
    }
}

fn memory(view: &View<'_>, gpu: &GpuStatus) -> Markup {
    let (used, total) = match (gpu.memory_used, gpu.identity.memory_total) {
        (Some(used), Some(total)) => (used, total),
        (Some(used), None) => return html! { p.dim { "memory: " (bytes(used)) " of an unknown size" } },
        (None, _) => return html! { p.dim { "memory: unknown" } },
    };
    let engines =
        view.groups_on(&gpu.identity.uuid).flat_map(|group| group.engines.iter().map(move |one| (group, one)));
    let mut parts: Vec<Part> = engines
        .filter_map(|(group, engine)| {
            let class = colour(view, group, engine);
            let held = engine.device_memory.filter(|held| *held > 0)?;
            Some(Part { amount: held as f64, class, title: format!("{}: {}", engine.name, bytes(held)) })
        })
        .collect();
    let others = used as f64 - parts.iter().map(|part| part.amount).sum::<f64>();
    let title = format!("others: {}", bytes(others.max(0.0) as u64));
    parts.push(Part { amount: others.max(0.0), class: "rest", title });
    let label = format!("memory: {} of {}", bytes(used), bytes(total));
    html! { div.meter { (bar(&label, total as f64, &parts)) span { (label) } } }
}

fn activity(gpu: &GpuStatus) -> Markup {
    let counted = gpu.activity.unwrap_or_default();
    let figures = [
        ("busy", gpu.busy),
        ("SM active", counted.sm_active),
        ("SM occupancy", counted.sm_occupancy),
        ("DRAM", counted.dram_active),
        ("tensor", counted.tensor_active),
    ];
    let foreign = gpu.foreign_processes.unwrap_or_default() as usize;
    html! {
        p.figures {
            @for (name, ratio) in figures {
                @if let Some(ratio) = ratio { span { (name) " " b { (share(ratio)) } } }
            }
            @if foreign > 0 { span.bad { (foreign) " computing here for no group" } }
        }
    }
}

fn group(view: &View<'_>, group: &GroupStatus) -> Markup {
    html! {
        article.group {
            h3 { (group.name) " " (badge(group_tone(group.state), group.state.as_str())) (marks(group)) }
            @if let Some((reason, detail)) = &group.held {
                p.warn { "Held, " (reason) ": " (detail) }
            }
            @if let Some(hold) = &group.hold {
                p.warn {
                    "On hold for " (figures::ago(view.since(hold.since))) ": " (hold.reason)
                    @if let Some(until) = hold.until { " · ends in " (figures::ago(until.since(view.status.at).as_secs_f64())) }
                }
            }
            @for (engine, fault) in &group.faults {
                p.warn { b { (fault) } @if let Some(engine) = engine { " · " (engine) } }
            }
            (recovery(view, group))
            (sharing::group(view, group))
            div.tree {
                (control(group)) div.link {} (server(view, group))
                ul.engines { @for engine in &group.engines { li { (self::engine(view, group, engine)) } } }
            }
        }
    }
}

fn marks(group: &GroupStatus) -> Markup {
    html! {
        @if group.mode == Mode::Observe { " " (badge("dim", "observe only")) }
        @if group.hold.is_some() { " " (badge("wait", "hold")) }
        small { " generation " (group.generation) " · " (plural(group.budget_remaining as usize, "restart")) " left" }
    }
}

/// The steps of a restart, the one that it is in marked.
fn recovery(view: &View<'_>, group: &GroupStatus) -> Markup {
    let Some(recovery) = &group.recovery else { return html! {} };
    let place = RecoveryStep::ALL.iter().position(|step| *step == recovery.step);
    let class = |index: usize| match place {
        Some(place) if index < place => "done",
        Some(place) if index == place => "now",
        _ => "todo",
    };
    html! {
        ol.steps aria-label=(format!("restart of tier {}, step {}", recovery.tier, recovery.step)) {
            @for (index, step) in RecoveryStep::ALL.iter().enumerate() {
                    // Hardly ever there: it is shown while a restart waits in it.
                    @if *step != RecoveryStep::Gpu || recovery.step == *step { li class=(class(index)) { (step) } }
                }
        }
        p.dim { (recovery.tier) " tier, since " (figures::ago(view.since(recovery.since))) }
    }
}

/// It is not known to live, since nobody wants it to: the group is stopped, held, or on its way up.
fn is_down_on_purpose(group: &GroupStatus) -> bool {
    group.control.is_none() && group.state != GroupState::Unknown
}

fn control(group: &GroupStatus) -> Markup {
    let (tone, words) = match group.control_up {
        Some(true) => ("good", "answers"),
        Some(false) => ("bad", "down"),
        None if is_down_on_purpose(group) => ("dim", "none"),
        None => ("dim", "unknown"),
    };
    html! {
        div.box {
            b { "control daemon" } " " (badge(tone, words))
            @if let Some(process) = group.control { small { "pid " (process) } }
        }
    }
}

fn server(view: &View<'_>, group: &GroupStatus) -> Markup {
    let clients = group.clients.map_or("?".to_owned(), |clients| clients.to_string());
    let unknown = group.unknown_clients.unwrap_or_default() as usize;
    html! {
        div.box {
            b { "MPS server" } " " (badge(server_tone(group.server), group.server.as_str()))
            small {
                (clients) " of " (group.clients_limit.map_or("?".to_owned(), |limit| limit.to_string())) " clients"
                @if unknown > 0 { ", " (unknown) " of them unknown" }
                @if let Some(pid) = group.server_pid { " · pid " (pid) }
                @if let Some(since) = group.server_since { " · up " (figures::ago(view.since(since))) }
            }
        }
    }
}

/// The same for an engine wherever it is drawn.
fn colour(view: &View<'_>, group: &GroupStatus, engine: &EngineStatus) -> &'static str {
    let all =
        view.groups_on(&group.gpu).flat_map(|group| group.engines.iter().map(move |one| (&group.name, &one.name)));
    let place = all.into_iter().position(|one| one == (&group.name, &engine.name));
    COLOURS[place.unwrap_or_default() % COLOURS.len()]
}

fn engine(view: &View<'_>, group: &GroupStatus, engine: &EngineStatus) -> Markup {
    let tone = engine_tone(engine.state);
    html! {
        div class={ "box engine edge-" (tone) } {
            b { (engine.name) } " " (badge(tone, engine.state.as_str()))
            @if engine.attached == Some(false) { " " (badge("bad", "outside MPS")) }
            @if let Some(model) = engine.load.as_ref().and_then(|load| load.model.as_ref()) { small { (model) } }
            (engine_memory(engine, colour(view, group, engine)))
            @if let Some(load) = &engine.load { (self::load(load)) }
            (sharing::engine(view, &group.overlap, &engine.sharing))
            @if let Some(note) = &engine.note { small.note { (note) } }
            @for unknown in &engine.unknown { small { (unknown.question) ": not known: " (unknown.why) } }
            @if engine.kind != EngineKind::Other { small { (engine.kind) } }
            small { "incarnation " (engine.incarnation) @if let Some(main) = engine.main { " · pid " (main) } }
        }
    }
}

fn engine_memory(engine: &EngineStatus, colour: &'static str) -> Markup {
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
            @if let Some(left) = engine.memory_time_to_limit { " · full in " (figures::ago(left.as_secs_f64())) }
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

/// A state in words, with a colour that only repeats them.
fn badge(tone: &str, words: &str) -> Markup {
    html! { span class={ "badge " (tone) } { (words) } }
}

fn group_tone(state: GroupState) -> &'static str {
    match state {
        GroupState::Serving => "good",
        GroupState::Starting | GroupState::Recovering => "wait",
        GroupState::Degraded | GroupState::Held => "bad",
        GroupState::Stopped | GroupState::Unknown => "dim",
    }
}

fn engine_tone(state: EngineState) -> &'static str {
    match state {
        EngineState::Serving => "good",
        EngineState::Starting | EngineState::Stopping => "wait",
        EngineState::Failing | EngineState::Quarantined => "bad",
        EngineState::Stopped | EngineState::Unknown => "dim",
    }
}

fn server_tone(state: ServerState) -> &'static str {
    match state {
        ServerState::Active => "good",
        ServerState::Initializing => "wait",
        ServerState::Fault => "bad",
        ServerState::None | ServerState::Unknown => "dim",
    }
}
