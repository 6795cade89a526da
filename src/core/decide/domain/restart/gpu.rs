//! A restart on a GPU that is lost, or needs a reset: no process is left on it, and the start waits, held, until a
//! reading shows it well or an operator says so. What is wrong with a GPU is found in `gpu_health`.

use std::time::Duration;

use crate::decide::domain::restart::{Restart, Step};
use crate::decide::domain::state::Domain;
use crate::decide::facts::GpuFacts;
use crate::decide::facts::gpu_health::{Ailment, Cure, Kind};
use crate::decide::turn::Turn;
use crate::model::{HeldReason, Moment, Reason, Tier};

/// Time without a reading at the start after which it is reported: one look that failed is no reason to page a person.
const UNREAD_FOR: Duration = Duration::from_secs(5);

impl Domain {
    /// Why nothing can be started on the GPU as things stand.
    pub(crate) fn cannot_use(&self, gpu: &GpuFacts) -> Option<(HeldReason, String)> {
        self.may_use(gpu).err()?;
        if let Some(ailment) = self.barred(gpu) {
            return Some((ailment.held_reason(), self.says(ailment, gpu)));
        }
        let why = gpu.unread.as_ref().map_or("it was not read yet", |(_, why)| why);
        let uuid = &gpu.identity.uuid;
        let detail = match gpu.unread.is_none() && gpu.reading.last().is_some() {
            true => format!("NVML shows the GPU {uuid} again; it is being identified"),
            false => format!("NVML can't read the GPU {uuid}: {why}; the group starts once it can"),
        };
        Some((HeldReason::GpuUnreadable, detail))
    }

    /// Whether a first start is to wait for the GPU with a reason, rather than for its first reading.
    pub(crate) fn must_wait_for(&self, gpu: &GpuFacts, now: Moment) -> bool {
        let unread = gpu.unread.as_ref().is_some_and(|(since, _)| now.since(*since) >= UNREAD_FOR);
        self.may_run(gpu).is_err() || unread || gpu.identity.absent && gpu.unread.is_some()
    }

    /// Takes a restart over, in whichever step it is. `true`: the GPU is sick, so nothing else matters.
    pub(crate) fn gpu_is_sick(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) -> bool {
        let Some(ailment) = self.barred(turn.gpu) else { return false };
        if restart.tier != Tier::Daemon {
            let reason = ailment.fault().into();
            self.escalate(restart, reason, turn);
        }
        match restart.step {
            // Nothing runs yet, or any more: on from where the daemon is stopped.
            Step::Memory | Step::Backoff { .. } | Step::Blocked { .. } | Step::Active { .. } => {
                self.stop_for_the_gpu(restart, turn)
            }
            // These come to it by themselves, or wait for an outcome that does.
            Step::End(_) | Step::Gpu | Step::StartControl(_) => {}
        }
        true
    }

    /// A control daemon that is there, or may be, is stopped; then the start waits.
    pub(crate) fn stop_for_the_gpu(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let nothing_runs = matches!(restart.step, Step::Memory | Step::Backoff { .. } | Step::Blocked { .. });
        if nothing_runs && self.scene.control.process.is_none() {
            restart.release(turn);
            restart.enter(Step::Gpu, turn);
        } else {
            self.after_gone(restart, turn);
        }
    }

    /// The daemon and its server are gone.
    pub(crate) fn after_the_control(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let sick = self.may_run(turn.gpu).is_err() || restart.reason.is_some_and(is_of_a_gpu);
        restart.enter(if sick { Step::Gpu } else { Step::Memory }, turn);
        if sick {
            self.check_gpu(restart, turn);
        }
    }

    /// Holds the start for as long as the GPU is sick, and until a reading from after this wait began shows it well.
    pub(crate) fn check_gpu(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        if let Some((reason, detail)) = self.cannot_use(turn.gpu) {
            restart.hold(reason, detail, turn);
        } else if turn.gpu.health.well_since(restart.step_since) {
            restart.release(turn);
            restart.enter(Step::Memory, turn);
        }
    }

    /// What stands in the way besides, where a GPU is sick: both reasons are said.
    pub(crate) fn with_the_gpu(&self, detail: String, turn: &Turn<'_>) -> String {
        match self.barred(turn.gpu) {
            Some(ailment) => format!("{detail}; besides, {}", self.says(ailment, turn.gpu)),
            None => detail,
        }
    }

    /// What is wrong with the GPU, and what a person is to do.
    fn says(&self, ailment: &Ailment, gpu: &GpuFacts) -> String {
        let (name, uuid) = (&self.scene.policy.name, &gpu.identity.uuid);
        let cure = match ailment.kind {
            Kind::Lost | Kind::ResetNeeded(Cure::NodeReboot) => "reboot the node".to_owned(),
            Kind::ResetNeeded(Cure::SystemReboot) => "reboot the whole system, its baseboard with it".to_owned(),
            Kind::ResetNeeded(Cure::BusReset) => format!(
                "once no other process is on it, reset it by its bus: `nvidia-smi --gpu-reset -i {uuid}` where the driver's \
                 version does that, else `echo 1 > /sys/bus/pci/devices/ADDRESS/reset`, or reboot the node"
            ),
            Kind::ResetNeeded(Cure::Reset) | Kind::Draining => {
                format!("once no other process is on it, `nvidia-smi --gpu-reset -i {uuid}`, or reboot the node")
            }
        };
        let because = &ailment.because;
        format!("{uuid}: {because}; {cure}; it goes on once NVML shows {uuid} well, or by `mpswarden resume {name}`")
    }
}

fn is_of_a_gpu(reason: Reason) -> bool {
    matches!(reason, Reason::Fault(fault) if crate::decide::facts::ladder::is_of_the_gpu(fault))
}
