//! One GPU: its readings, its own health, whether its SMs are taken.

use super::gpu_health::GpuHealth;
use super::reading::Reading;
use super::taken::Taken;
use crate::model::gpu::RecoveryAction;
use crate::model::{GpuIdentity, Known, Moment};

/// A GPU.
#[derive(Clone, Debug)]
pub(crate) struct GpuFacts {
    pub identity: GpuIdentity,
    pub reading: Known<Reading>,
    pub taken: Taken,
    pub health: GpuHealth,
    /// Action of the driver that was last reported.
    pub emitted_action: Option<RecoveryAction>,
    /// Time since which every reading has failed, and why the last did.
    pub unread: Option<(Moment, String)>,
    /// It had a figure of its memory once.
    pub has_memory: bool,
}

impl GpuFacts {
    /// A GPU of which nothing was seen yet.
    pub(crate) fn new(identity: GpuIdentity) -> Self {
        GpuFacts {
            identity,
            reading: Known::Unknown,
            taken: Taken::default(),
            health: GpuHealth::default(),
            emitted_action: None,
            unread: None,
            has_memory: false,
        }
    }

    /// A look at it failed.
    pub(crate) fn is_unread(&mut self, why: String, now: Moment) {
        let since = self.unread.as_ref().map_or(now, |(since, _)| *since);
        self.unread = Some((since, why));
    }

    /// NVML read it.
    pub(crate) fn saw(&mut self, reading: Reading, now: Moment) {
        self.taken.saw(reading.activity.and_then(|activity| activity.sm_active), now);
        self.has_memory |= reading.memory_used.is_some();
        self.identity.memory_total = self.identity.memory_total.or(reading.memory_total);
        self.unread = None;
        self.reading.saw(reading, now);
    }
}
