//! A stage for the verbs: small real processes, and what the executor said of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]

use std::process::Command;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::Executor;
use super::testing::{group, owner};
use crate::host::cgroup::Cgroups;
use crate::host::{clock, reaper};
use crate::model::{
    Action, ActionId, Exit, GroupLaunch, Member, Moment, Observation, Outcome, Owner, ProcessId, Report, SentAction,
};

pub(super) const LONG: Duration = Duration::from_secs(20);

/// A control daemon and its command line: it lives while the file `quit` is not there, and its own file is.
pub(super) const CONTROL: &str = r#"#!/bin/sh
cd "$CUDA_MPS_PIPE_DIRECTORY"
if [ "$1" = -f ]; then
    echo "Starting control daemon"
    rm -f quit
    echo $$ >nvidia-cuda-mps-control.pid
    while [ ! -e quit ] && [ -e "$0" ]; do sleep 0.01; done
    exit 0
fi
read command
pid=$(cat nvidia-cuda-mps-control.pid 2>/dev/null)
if [ -z "$pid" ] || ! kill -0 "$pid" 2>/dev/null; then
    echo 'Cannot find MPS control daemon process' >&2
    exit 1
fi
echo "$command" >>commands
case "$command" in
    quit*) : >quit ;;
    "terminate_client 1 8") echo "Client 8 not found" ;;
    "terminate_client 1 9") echo 1 ;;
    terminate_client*) echo 0 ;;
esac
"#;

pub(super) struct Stage {
    pub executor: Executor,
    pub reports: UnboundedReceiver<Report>,
    pub group: GroupLaunch,
    pub directory: tempfile::TempDir,
    pub next: u64,
    pub kept: Vec<Report>,
}

impl Stage {
    pub(super) fn new(scripts: &[&str]) -> Stage {
        Stage::with(scripts, CONTROL, Err("not in this test".into()))
    }

    pub(super) fn with(scripts: &[&str], control: &str, cgroups: Result<Cgroups, String>) -> Stage {
        reaper::adopt_orphans().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let group = group(directory.path(), scripts);
        // Written by another process, so that no fork of another test holds it open for writing.
        let write = "printf %s \"$1\" >\"$2\" && chmod +x \"$2\"";
        let written = Command::new("sh").args(["-c", write, "sh", control]).arg(&group.control.binary).status();
        assert!(written.unwrap().success());
        let (send, reports) = unbounded_channel();
        let mark = owner(&directory.path().join("state"));
        let executor = Executor::with_cgroups(vec![group.clone()], mark, send, cgroups).unwrap();
        Stage { executor, reports, group, directory, next: 0, kept: vec![] }
    }

    pub(super) fn order(&mut self, action: Action, deadline: Moment) -> ActionId {
        self.next += 1;
        let id = ActionId(self.next);
        self.executor.carry_out(SentAction { id, deadline, action });
        id
    }

    /// The first report that `wanted` takes; the others are kept for later.
    pub(super) async fn find<T>(&mut self, wanted: impl Fn(&Report) -> Option<T>) -> T {
        if let Some(at) = self.kept.iter().position(|report| wanted(report).is_some()) {
            return wanted(&self.kept.remove(at)).unwrap();
        }
        loop {
            let report = self.next().await;
            match wanted(&report) {
                Some(found) => return found,
                None => self.kept.push(report),
            }
        }
    }

    pub(super) async fn next(&mut self) -> Report {
        timeout(LONG, self.reports.recv()).await.expect("a report in time").unwrap()
    }

    pub(super) async fn outcome_by(&mut self, action: Action, deadline: Moment) -> Outcome {
        let id = self.order(action, deadline);
        let (finished, outcome) = self.finished().await;
        assert_eq!(finished, id, "one outcome an order");
        outcome
    }

    /// The end of the order that ended next.
    pub(super) async fn finished(&mut self) -> (ActionId, Outcome) {
        self.find(|report| match report {
            Report::Finished(finished, outcome) => Some((*finished, outcome.clone())),
            _ => None,
        })
        .await
    }

    pub(super) async fn outcome(&mut self, action: Action) -> Outcome {
        self.outcome_by(action, clock::now().after(LONG)).await
    }

    pub(super) async fn ended(&mut self) -> (Owner, ProcessId, Exit) {
        self.find(|report| match report {
            Report::Observed(Observation::Ended { owner, process, exit }) => Some((owner.clone(), *process, *exit)),
            _ => None,
        })
        .await
    }

    pub(super) fn key(&self, number: usize) -> Member {
        self.group.engines[number].member.clone()
    }

    pub(super) async fn start(&mut self, number: usize) -> ProcessId {
        let engine = self.key(number);
        match self.outcome(Action::StartEngine { instance: engine.instance(1), outside: false }).await {
            Outcome::Started { process } => process,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn kill_all(&self) -> Action {
        let engines = self.group.engines.iter().map(|engine| engine.member.engine.clone()).collect();
        Action::KillEngines { domain: self.group.domain.clone(), engines, strays: vec![] }
    }

    pub(super) fn await_all(&self, processes: Vec<ProcessId>) -> Action {
        let engines = self.group.engines.iter().map(|engine| engine.member.engine.clone()).collect();
        Action::AwaitGone { domain: self.group.domain.clone(), engines, processes }
    }

    /// Waits until a script has written this file.
    pub(super) async fn written(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        let deadline = clock::now().after(LONG);
        loop {
            match std::fs::read_to_string(&path) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => assert!(clock::now() < deadline, "{name} is written"),
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn kill_and_prove(&mut self) -> Vec<ProcessId> {
        let Outcome::Killed { processes } = self.outcome(self.kill_all()).await else { panic!("not killed") };
        let gone = self.outcome(self.await_all(processes.clone())).await;
        assert_eq!(gone, Outcome::Gone { remaining: vec![] });
        processes
    }
}
