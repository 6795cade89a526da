//! What somebody must do, in words, with the command and the runbook.

use super::concern::Todo;
use super::situation::Situation;
use crate::model::{EngineIsolation, EngineName, GpuUuid, GroupStatus, HeldReason, NeededAction};

/// Where the runbooks are: alerts lead to the same place.
pub const RUNBOOKS: &str = "https://github.com/mpswarden/mpswarden/blob/main/docs/runbooks/";

/// What is to be done by whoever runs what mpswarden only looks after.
const START_CONTROL: &str = "start the control daemon, which others run: mpswarden only looks after it";
const RESTART_CONTROL: &str = "have the control daemon restarted by whoever runs it, which ends all of its clients";
const START_ENGINES: &str =
    "have the engine started by whoever runs it, or take it out of the configuration: it was not found";
const RESTART_ENGINES: &str =
    "have the engines restarted by whoever runs them: their contexts are dead, or they crashed";

/// What an action of a group comes to; `engine` names the one that it is about.
pub(super) fn of_need(
    of: &Situation<'_>,
    group: &GroupStatus,
    action: NeededAction,
    engine: Option<&EngineName>,
) -> Todo {
    let order = |verb: &str| match engine {
        Some(engine) => Some(format!("mpswarden {verb} {}/{engine}", group.name)),
        None => Some(format!("mpswarden {verb} {}", group.name)),
    };
    let lost = matches!(group.held, Some((HeldReason::GpuLost, _)));
    match action {
        NeededAction::Resume => {
            Todo::of("find the cause in the incidents, then give the budget back", order("resume"), "MpsGroupHeld")
        }
        NeededAction::Release => of_release(group, engine, order("release")),
        NeededAction::Restart => of_restart(group, engine, order),
        NeededAction::ResetGpu => Todo::of(
            "move traffic away and reset the GPU, which ends every process on it; its groups then start by themselves",
            Some(format!("nvidia-smi --gpu-reset -i {}", label(of, group))),
            "MpsGpuResetNeeded",
        ),
        NeededAction::RebootNode => Todo::of(
            "move traffic away and reboot the node, which ends every engine on it",
            None,
            if lost { "MpsGpuLost" } else { "MpsGpuResetNeeded" },
        ),
        NeededAction::EndProcess => Todo::of(
            "only a reset of the GPU or a reboot ends that process, and both end healthy engines: choose the moment",
            None,
            "MpsGroupHeld",
        ),
        NeededAction::FreeMemory => {
            Todo::of("see who holds the memory, and end it", Some("nvidia-smi".to_owned()), "MpsGroupHeld")
        }
        NeededAction::MendDriver => {
            Todo::of("see whether the driver shows the GPU", Some("nvidia-smi -L".to_owned()), "MpsGroupHeld")
        }
        NeededAction::MendServer => {
            Todo::of("mend what keeps MPS servers from starting", order("resume"), "MpsServerCannotStart")
        }
        NeededAction::InstallMps => {
            Todo::of("install nvidia-cuda-mps-control, or set mps.binary to where it is", None, "MpsGroupHeld")
        }
        NeededAction::FreePipeDirectory => {
            Todo::of("end the other control daemon, or give the group another mps.pipe_directory", None, "MpsGroupHeld")
        }
        NeededAction::StartControl => Todo::of(START_CONTROL, None, "MpsGroupHeld"),
        NeededAction::RestartControl => Todo::of(RESTART_CONTROL, None, "MpsGroupHeld"),
        NeededAction::RestartEngines => Todo::of(RESTART_ENGINES, None, "MpsServerFault"),
        NeededAction::StartEngines => Todo::of(START_ENGINES, None, "MpsActionNeeded"),
        NeededAction::StopOtherWatchdog => {
            Todo::of("stop one of the two mpswardens that look after this control daemon", None, "MpsGroupHeld")
        }
        NeededAction::RaiseLimits => {
            Todo::of("raise mpswarden's limits (LimitNOFILE, TasksMax), or end what uses them up", None, "MpsGroupHeld")
        }
    }
}

fn of_release(group: &GroupStatus, engine: Option<&EngineName>, command: Option<String>) -> Todo {
    let known = engine.and_then(|name| group.engine(name.as_str()));
    match known.is_some_and(|engine| engine.isolation == EngineIsolation::Guilty) {
        true => Todo::of("mend it, then let it go back to the others", command, "MpsEngineGuilty"),
        false => Todo::of("mend its cause, then let it start again", command, "MpsEngineQuarantined"),
    }
}

/// Nobody works on it, by the group's mode or an operator's word.
fn of_restart(group: &GroupStatus, engine: Option<&EngineName>, order: impl Fn(&str) -> Option<String>) -> Todo {
    match (engine, &group.hold) {
        (Some(_), _) => {
            let hangs = "restart it alone; its siblings serve on, and requests that wait for it are lost";
            Todo::of(hangs, order("evict"), "MpsEngineNotServing")
        }
        (None, Some(_)) => Todo::of(
            "end the hold: mpswarden then restarts all engines of the group",
            order("resume"),
            "MpsServerFault",
        ),
        (None, None) => Todo::of("restart the group, which ends all its engines", order("restart"), "MpsServerFault"),
    }
}

fn label(of: &Situation<'_>, group: &GroupStatus) -> String {
    let label = |uuid: &GpuUuid| {
        let gpu = of.status.gpus.iter().find(|gpu| gpu.identity.uuid == *uuid);
        gpu.map_or_else(|| uuid.to_string(), |gpu| gpu.identity.label())
    };
    group.gpus.iter().map(label).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fault;

    #[test]
    fn every_fault_and_every_need_leads_to_a_runbook_that_is_there() {
        let written = include_str!("todo.rs").to_owned()
            + include_str!("faults.rs")
            + include_str!("find.rs")
            + include_str!("gpus.rs")
            + include_str!("groups.rs")
            + include_str!("engines.rs");
        let words = written.split('"').filter(|word| word.starts_with("Mps") && word.len() > 5);
        let mut named: Vec<&str> = words.filter(|word| word.chars().all(char::is_alphanumeric)).collect();
        named.extend(Fault::ALL.iter().map(|fault| super::super::faults::runbook(*fault)));
        assert!(named.len() > 30, "{named:?}");
        for name in named {
            let path = format!("{}/docs/runbooks/{name}.md", env!("CARGO_MANIFEST_DIR"));
            assert!(std::path::Path::new(&path).exists(), "{path}");
        }
    }

    #[test]
    fn the_runbooks_are_where_alerts_lead_to() {
        let alerts = include_str!("../../../alerts/group.rules.yaml");
        let urls = alerts.split("runbook_url: ").skip(1);
        assert!(urls.clone().count() > 5 && urls.clone().all(|url| url.starts_with(RUNBOOKS)));
    }
}
