//! The I/O of `act` that `observe` looks with: control commands and engine trees.

use std::future::ready;
use std::path::Path;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::act::{Executor, Launches};
use crate::host::control::CommandOutcome;
use crate::host::environ::{Environments, MpsEnvironments};
use crate::host::sockets;
use crate::host::trees::Trees;
use crate::model::{Blindness, CommandResult, DomainId, Member, ProcessId, ProcessUsage};
use crate::observe::{Answer, LookIo};

/// The executor's command workers and trees, as they are at each look.
pub(super) struct LookOverExecutor {
    launches: Launches,
    trees: Trees,
    environments: Environments,
}

impl LookOverExecutor {
    /// What the executor has.
    pub(super) fn by(executor: &Executor) -> Self {
        LookOverExecutor {
            launches: executor.launches(),
            trees: executor.trees(),
            environments: Environments::new(Path::new("/proc")),
        }
    }
}

impl LookIo for LookOverExecutor {
    fn command(&self, domain: &DomainId, text: &str, timeout: Duration) -> Answer<(CommandResult, String)> {
        let (control, text) = (self.launches.control(domain), text.to_owned());
        Box::pin(async move {
            let Some(control) = control else { return (CommandResult::NotAsked, "no such group".to_owned()) };
            let outcome = control.command(&text, timeout).await;
            let result = outcome.result();
            match outcome {
                CommandOutcome::Answered(answer) => (result, answer),
                CommandOutcome::NotAsked(why) | CommandOutcome::Unreachable(why) => (result, why),
                CommandOutcome::Refused | CommandOutcome::Timeout => (result, String::new()),
            }
        })
    }

    fn trees(&self, domain: &DomainId) -> Result<Vec<(Member, Vec<ProcessUsage>)>, String> {
        self.trees.look(domain).map_err(|error| format!("/proc can't be read: {error}"))
    }

    fn claimed(&self, domain: &DomainId) -> Vec<(Member, Vec<ProcessId>)> {
        self.trees.claimed(domain)
    }

    fn oom_kills(&self, domain: &DomainId) -> Vec<(Member, u64)> {
        self.trees.oom_kills(domain)
    }

    fn host_memory(&self) -> Option<u64> {
        self.trees.available()
    }

    fn processes(&self, engine: &Member) -> Vec<ProcessId> {
        let main = self.trees.main(engine);
        let known = self.trees.known(&engine.domain, std::slice::from_ref(&engine.engine));
        let mut known: Vec<ProcessId> = known.iter().map(|held| held.id).collect();
        known.sort_by_key(|process| Some(*process) != main);
        known
    }

    fn knocking(&self, domain: &DomainId) -> Answer<Result<Vec<u32>, Blindness>> {
        let Some(pipe) = self.launches.pipe_directory(domain) else {
            return Box::pin(ready(Err(Blindness::not_asked(format!("no group {domain}")))));
        };
        let pids = self.trees.look(domain).map(|trees| {
            let processes = trees.into_iter().flat_map(|(_, processes)| processes);
            processes.map(|usage| usage.process.pid).collect::<Vec<u32>>()
        });
        let pids = match pids {
            Ok(pids) => pids,
            Err(error) => return Box::pin(ready(Err(Blindness::not_asked(format!("/proc can't be read: {error}"))))),
        };
        let (answer, answered) = oneshot::channel();
        let reader = thread::Builder::new().name("pipe".to_owned());
        // On a thread of its own: a host may have very many sockets.
        let begun = reader.spawn(move || drop(answer.send(sockets::unix::connected(&pipe, &pids))));
        Box::pin(async move {
            begun.map_err(|error| Blindness::not_asked(format!("no thread to read sockets: {error}")))?;
            let answered = answered.await.map_err(|_| "the thread that reads sockets ended".to_owned())?;
            Ok(answered?)
        })
    }

    fn environments(&self, engine: &Member) -> Answer<Result<MpsEnvironments, String>> {
        let processes = self.trees.proven_of(engine);
        let begun = match self.launches.pipe_directory(&engine.domain) {
            Some(pipe) => processes
                .map_err(|error| format!("/proc can't be read: {error}"))
                .and_then(|processes| self.environments.read(processes, pipe)),
            None => Err(format!("no group {}", engine.domain)),
        };
        Box::pin(async move { begun?.await.map_err(|_| "the thread that reads environments has ended".to_owned()) })
    }
}
