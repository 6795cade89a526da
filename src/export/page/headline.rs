//! The first view: what is worst, since when and why, what to do about it, what else is wrong, and how much serves.

use maud::{Markup, html};

use super::figures::{clock_time, machine_time};
use super::view::View;
use crate::export::concerns::{Concern, RUNBOOKS, Rank, Situation, Todo, Tone};
use crate::model::EngineState;
use crate::text::figures::plural;

/// Most further concerns that are listed.
const MOST_OTHERS: usize = 12;

/// The tab's title: the worst that there is, and where.
pub(super) fn title(view: &View<'_>, found: &[Concern]) -> String {
    let worst = found.first().map_or("", |worst| worst.what.as_str());
    let mark = if found.first().is_some_and(|worst| worst.rank == Rank::Well) { "" } else { "⚠ " };
    let host = if view.host.is_empty() { String::new() } else { format!(" · {}", view.host) };
    format!("{mark}{worst}{host} · mpswarden")
}

/// The tab's icon: a dot in the colour of the worst. It needs no request.
pub(super) fn icon(found: &[Concern]) -> String {
    let colour = match tone(found) {
        Tone::Good => "1a7f4b",
        Tone::Wait => "c27c0e",
        Tone::Bad => "c62828",
        Tone::Dim => "7a848e",
    };
    format!(
        "data:image/svg+xml,%3Csvg xmlns='http:%2f%2fwww.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' \
         r='7' fill='%23{colour}'/%3E%3C/svg%3E"
    )
}

fn tone(found: &[Concern]) -> Tone {
    found.first().map_or(Tone::Dim, |worst| worst.rank.tone())
}

/// The first view.
pub(super) fn section(view: &View<'_>, found: &[Concern]) -> Markup {
    let situation = view.situation();
    let class = tone(found).class();
    html! {
        section class={ "head edge-" (class) } data-title=(title(view, found)) data-icon=(icon(found)) data-at=(machine_time(view.made_at())) {
            @if let Some((worst, others)) = found.split_first() {
                h2 #headline { (sentence(&situation, worst)) }
                p.todo { b { "What to do: " } (todo(&worst.todo)) }
                @if !others.is_empty() { (list(&situation, others)) }
            }
            p.counts { (counts(view)) " · as of " (clock_time(view.made_at())) }
        }
    }
}

fn list(situation: &Situation<'_>, others: &[Concern]) -> Markup {
    html! {
        ul.others {
            @for other in others.iter().take(MOST_OTHERS) {
                li class=(other.rank.tone().class()) {
                    p { (sentence(situation, other)) }
                    p.todo { "What to do: " (todo(&other.todo)) }
                }
            }
            @if others.len() > MOST_OTHERS { li.dim { "and " (others.len() - MOST_OTHERS) " more" } }
        }
    }
}

/// The same as `Situation::headline`, with its parts marked.
fn sentence(situation: &Situation<'_>, concern: &Concern) -> Markup {
    html! {
        strong { (concern.what) }
        @if let Some(since) = concern.since {
            span.since { ", since " (situation.time(since)) " (" (situation.ago(since)) ")" }
        }
        @if let Some(why) = &concern.why { span.why { ": " (why) } }
    }
}

/// The same as `Situation::to_do`, with its command and link.
fn todo(todo: &Todo) -> Markup {
    html! {
        (todo.words)
        @if let Some(command) = &todo.command { ": " code { (command) } }
        @if let Some(name) = todo.runbook { " " (runbook(name)) }
    }
}

/// A link to a runbook.
pub(super) fn runbook(name: &str) -> Markup {
    html! { a.runbook rel="noreferrer" href={ (RUNBOOKS) (name) ".md" } { "Runbook " (name) } }
}

fn counts(view: &View<'_>) -> String {
    let groups = &view.status.groups;
    let engines = groups.iter().flat_map(|group| &group.engines);
    let serving = engines.clone().filter(|engine| engine.state == EngineState::Serving).count();
    let serve = if serving == 1 { "serves" } else { "serve" };
    let faults: usize = groups.iter().map(|group| group.faults.len()).sum();
    let budget = groups.iter().map(|group| group.budget_remaining as usize).min();
    let budget = budget.map(|left| format!(" · {} left", plural(left, "restart"))).unwrap_or_default();
    format!("{serving} of {} {serve} · {}{budget}", plural(engines.count(), "engine"), plural(faults, "fault"))
}
