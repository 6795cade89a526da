//! The arithmetic of one window: from the kernels of every client to the time with exactly so many of them on the
//! GPU. Pure; who the clients are, and whether all of them answered, is others' business.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{EngineName, OverlapWindow};
use crate::probe::wire::Kernels;

/// Time from start to end, nanoseconds; the end is not part of it.
pub type Span = (u64, u64);

/// What one client of the GPU recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Whose process it is.
    pub engine: EngineName,
    /// Kernels that the process ran.
    pub kernels: Kernels,
}

/// What all clients together say of `window`: of that time, the part that every one of them covers. `None`: there is
/// no such part.
pub fn measure(window: Span, clients: &[Recorded]) -> Option<OverlapWindow> {
    let covered = clients.iter().fold(window, |common, client| cut(common, client.kernels.covered));
    if covered.0 >= covered.1 {
        return None;
    }
    let mut seen = OverlapWindow { sampled: time(covered), ..OverlapWindow::default() };
    let mut engines: BTreeMap<&EngineName, Vec<Span>> = BTreeMap::new();
    let mut edges = Vec::new();
    for client in clients {
        let inside = inside(covered, &client.kernels.times);
        seen.kernels += inside.len() as u64;
        seen.dropped = seen.dropped.saturating_add(client.kernels.dropped);
        let busy = union(inside);
        edges.extend(busy.iter().flat_map(|span| [(span.0, true), (span.1, false)]));
        engines.entry(&client.engine).or_default().extend(busy);
    }
    seen.by_clients = by_depth(covered, edges, clients.len());
    let busy = |spans: Vec<Span>| union(spans).into_iter().map(time).sum();
    seen.busy = engines.into_iter().map(|(engine, spans)| (engine.clone(), busy(spans))).collect();
    Some(seen)
}

/// What both have in common; empty where the end is not after the start.
fn cut(one: Span, other: Span) -> Span {
    (one.0.max(other.0), one.1.min(other.1))
}

fn time((from, to): Span) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}

/// The parts that lie in `covered`; one that took no time has none.
fn inside(covered: Span, times: &[Span]) -> Vec<Span> {
    times.iter().map(|span| cut(covered, *span)).filter(|(from, to)| from < to).collect()
}

/// The same time, in order and without overlaps.
fn union(mut spans: Vec<Span>) -> Vec<Span> {
    // Stable sorts take what is in order already, as records nearly are, in one pass.
    spans.sort();
    spans.dedup_by(|next, kept| {
        let joined = next.0 <= kept.1;
        if joined {
            kept.1 = kept.1.max(next.1);
        }
        joined
    });
    spans
}

/// How long exactly so many of `clients` were busy, by their number from 0. Every edge lies in `covered`, and every
/// beginning (`true`) has its end.
fn by_depth(covered: Span, mut edges: Vec<(u64, bool)>, clients: usize) -> Vec<Duration> {
    // One run for each client.
    edges.sort();
    let mut nanos = vec![0; clients + 1];
    let (mut at, mut depth) = (covered.0, 0);
    for (edge, begins) in edges.into_iter().chain([(covered.1, false)]) {
        nanos[depth] += edge - at;
        at = edge;
        // Ends come first where both are at one time: never more at once than there are clients.
        depth = if begins { depth + 1 } else { depth.saturating_sub(1) };
    }
    nanos.into_iter().map(Duration::from_nanos).collect()
}

#[cfg(test)]
#[path = "concurrency_tests.rs"]
mod tests;
