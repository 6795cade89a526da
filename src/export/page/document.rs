//! The page as a whole, and the part of it that its script fetches again.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::figures::{clock_time, local_time, machine_time};
use super::view::View;
use super::{gpu, headline, incidents};
use crate::export::concerns::{Concern, concerns};
use crate::text::plain;

pub(super) const STYLE: &str = include_str!("style.css");
pub(super) const SCRIPT: &str = include_str!("live.js");

/// The whole page.
pub fn document(view: &View<'_>) -> String {
    let found = concerns(&view.situation());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (headline::title(view, &found)) }
                link rel="icon" href=(headline::icon(&found));
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#now" { "Skip to what is wrong" }
                header {
                    h1 { "mpswarden" }
                    @if !view.host.is_empty() { p.host { (view.host) } }
                    @if view.status.is_simulated() { p.badge.wait { "simulated: no GPU or engine here is real" } }
                    p.clock { (clock(view)) }
                }
                main #now tabindex="-1" { (live_part(view, &found)) }
                p #say .unseen role="status" {}
                footer { (links(view)) p { "mpswarden " (view.build.version) " · nothing on this page changes anything: orders go through the control socket" } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    // `curl` of it must not drive a terminal, whatever a model is called.
    plain::lines(&page.into_string())
}

/// What the script fetches again and puts into the page.
pub fn fragment(view: &View<'_>) -> String {
    plain::lines(&live(view).into_string())
}

pub(super) fn live(view: &View<'_>) -> Markup {
    live_part(view, &concerns(&view.situation()))
}

fn live_part(view: &View<'_>, found: &[Concern]) -> Markup {
    html! {
        (headline::section(view, found))
        @for gpu in &view.status.gpus { (gpu::section(view, gpu)) }
        (incidents::section(view))
    }
}

/// When the status was made: in UTC, by the host's clock where that differs; the script adds the reader's.
fn clock(view: &View<'_>) -> Markup {
    let at = view.made_at();
    let local = local_time(at, &view.zone);
    html! {
        time #clock datetime=(machine_time(at)) { (clock_time(at)) }
        @if let Some(local) = local { " · " span { (local) } }
        span #here {} span #pulse {}
    }
}

fn links(view: &View<'_>) -> Markup {
    html! {
        nav aria-label="For programs" {
            a href={ "." (view.telemetry_path) } { "metrics" }
            a href="./api/v1/status" { "status" }
            a href="./api/v1/incidents" { "incidents" }
            a href="./-/ready" { "ready" }
            a href="./-/healthy" { "healthy" }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
