//! A restart on a GPU that is lost, or needs a reset: nobody is left on it, and the start waits, held, until a reading
//! shows it well or an operator says so. What ails a GPU is found in `gpu_health`.

use crate::decide::facts::GpuFacts;
use crate::decide::gpu_health::{Ailment, Kind};
use crate::decide::group::Group;
use crate::decide::turn::Turn;
use crate::model::{Mode, Reason, Tier};

use super::{Restart, Step};

impl Group {
    /// Whether an operator let the group go on over this.
    pub fn excuses(&self, ailment: &Ailment) -> bool {
        self.gpu_excused.is_some_and(|until| ailment.since <= until)
    }

    /// What keeps this group from being started on its GPU. A hold changes nothing about that: it is no leave to
    /// start on a sick GPU.
    pub fn barred<'a>(&self, gpu: &'a GpuFacts) -> Option<&'a Ailment> {
        let enforced = |ailment: &&Ailment| self.policy.mode_of(ailment.fault()) == Mode::Enforce;
        gpu.health.ailment().filter(enforced).filter(|ailment| !self.excuses(ailment))
    }

    /// Takes a restart over, in whichever step it is. `true`: the GPU is sick, so nothing else matters.
    pub(super) fn gpu_is_sick(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) -> bool {
        let Some(ailment) = self.barred(turn.gpu) else { return false };
        if restart.tier != Tier::Daemon {
            let reason = ailment.fault().into();
            self.escalate(restart, reason, turn);
        }
        match restart.step {
            // Nothing runs yet, or any more: on from where the daemon is stopped.
            Step::Memory | Step::Backoff { .. } | Step::Active { .. } => self.stop_for_the_gpu(restart, turn),
            // These come to it by themselves, or wait for an outcome that does.
            Step::Kill(_) | Step::KillAgain(_) | Step::Gone(_) | Step::Stuck { .. } => {}
            Step::StopControl(_) | Step::Gpu | Step::StartControl(_) => {}
        }
        true
    }

    /// A control daemon that is there, or may be, is stopped; then the start waits.
    pub(super) fn stop_for_the_gpu(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        if matches!(restart.step, Step::Memory | Step::Backoff { .. }) && self.control.process.is_none() {
            restart.release(turn);
            restart.enter(Step::Gpu, turn);
        } else {
            self.after_gone(restart, turn);
        }
    }

    /// The daemon and its server are gone.
    pub(super) fn after_the_control(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let sick = self.barred(turn.gpu).is_some() || restart.reason.is_some_and(is_of_a_gpu);
        restart.enter(if sick { Step::Gpu } else { Step::Memory }, turn);
        if sick {
            self.check_gpu(restart, turn);
        }
    }

    /// Holds the start for as long as the GPU is sick, and until a reading from after this wait began shows it well.
    pub(super) fn check_gpu(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        if let Some(ailment) = self.barred(turn.gpu) {
            let detail = self.says(ailment, turn.gpu);
            restart.hold(ailment.held_reason(), detail, turn);
        } else if turn.gpu.health.well_since(restart.step_since) {
            restart.release(turn);
            restart.enter(Step::Memory, turn);
        }
    }

    /// What stands in the way besides, where a GPU is sick: both reasons are said.
    pub(super) fn with_the_gpu(&self, detail: String, turn: &Turn<'_>) -> String {
        match self.barred(turn.gpu) {
            Some(ailment) => format!("{detail}; besides, {}", self.says(ailment, turn.gpu)),
            None => detail,
        }
    }

    /// What ails the GPU, and what a person is to do.
    fn says(&self, ailment: &Ailment, gpu: &GpuFacts) -> String {
        let (name, uuid) = (&self.policy.name, &gpu.identity.uuid);
        let cure = match ailment.kind {
            Kind::Lost | Kind::ResetNeeded { reboot: true } => "reboot the node".to_owned(),
            Kind::ResetNeeded { reboot: false } | Kind::Draining => {
                format!("once nobody else is on it, `nvidia-smi --gpu-reset -i {uuid}`, or reboot the node")
            }
        };
        let because = &ailment.because;
        format!("{uuid}: {because}; {cure}; it goes on once NVML shows {uuid} well, or by `mpswarden resume {name}`")
    }
}

fn is_of_a_gpu(reason: Reason) -> bool {
    matches!(reason, Reason::Fault(fault) if crate::decide::ladder::is_of_the_gpu(fault))
}
