//! How far an engine's load is, as much of it as the window's rules ask for: written down while it goes, in order, so
//! that a look at it costs the load next to nothing however long it has been.

use std::ops::Range;
use std::time::Duration;

/// What came of an engine's requests so far.
#[derive(Clone, Debug, Default)]
pub(in crate::study) struct Course {
    /// When chunks with tokens came.
    chunks: Vec<Duration>,
    /// Requests that ended well: when each began and ended, in the order of their ends.
    ended: Vec<(Duration, Duration)>,
}

impl Course {
    /// A chunk with tokens came.
    pub(in crate::study) fn chunk(&mut self, at: Duration) {
        let last = self.chunks.last().copied().unwrap_or_default();
        self.chunks.push(at.max(last));
    }

    /// A request ended well that had been sent at `sent`.
    pub(in crate::study) fn end(&mut self, sent: Duration, at: Duration) {
        let last = self.ended.last().map_or(Duration::ZERO, |(_, ended)| *ended);
        self.ended.push((sent, at.max(last)));
    }

    /// Chunks that came within the span.
    pub(super) fn work(&self, span: &Range<Duration>) -> f64 {
        let before = |time: Duration| self.chunks.partition_point(|at| *at < time);
        before(span.end).saturating_sub(before(span.start)) as f64
    }

    /// Number of requests that ended well before `time`.
    pub(super) fn ended(&self, time: Duration) -> usize {
        self.ended.partition_point(|(_, ended)| *ended < time)
    }

    /// Number of requests that began and ended well within the span.
    pub(super) fn whole(&self, span: &Range<Duration>) -> usize {
        let within = self.ended.get(self.ended(span.start)..self.ended(span.end)).unwrap_or_default();
        within.iter().filter(|(sent, _)| *sent >= span.start).count()
    }
}
