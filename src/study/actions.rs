//! Orders to the verbs of `act` and their outcomes, one at a time or several at once. Decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::act::{Executor, OwnerMark, PrepareError};
use crate::host::clock;
use crate::host::control::CommandOutcome;
use crate::model::{
    Action, ActionId, DomainId, Exit, GroupLaunch, Member, Observation, Outcome, Owner, Report, SentAction,
};

/// Upper bound for a control command that reads.
const COMMAND: Duration = Duration::from_secs(3);

/// Carries actions out: starts and ends processes.
#[derive(Debug)]
pub(super) struct Actions {
    executor: Executor,
    reports: UnboundedReceiver<Report>,
    last: u64,
    /// Orders without an outcome yet.
    open: BTreeMap<ActionId, Option<Outcome>>,
    /// Engines and how they ended, since they were asked for last.
    ended: BTreeMap<Member, Exit>,
}

impl Actions {
    /// Carries actions out for one group. Makes its directories; starts nothing.
    pub(super) fn new(launch: &GroupLaunch, owner: OwnerMark) -> Result<Actions, PrepareError> {
        let (sender, reports) = unbounded_channel();
        let executor = Executor::new(vec![launch.clone()], owner, sender)?;
        Ok(Actions { executor, reports, last: 0, open: BTreeMap::new(), ended: BTreeMap::new() })
    }

    /// Carries out one action; answers by `bound`, and soon after.
    pub(super) async fn carry_out(&mut self, action: Action, bound: Duration) -> Outcome {
        self.all(vec![action], bound).await.pop().unwrap_or(Outcome::TimedOut)
    }

    /// Carries out all at once; the outcomes are in their order. What is ordered goes on if this is dropped.
    pub(super) async fn all(&mut self, actions: Vec<Action>, bound: Duration) -> Vec<Outcome> {
        let deadline = clock::now().after(bound);
        let mut ids = Vec::new();
        for action in actions {
            self.last += 1;
            let id = ActionId(self.last);
            self.open.insert(id, None);
            self.executor.carry_out(SentAction { id, deadline, action });
            ids.push(id);
        }
        self.settle().await;
        ids.iter().map(|id| self.open.remove(id).flatten().unwrap_or(Outcome::TimedOut)).collect()
    }

    /// Waits until every order has its outcome: each has one by its deadline.
    pub(super) async fn settle(&mut self) {
        while self.open.values().any(Option::is_none) {
            let Some(report) = self.reports.recv().await else { return };
            self.take_up(report);
        }
    }

    fn take_up(&mut self, report: Report) {
        match report {
            Report::Finished(id, outcome) => drop(self.open.insert(id, Some(outcome))),
            Report::Observed(Observation::Ended { owner: Owner::Engine(instance), exit, .. }) => {
                self.ended.insert(instance.member(), exit);
            }
            Report::Observed(_) => {}
        }
    }

    /// Whether an engine ended since [`Actions::ended`] was asked.
    pub(super) fn has_ended(&mut self) -> bool {
        while let Ok(report) = self.reports.try_recv() {
            self.take_up(report);
        }
        !self.ended.is_empty()
    }

    /// Starts the group as it is now from the next start on.
    pub(super) fn launch_as(&self, launch: &GroupLaunch) {
        self.executor.take_up(std::slice::from_ref(launch));
    }

    /// The engines that ended since this was asked last.
    pub(super) fn ended(&mut self) -> BTreeMap<Member, Exit> {
        self.has_ended();
        std::mem::take(&mut self.ended)
    }

    /// One command to the group's control daemon, and its answer.
    pub(super) async fn command(&self, domain: &DomainId, text: &str) -> Result<String, String> {
        let Some(control) = self.executor.launches().control(domain) else {
            return Err(format!("no group `{domain}`"));
        };
        match control.command(text, COMMAND).await {
            CommandOutcome::Answered(answer) => Ok(answer),
            other @ (CommandOutcome::Refused
            | CommandOutcome::Unreachable(_)
            | CommandOutcome::Timeout
            | CommandOutcome::NotAsked(_)) => {
                Err(format!("the control daemon of group `{domain}`: {text}: {}", other.result()))
            }
        }
    }

    /// The processes of each engine.
    pub(super) fn trees(&self, domain: &DomainId) -> Vec<(Member, Vec<u32>)> {
        let trees = self.executor.trees().look(domain).unwrap_or_default();
        trees.into_iter().map(|(key, tree)| (key, tree.iter().map(|usage| usage.process.pid).collect())).collect()
    }
}
