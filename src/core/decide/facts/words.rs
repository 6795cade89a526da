//! What was reported of one engine's error lines, and which CUDA errors mean what.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::facts::said::Doubted;
use crate::model::{Doubt, Moment};

/// The culprit's error may be read so long before the server's fatal line.
pub(crate) const NEAR: Duration = Duration::from_millis(50);

/// Shortest time between two reports of the same error of the same engine, and of its doubts.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// The reports of one engine's error lines, which are counted since the watchdog's start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Telling {
    /// Time of each code's last report.
    errors: BTreeMap<u32, Moment>,
    doubts: BTreeMap<(u32, Doubt), Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    lines: u64,
    untold: u64,
    emitted: Option<Moment>,
}

impl Telling {
    /// Whether an error is to be reported now.
    pub(crate) fn error(&mut self, code: u32, now: Moment) -> bool {
        let due = self.errors.get(&code).is_none_or(|emitted| now.since(*emitted) >= TELL_AGAIN);
        if due {
            self.errors.insert(code, now);
        }
        due
    }

    /// Counts lines that were doubted; how many are to be reported now.
    pub(crate) fn doubt(&mut self, (code, how, lines): Doubted, now: Moment) -> Option<u64> {
        let count = self.doubts.entry((code, how)).or_default();
        count.lines = count.lines.saturating_add(lines);
        count.untold = count.untold.saturating_add(lines);
        let due = count.emitted.is_none_or(|emitted| now.since(emitted) >= TELL_AGAIN);
        due.then(|| {
            count.emitted = Some(now);
            std::mem::take(&mut count.untold)
        })
    }

    /// Lines that were doubted since the watchdog's start, by their code.
    pub(crate) fn counted(&self) -> Vec<(u32, Doubt, u64)> {
        self.doubts.iter().map(|((code, how), count)| (*code, *how, count.lines)).collect()
    }
}

/// The server's word on its own end, and how long before it errors are of it.
#[derive(Clone, Copy)]
pub(crate) struct ServerLost {
    pub at: Moment,
    pub before: Duration,
}

/// CUDA errors after which no context of the same server can be used: 700 to 720 (a kernel's fault), and
/// 805 to 807 (the server or the daemon is gone or in teardown). Out of memory (2), and a server that takes no
/// more clients (46, 808, 809), are the caller's alone.
pub(crate) fn is_context_fatal(code: u32) -> bool {
    matches!(code, 700..=720 | 805..=807)
}

/// CUDA errors that mean that the server or its daemon is gone, not that a kernel went wrong.
pub(crate) fn is_of_a_lost_server(code: u32) -> bool {
    matches!(code, 805..=807)
}
