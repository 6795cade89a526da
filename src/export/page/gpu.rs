//! A GPU: what is in its memory, how busy it is, and the groups on it.

use maud::{Markup, html};

use super::charts::chart;
use super::figures::{Part, bar, share};
use super::view::View;
use super::{engines, groups};
use crate::model::GpuStatus;
use crate::text::figures::bytes;

/// A GPU and the groups on it.
pub(super) fn section(view: &View<'_>, gpu: &GpuStatus) -> Markup {
    let identity = &gpu.identity;
    let total = identity.memory_total.unwrap_or_default() as f64;
    let course = view.history.gpu_memory(&identity.uuid);
    html! {
        section.gpu {
            h2 { "GPU " (identity.label()) " " small { (identity.product()) } }
            p.dim.uuid { (identity.uuid) }
            div.overview {
                div { (memory(view, gpu)) (activity(gpu)) }
                (chart(view, "memory", course, total, |figure| bytes(figure as u64)))
            }
            @for group in view.groups_on(&identity.uuid) { (groups::group(view, group)) }
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
            let class = engines::colour(view, group, engine);
            let held = engine.device_memory.filter(|held| *held > 0)?;
            Some(Part { amount: held as f64, class, title: format!("{} {}", engine.name, bytes(held)) })
        })
        .collect();
    let others = used as f64 - parts.iter().map(|part| part.amount).sum::<f64>();
    if others >= 1.0 {
        parts.push(Part { amount: others, class: "rest", title: format!("others {}", bytes(others as u64)) });
    }
    let label = format!("memory: {} of {}", bytes(used), bytes(total));
    html! {
        p.figure { (label) }
        (bar(&label, total as f64, &parts))
        ul.legend { @for part in &parts { li { svg.key aria-hidden="true" viewBox="0 0 8 8" { rect class=(part.class) width="8" height="8" rx="2" {} } (part.title) } } }
    }
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
            @if foreign > 0 { span.wait { (foreign) " computing here for no group" } }
        }
    }
}
