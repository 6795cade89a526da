//! What `act` lends to `observe`: control commands and engine trees.

use std::path::Path;
use std::time::Duration;

use crate::act::{Executor, Launches};
use crate::host::control::CommandOutcome;
use crate::host::environ::{Environments, Told};
use crate::host::trees::Trees;
use crate::model::{CommandResult, EngineKey, GroupName, ProcessId, ProcessUsage};
use crate::observe::{Answer, Hands};

/// The executor's command workers and trees, as they are at each look.
pub(super) struct Lent {
    launches: Launches,
    trees: Trees,
    environments: Environments,
}

impl Lent {
    /// What the executor has.
    pub fn by(executor: &Executor) -> Self {
        Lent {
            launches: executor.launches(),
            trees: executor.trees(),
            environments: Environments::new(Path::new("/proc")),
        }
    }
}

impl Hands for Lent {
    fn command(&self, group: &GroupName, text: &str, timeout: Duration) -> Answer<(CommandResult, String)> {
        let (control, text) = (self.launches.control(group), text.to_owned());
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

    fn oom_kills(&self, group: &GroupName) -> Vec<(EngineKey, u64)> {
        self.trees.oom_kills(group)
    }

    fn host_memory(&self) -> Option<u64> {
        self.trees.available()
    }

    fn processes(&self, engine: &EngineKey) -> Vec<ProcessId> {
        let main = self.trees.main(engine);
        let known = self.trees.known(&engine.group, std::slice::from_ref(&engine.engine));
        let mut known: Vec<ProcessId> = known.iter().map(|held| held.id).collect();
        known.sort_by_key(|process| Some(*process) != main);
        known
    }

    fn environments(&self, engine: &EngineKey) -> Answer<Result<Told, String>> {
        let processes = self.trees.living_of(engine);
        let begun = match self.launches.pipe_directory(&engine.group) {
            Some(pipe) => processes
                .map_err(|error| format!("/proc can't be read: {error}"))
                .and_then(|processes| self.environments.read(processes, pipe)),
            None => Err(format!("no group {}", engine.group)),
        };
        Box::pin(async move { begun?.await.map_err(|_| "the thread that reads environments has ended".to_owned()) })
    }
}
