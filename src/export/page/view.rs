//! What the page is made from. It looks things up and judges nothing.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::export::BuildInfo;
use crate::export::concerns::Situation;
use crate::export::history::{HOUR, History, Since};
use crate::model::{GpuUuid, GroupStatus, Incident, Moment, Status};

/// Times that the page looks back; each has quarters that are whole minutes.
const WINDOWS: [Duration; 3] = [Duration::from_secs(240), Duration::from_secs(1200), HOUR];

/// What the page is made from.
pub struct View<'a> {
    /// What the core knows.
    pub status: &'a Status,
    /// Times since which it is so.
    pub since: Since,
    /// What was in the last hour.
    pub history: &'a History,
    /// Newest first.
    pub incidents: &'a [Arc<Incident>],
    /// The build that runs.
    pub build: BuildInfo,
    /// Name of the host; empty: it has none.
    pub host: &'a str,
    /// Where the metrics are.
    pub telemetry_path: &'a str,
    /// Seconds since 1970 of `Moment::ZERO`.
    pub boot: f64,
    /// Zone of the host's times of day.
    pub zone: TimeZone,
    /// Time of the view.
    pub now: Moment,
}

impl View<'_> {
    /// What concerns are found in.
    pub(super) fn situation(&self) -> Situation<'_> {
        let (status, since, zone) = (self.status, &self.since, self.zone.clone());
        Situation { status, since, boot: self.boot, age: self.now.since(status.at), zone }
    }

    /// When the status was made, in seconds since 1970.
    pub(super) fn made_at(&self) -> f64 {
        self.wall(self.status.at)
    }

    /// A moment in seconds since 1970.
    pub(super) fn wall(&self, moment: Moment) -> f64 {
        self.boot + moment.as_secs_f64()
    }

    /// Time from `earlier` to the status.
    pub(super) fn ago(&self, earlier: Moment) -> Duration {
        self.status.at.since(earlier)
    }

    /// Seconds from `earlier` to the status.
    pub(super) fn since(&self, earlier: Moment) -> f64 {
        self.ago(earlier).as_secs_f64()
    }

    /// Time that the page looks back: as much as is known, in steps, so that what is young fills its room, too.
    pub(super) fn window(&self) -> Duration {
        let known = self.history.begun().map_or(Duration::ZERO, |begun| self.ago(begun));
        WINDOWS.into_iter().find(|window| *window >= known).unwrap_or(HOUR)
    }

    /// The groups on a GPU.
    pub(super) fn groups_on<'b>(&'b self, gpu: &'b GpuUuid) -> impl Iterator<Item = &'b GroupStatus> {
        self.status.groups.iter().filter(move |group| group.gpus.contains(gpu))
    }
}
