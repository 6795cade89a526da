//! What `act` lends to `observe`: control commands and engine trees.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::act::Executor;
use crate::host::control::{CommandOutcome, ControlClient};
use crate::host::trees::Trees;
use crate::model::{CommandResult, EngineKey, GroupLaunch, GroupName, ProcessUsage};
use crate::observe::{Answer, Hands};

/// The executor's command workers and trees.
pub(super) struct Lent {
    controls: BTreeMap<GroupName, ControlClient>,
    trees: Trees,
}

impl Lent {
    /// What the executor has for these groups.
    pub fn by(executor: &Executor, launches: &[GroupLaunch]) -> Self {
        let control = |launch: &GroupLaunch| Some((launch.name.clone(), executor.control(&launch.name)?));
        Lent { controls: launches.iter().filter_map(control).collect(), trees: executor.trees() }
    }
}

impl Hands for Lent {
    fn command(&self, group: &GroupName, text: &str, timeout: Duration) -> Answer<(CommandResult, String)> {
        let (control, text) = (self.controls.get(group).cloned(), text.to_owned());
        Box::pin(async move {
            let Some(control) = control else { return (CommandResult::Unreachable, String::new()) };
            let outcome = control.command(&text, timeout).await;
            let result = outcome.result();
            match outcome {
                CommandOutcome::Answered(answer) => (result, answer),
                _ => (result, String::new()),
            }
        })
    }

    fn trees(&self, group: &GroupName) -> Result<Vec<(EngineKey, Vec<ProcessUsage>)>, String> {
        self.trees.look(group).map_err(|error| format!("/proc can't be read: {error}"))
    }
}
