//! Notes where each engine of a domain computes.

use crate::decide::facts::GpuFacts;
use crate::decide::facts::attached::Attachment;
use crate::decide::facts::scene::Scene;
use crate::decide::policy::MpsUse;
use crate::model::Moment;

impl Scene {
    /// Notes where each engine computes, as far as is known now.
    pub(crate) fn note_attachments(&mut self, gpu: &GpuFacts, now: Moment) {
        for engine in &mut self.engines {
            // Outside MPS on purpose it is where it is meant to be.
            let attachment = match engine.instance.mps == MpsUse::Outside {
                true => engine.alive().then_some(Attachment::Attached),
                false => engine.attachment_now(&self.server, &gpu.reading, now),
            };
            engine.saw_attachment(attachment, now);
        }
    }
}
