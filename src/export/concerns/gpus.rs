//! What is wrong with a GPU itself: one concern, whatever the number of its groups.

use super::concern::{Concern, Rank, Todo};
use super::situation::Situation;
use super::{faults, todo};
use crate::export::history::Subject;
use crate::export::needed::cure;
use crate::model::gpu::RecoveryAction;
use crate::model::{Fault, GpuStatus, GroupStatus, HeldReason, NeededAction};

/// Whether a group is held for its GPU, which is then what is wrong.
pub(super) fn is_held_for_its_gpu(group: &GroupStatus) -> bool {
    matches!(group.held, Some((HeldReason::GpuLost | HeldReason::GpuResetNeeded, _)))
}

/// What is wrong with it; `None`: nothing, as far as is known.
pub(super) fn concern(of: &Situation<'_>, gpu: &GpuStatus) -> Option<Concern> {
    let on_it = |group: &&GroupStatus| group.gpus.contains(&gpu.identity.uuid);
    let down: Vec<&GroupStatus> =
        of.status.groups.iter().filter(on_it).filter(|group| is_held_for_its_gpu(group)).collect();
    match down.first() {
        Some(first) => Some(gone(of, gpu, first, &down)),
        None => wants(of, gpu),
    }
}

fn gone(of: &Situation<'_>, gpu: &GpuStatus, first: &GroupStatus, down: &[&GroupStatus]) -> Concern {
    let label = gpu.identity.label();
    let names: Vec<&str> = down.iter().map(|group| group.name.as_str()).collect();
    let is = if names.len() == 1 { "is" } else { "are" };
    let lost = matches!(first.held, Some((HeldReason::GpuLost, _)));
    let fault = if lost { Fault::GpuLost } else { Fault::GpuResetNeeded };
    let since = of.since(&Subject::Fault(first.name.clone(), None, fault));
    let action = if lost { NeededAction::RebootNode } else { cure(of.status, first) };
    let what = match (lost, action == NeededAction::RebootNode) {
        (true, _) => format!("GPU {label} is lost"),
        (false, true) => format!("GPU {label} needs a reboot of the node"),
        (false, false) => format!("GPU {label} needs a reset"),
    };
    Concern {
        rank: Rank::GpuGone,
        what: format!("{what}, and {} {is} down until then", names.join(", ")),
        since: since.or_else(|| of.since(&Subject::Group(first.name.clone()))),
        why: Some(wish(gpu).map_or_else(|| faults::words(fault), |action| format!("the driver wants {action}"))),
        todo: todo::of_need(of, first, action, None),
    }
}

/// What the driver wants, where that is known.
fn wish(gpu: &GpuStatus) -> Option<RecoveryAction> {
    gpu.recovery_action.filter(|action| !matches!(action, RecoveryAction::None | RecoveryAction::Unknown))
}

/// The driver wants something, and nothing is stopped for it.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others are resets and reboots, by their name")]
fn wants(of: &Situation<'_>, gpu: &GpuStatus) -> Option<Concern> {
    let action = wish(gpu)?;
    let label = gpu.identity.label();
    let (words, runbook) = match action {
        RecoveryAction::RecoverImexDomain => {
            ("restart nvidia-imex on the nodes of its domain; the GPU itself is well", "MpsGpuDriverWants")
        }
        RecoveryAction::DrainP2p => {
            ("end what talks to other GPUs; the driver then says what else it wants", "MpsGpuDriverWants")
        }
        RecoveryAction::NotUnderstood => ("read what the value means; nothing is stopped for it", "MpsGpuDriverWants"),
        _ => ("do it at a moment of your choice: it ends every engine on the GPU", "MpsGpuResetNeeded"),
    };
    Some(Concern {
        rank: Rank::GpuWants,
        what: format!("The driver wants something for GPU {label}"),
        since: of.since(&Subject::Gpu(gpu.identity.uuid.clone())),
        why: Some(action.to_string()),
        todo: Todo::of(words, Some(format!("nvidia-smi -q -i {label}")), runbook),
    })
}
