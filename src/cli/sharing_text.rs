//! What `mpswarden status` says of sharing the GPU: overlap and gain of a group, probe and slow-down of its
//! engines, and the advice. Pure text.

use super::figures::share;
use crate::control::Seen;
use crate::export::sentence::{advice_runbook, advice_words};
use crate::model::{EngineStatus, GroupStatus, OverlapStatus, ProbeState};
use crate::text::figures::factor;
use crate::text::screen::{Ink, Screen};
use crate::text::span::age;
use crate::text::table::Cell;

/// The group's lines; none where there is neither a probe nor a gain.
pub(super) fn sharing(seen: &Seen, group: &GroupStatus, screen: &Screen) -> String {
    let words = overlap_words(seen, group);
    let mut text = if words.is_empty() { String::new() } else { screen.prose("  overlap ", Ink::Dim, &words) };
    for advice in &group.overlap.advice {
        let (words, lasts) = (advice_words(advice), age(seen.age(advice.since)));
        let told = format!("{words}, since {lasts}: see docs/runbooks/{}.md", advice_runbook(advice.reason));
        text.push_str(&screen.prose("  advice  ", Ink::Warn, &told));
    }
    text
}

fn overlap_words(seen: &Seen, group: &GroupStatus) -> String {
    let overlap = &group.overlap;
    let probed = group.engines.iter().any(|engine| engine.sharing.probe != ProbeState::Off);
    let shares = overlap.shares();
    let together = (!shares.is_empty()).then(|| {
        let together: f64 = shares.iter().skip(2).sum();
        format!("2+ clients {} of sampled time", share(together))
    });
    let gain = overlap.gain.map(|gain| format!("gain {}", factor(gain)));
    let windows = (probed || overlap.windows > 0).then(|| windows(seen, overlap));
    together.into_iter().chain(gain).chain(windows).collect::<Vec<_>>().join("   ")
}

fn windows(seen: &Seen, overlap: &OverlapStatus) -> String {
    match overlap.last_window {
        Some(last) => format!("windows {}, the last {} ago", overlap.windows, age(seen.age(last))),
        None => "no window of the kernel probe yet".to_owned(),
    }
}

/// State of its kernel probe; nothing where no engine of the group has one.
pub(super) fn probe(group: &GroupStatus, engine: &EngineStatus) -> Cell {
    let state = engine.sharing.probe;
    let ink = match state {
        _ if group.engines.iter().all(|engine| engine.sharing.probe == ProbeState::Off) => {
            return (String::new(), Ink::Plain);
        }
        ProbeState::Off | ProbeState::Waiting => Ink::Dim,
        ProbeState::Working => Ink::Plain,
        ProbeState::Unavailable => Ink::Warn,
    };
    (state.to_string(), ink)
}

/// How many times slower it is than alone; nothing where that is not known.
pub(super) fn slowdown(engine: &EngineStatus) -> Cell {
    let text = engine.sharing.slowdown.map(|slowdown| format!("{}x", factor(slowdown)));
    (text.unwrap_or_default(), Ink::Plain)
}
