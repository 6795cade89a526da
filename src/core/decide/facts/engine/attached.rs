//! Where an engine computes, and for how long it has been detached.

use std::time::Duration;

use crate::decide::facts::attached::{Attachment, Outside, Watched};
use crate::decide::facts::engine::Engine;
use crate::decide::facts::reading::READING_FRESH;
use crate::decide::facts::stage::Stage;
use crate::decide::facts::{GpuFacts, ServerFacts};
use crate::model::Moment;

impl Engine {
    pub(crate) fn saw_attachment(&mut self, attachment: Option<Attachment>, now: Moment) {
        let kind = std::mem::discriminant::<Attachment>;
        self.instance.gpu.watched = attachment.map(|attachment| match self.instance.gpu.watched.take() {
            Some(was) if kind(&was.attachment) == kind(&attachment) => Watched { attachment, since: was.since },
            _ => Watched { attachment, since: now },
        });
    }

    /// Seen detached, so far for however short a time.
    pub(crate) fn seems_detached(&self) -> bool {
        self.instance.gpu.watched.as_ref().is_some_and(|watched| watched.attachment != Attachment::Attached)
    }

    /// Seen detached in one way, for too long to be a matter of three lists that are not read at one moment.
    pub(crate) fn is_detached(&self, now: Moment) -> bool {
        self.detached_for(now) >= Some(DETACHED_FOR)
    }

    /// Detached for long enough to be no client's end, which needs no command, and not indefinitely.
    pub(crate) fn detached_lately(&self, now: Moment) -> bool {
        self.detached_for(now).is_some_and(|time| (ENDS_WITHIN..LATELY).contains(&time))
    }

    fn detached_for(&self, now: Moment) -> Option<Duration> {
        self.instance.gpu.watched.as_ref().filter(|_| self.seems_detached()).map(|watched| now.since(watched.since))
    }

    /// Proven to compute outside the group's server, and since when: every list was read anew after it was
    /// first seen so and, of an engine that starts, after it got healthy.
    pub(crate) fn proven_outside(
        &self,
        server: &ServerFacts,
        gpu: &GpuFacts,
        now: Moment,
    ) -> Option<(&Outside, Moment)> {
        let Some(Watched { attachment: Attachment::Outside(outside), since }) = &self.instance.gpu.watched else {
            return None;
        };
        let (from, patience) = match self.stage {
            Stage::Starting => ((*since).max(self.instance.probes.good_since?), OUTSIDE_AT_START_FOR),
            Stage::Serving | Stage::Failing => (*since, DETACHED_FOR),
            Stage::Down { .. }
            | Stage::Launching(_)
            | Stage::Ending(_)
            | Stage::Fallen
            | Stage::Quarantined
            | Stage::Stopped
            | Stage::Left => return None,
        };
        let reading = gpu.reading.at().filter(|_| gpu.reading.fresh(READING_FRESH, now).is_some());
        let read = [self.instance.tree.all.at(), server.clients_asked, reading];
        let proven = now.since(from) >= patience && read.iter().all(|at| at.is_some_and(|at| at > from));
        proven.then_some((outside, from))
    }
}

/// Time after which an engine that is seen detached is failing.
const DETACHED_FOR: Duration = Duration::from_secs(3);

/// Time within which a client's process is seen gone after it is seen detached.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Time for which the lists are read closely, then at leisure: a control command writes to the daemon's log.
const LATELY: Duration = Duration::from_secs(10);

/// Time after which one that starts outside is reported, as it is looked at closely: a client that ends is off all
/// three lists by then.
const OUTSIDE_AT_START_FOR: Duration = Duration::from_millis(300);
