//! Observes which processes each engine of a group has, what they use, what the OOM killer took of them and what
//! they were told of MPS. Signals nobody.

use super::reports::Reports;
use super::{Answer, Hands};
use crate::model::{EngineKey, GroupName, MpsEnvironment, Observation};

pub(super) fn look(hands: &dyn Hands, group: &GroupName, reports: &Reports) -> Result<(), String> {
    for (engine, processes) in hands.trees(group)? {
        let tree = processes.iter().map(|usage| usage.process).collect();
        reports.observed(Observation::Tree { engine: engine.clone(), processes: tree });
        reports.observed(Observation::Usage { engine, processes });
    }
    for (engine, oom_kills) in hands.oom_kills(group) {
        reports.observed(Observation::MemoryEvents { engine, oom_kills });
    }
    if let Some(available) = hands.host_memory() {
        reports.observed(Observation::HostMemory { group: group.clone(), available });
    }
    Ok(())
}

pub(super) async fn look_told(
    answer: Answer<Result<Vec<MpsEnvironment>, String>>,
    engine: EngineKey,
    reports: Reports,
) -> Result<(), String> {
    let processes = answer.await?;
    reports.observed(Observation::Environment { engine, processes });
    Ok(())
}
