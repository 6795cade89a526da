//! What the page is made from. It looks things up and judges nothing.

use std::sync::Arc;

use crate::export::BuildInfo;
use crate::export::sentence::{blind_words, source_words};
use crate::model::{GpuUuid, GroupStatus, Incident, Moment, SourceStatus, Status};

/// What the page is made from.
pub struct View<'a> {
    /// What the core knows.
    pub status: &'a Status,
    /// Newest first.
    pub incidents: &'a [Arc<Incident>],
    /// The build that runs.
    pub build: BuildInfo,
    /// Where the metrics are.
    pub telemetry_path: &'a str,
    /// Seconds since 1970 of `Moment::ZERO`.
    pub boot: f64,
    /// Time of the view.
    pub now: Moment,
}

impl View<'_> {
    /// When the status was made, in seconds since 1970.
    pub fn made_at(&self) -> f64 {
        self.boot + self.status.at.as_secs_f64()
    }

    /// How old the status is, in seconds.
    pub fn age(&self) -> f64 {
        self.now.since(self.status.at).as_secs_f64()
    }

    /// Seconds from `earlier` to the status.
    pub fn since(&self, earlier: Moment) -> f64 {
        self.status.at.since(earlier).as_secs_f64()
    }

    /// The groups on a GPU.
    pub fn groups_on<'b>(&'b self, gpu: &'b GpuUuid) -> impl Iterator<Item = &'b GroupStatus> {
        self.status.groups.iter().filter(move |group| group.gpu == *gpu)
    }

    /// A source that shows nothing: how, why, and since when.
    pub fn source_words(&self, source: &SourceStatus) -> String {
        let scope = &source.scope;
        let gpu = self.status.gpus.iter().find(|gpu| Some(&gpu.identity.uuid) == scope.gpu.as_ref());
        let words = match gpu {
            Some(gpu) => format!("{} of GPU {}", scope.source, gpu.identity.label()),
            None => source_words(scope),
        };
        let since = match source.last_success {
            Some(at) => format!("last answered {} ago", super::figures::ago(self.since(at))),
            None => "never answered".to_owned(),
        };
        let why = source.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{words} {}, {since}{why}", blind_words(source.state))
    }
}
