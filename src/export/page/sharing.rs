//! How the engines of a group overlap on the GPU, and whether sharing it pays, as a picture.

use maud::{Markup, html};

use super::View;
use super::figures::{Part, ago, bar, share};
use super::headline::runbook;
use crate::export::sentence::{advice_runbook, advice_words};
use crate::model::{Baseline, EngineSharing, GroupStatus, OverlapStatus, ProbeState, Taken};
use crate::text::figures::{factor, plural};

/// Colours of 1, 2, ... clients at once; the last one is also for more.
const SHADES: [&str; 4] = ["k1", "k2", "k3", "k4"];

/// The group's shares of time, its gain, and the advice; nothing where there is neither a probe nor a gain.
pub(super) fn group(view: &View<'_>, group: &GroupStatus) -> Markup {
    let overlap = &group.overlap;
    html! {
        @for advice in &overlap.advice {
            p.advice {
                (advice_words(advice)) ", since " (ago(view.since(advice.since)))
                " · " (runbook(advice_runbook(advice.reason)))
            }
        }
        @if !overlap.shares().is_empty() { (shares(overlap)) }
        @if overlap.gain.is_some() || overlap.windows > 0 {
            p.figures {
                @if let Some(gain) = overlap.gain { span { "gain " b { (factor(gain)) } } }
                @if let Some(last) = overlap.last_window {
                    span { (plural(overlap.windows as usize, "window")) ", the last " (ago(view.since(last))) " ago" }
                }
            }
        }
    }
}

/// A bar of the sampled time; what is left of it is time without any kernel.
fn shares(overlap: &OverlapStatus) -> Markup {
    let told = |(clients, part): (usize, &f64)| format!("{} {}", at_once(clients), share(*part));
    let shares = overlap.shares();
    let words: Vec<String> = shares.iter().enumerate().map(told).collect();
    let part =
        |at: (usize, &f64)| Part { amount: *at.1, class: SHADES[usize::min(at.0, SHADES.len()) - 1], title: told(at) };
    let parts: Vec<Part> = shares.iter().enumerate().skip(1).map(part).collect();
    let label = format!("kernels on the GPU: {}", words.join(" · "));
    html! { div.meter { (bar(&label, 1.0, &parts)) span { (label) } } }
}

fn at_once(clients: usize) -> String {
    if clients == 0 { "none".to_owned() } else { plural(clients, "client") }
}

/// One engine's part in it, and what it is compared with.
pub(super) fn engine(view: &View<'_>, overlap: &OverlapStatus, sharing: &EngineSharing) -> Markup {
    let sampled = overlap.sampled.as_secs_f64();
    // Nobody knows what an engine ran whose probe does not work.
    let known = sharing.probe == ProbeState::Working && sampled > 0.0;
    let busy = known.then(|| sharing.kernel_busy.as_secs_f64() / sampled);
    html! {
        @if busy.is_some() || sharing.slowdown.is_some() {
            p.figures {
                @if let Some(busy) = busy { span { "kernels " b { (share(busy)) } " of sampled time" } }
                @if let Some(slowdown) = sharing.slowdown { span { "slowed " b { (factor(slowdown)) "×" } } }
            }
        }
        @if sharing.probe != ProbeState::Off {
            small {
                "kernel probe " (sharing.probe)
                @if let Some(why) = &sharing.probe_note { ": " (why) }
            }
        }
        @if let Some(baseline) = &sharing.baseline { small { (baseline_words(view, baseline)) } }
    }
}

fn baseline_words(view: &View<'_>, baseline: &Baseline) -> String {
    let age = match baseline.taken {
        Taken::At(moment) => view.since(moment),
        Taken::Unix(seconds) => view.made_at() - seconds as f64,
    };
    let samples = match baseline.samples {
        0 => String::new(),
        samples => format!(", {}", plural(samples as usize, "sample")),
    };
    format!(
        "baseline {}: {:.0} tokens/s{samples}, {} old",
        baseline.source,
        baseline.tokens_per_second,
        ago(age.max(0.0))
    )
}
