//! A group: how it stands, its last hour, its servers with their engines.

use maud::{Markup, html};

use super::figures::ago;
use super::timeline::{self, group_tone};
use super::view::View;
use super::{engines, sharing};
use crate::export::concerns::Tone;
use crate::model::status::IsolationStatus;
use crate::model::{EngineStatus, GroupState, GroupStatus, Mode, ProcessId, RecoveryStep, ServerState};
use crate::text::figures::plural;

/// A group.
pub(super) fn group(view: &View<'_>, group: &GroupStatus) -> Markup {
    html! {
        article.group {
            h3 { (group.name) " " (badge(group_tone(group.state).class(), group.state.as_str())) (marks(group)) }
            @if let Some((reason, detail)) = &group.held {
                p.say { "Held, " (reason) ": " (detail) }
            }
            @if let Some(hold) = &group.hold {
                p.say {
                    "On hold for " (ago(view.since(hold.since))) ": " (hold.reason)
                    @if let Some(until) = hold.until { " · ends in " (ago(until.since(view.status.at).as_secs_f64())) }
                }
            }
            @for (engine, fault) in &group.faults {
                p.say { b { (fault) } @if let Some(engine) = engine { " · " (engine) } }
            }
            (recovery(view, group))
            (timeline::hour(view, group))
            (sharing::group(view, group))
            (servers(view, group))
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

/// The steps of a restart in the order in which they happen, the one that it is in marked.
fn recovery(view: &View<'_>, group: &GroupStatus) -> Markup {
    let Some(recovery) = &group.recovery else { return html! {} };
    let first = recovery.reason.is_none();
    // Hardly ever there: it is shown while a restart waits in it. A first start has nothing to end.
    let shown = |step: &&RecoveryStep| {
        let of_the_old = matches!(step, RecoveryStep::Decide | RecoveryStep::Kill | RecoveryStep::Gone);
        **step == recovery.step || !(**step == RecoveryStep::Gpu || first && of_the_old)
    };
    let steps: Vec<&RecoveryStep> = RecoveryStep::ALL.iter().filter(shown).collect();
    let place = steps.iter().position(|step| **step == recovery.step).unwrap_or_default();
    let class = |index: usize| match index.cmp(&place) {
        std::cmp::Ordering::Less => "done",
        std::cmp::Ordering::Equal => "now",
        std::cmp::Ordering::Greater => "todo",
    };
    let what = if first { "First start".to_owned() } else { format!("Restart of the {} tier", recovery.tier) };
    html! {
        p.dim { (what) ", for " (ago(view.since(recovery.since))) ": step " (place + 1) " of " (steps.len()) ", " (recovery.step) }
        ol.steps aria-hidden="true" { @for (index, step) in steps.iter().enumerate() { li class=(class(index)) { (step) } } }
    }
}

/// One server, or both where engines run apart.
fn servers(view: &View<'_>, group: &GroupStatus) -> Markup {
    let second = group
        .isolation
        .as_ref()
        .filter(|isolation| isolation.server != ServerState::None || !isolation.apart.is_empty());
    let apart = |engine: &&EngineStatus| second.is_some_and(|second| second.apart.contains(&engine.name));
    let (there, here): (Vec<&EngineStatus>, Vec<&EngineStatus>) = group.engines.iter().partition(apart);
    html! {
        div.servers {
            section.server aria-label="MPS server" {
                div.daemon { (server(view, group)) (control(group)) }
                (engine_list(view, group, &here))
            }
            @if let Some(second) = second {
                section.server.second aria-label="Second MPS server" {
                    div.daemon { (second_server(second)) (process("its control daemon", second.control)) }
                    (engine_list(view, group, &there))
                }
            }
        }
    }
}

fn engine_list(view: &View<'_>, group: &GroupStatus, engines: &[&EngineStatus]) -> Markup {
    html! { ul.engines { @for engine in engines { li { (engines::engine(view, group, engine)) } } } }
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
        p {
            b { "control daemon" } " " (badge(tone, words))
            @if let Some(process) = group.control { small { " pid " (process) } }
        }
    }
}

fn process(what: &str, process: Option<ProcessId>) -> Markup {
    html! { p { b { (what) } @if let Some(process) = process { small { " pid " (process) } } @else { " " (badge("dim", "none")) } } }
}

fn server(view: &View<'_>, group: &GroupStatus) -> Markup {
    let clients = group.clients.map_or("?".to_owned(), |clients| clients.to_string());
    let unknown = group.unknown_clients.unwrap_or_default() as usize;
    html! {
        p {
            b { "MPS server" } " " (badge(server_tone(group.server), group.server.as_str()))
            small {
                " " (clients) " of " (group.clients_limit.map_or("?".to_owned(), |limit| limit.to_string())) " clients"
                @if unknown > 0 { ", " (unknown) " of them unknown" }
                @if let Some(pid) = group.server_pid { " · pid " (pid) }
                @if let Some(since) = group.server_since { " · up " (ago(view.since(since))) }
            }
        }
    }
}

fn second_server(isolation: &IsolationStatus) -> Markup {
    html! {
        p {
            b { "second MPS server" } " " (badge(server_tone(isolation.server), isolation.server.as_str()))
            small { " isolation" @if let Some(pid) = isolation.server_pid { " · pid " (pid) } }
        }
    }
}

/// A state in words, with a colour that only repeats them.
pub(super) fn badge(tone: &str, words: &str) -> Markup {
    html! { span class={ "badge " (tone) } { (words) } }
}

fn server_tone(state: ServerState) -> &'static str {
    match state {
        ServerState::Active => Tone::Good,
        ServerState::Initializing => Tone::Wait,
        ServerState::Fault => Tone::Bad,
        ServerState::None | ServerState::Unknown => Tone::Dim,
    }
    .class()
}
