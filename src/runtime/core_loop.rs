//! The core loop: the one place where time, facts and requests meet the core, and its decisions the world.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::act::Executor;
use crate::cli::ExitStatus;
use crate::control::Asked;
use crate::decide::{Decision, Input, PolicyChange, Watchdog};
use crate::export::{Exporter, log};
use crate::host::{clock, notify};
use crate::model::{
    Action, DomainId, Event, FailedAction, GroupLaunch, GroupName, GroupStatus, Moment, Report, Request, SentAction,
    Status, What,
};
use crate::observe::Observers;

use super::audience::Audience;
use super::control::{Owed, take_up};
use super::discovery::Discovery;
use super::followers::Followers;
use super::gates::Gates;
use super::hooks::Callers;
use super::incident_keeper::Keeper;
use super::news::{self, News, TakeUp};
use super::others_turn::OthersTurn;
use super::probes;
use super::reload::Reloader;

/// The status is published at least so often: it is never older than that while the loop turns.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// The loop turns at least so often, whatever the core waits for.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// When the loop last turned, for liveness; nanoseconds of CLOCK_BOOTTIME.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(AtomicU64);

impl Heartbeat {
    /// How long ago the loop turned.
    pub(super) fn age(&self) -> Duration {
        clock::now().since(Moment::from_nanos(self.0.load(Ordering::Relaxed)))
    }

    /// The loop turned.
    pub(super) fn beat(&self, now: Moment) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }
}

/// Everything that the loop moves.
pub(super) struct CoreLoop {
    pub watchdog: Watchdog,
    pub executor: Executor,
    pub observers: Observers,
    pub followers: Followers,
    pub hooks: Arc<Callers>,
    pub keeper: Arc<Keeper>,
    pub exporter: Arc<Exporter>,
    /// Channel to all that hold a receiver: the exporter, and what else needs each engine's address and state.
    pub status: watch::Sender<Arc<Status>>,
    /// Where engines of others wait.
    pub gates: Gates,
    pub heartbeat: Arc<Heartbeat>,
    pub reports: UnboundedReceiver<Report>,
    pub requests: UnboundedReceiver<Request>,
    pub questions: Receiver<Asked>,
    pub news: UnboundedReceiver<News>,
    /// Takes up a changed file, where there is one.
    pub reloader: Option<Arc<Reloader>>,
    /// Who follows it in the place of the log.
    pub audience: Option<Arc<dyn Audience>>,
    /// What is in force.
    pub launches: Vec<GroupLaunch>,
    /// Engines that nobody configured.
    pub discovery: Discovery,
    /// When it makes way for whoever has to restart what they run.
    pub others_turn: OthersTurn,
}

/// What the loop remembers between two turns.
#[derive(Default)]
struct Progress {
    published: Moment,
    engine_started: bool,
    /// Groups whose control daemon did not come up.
    failed: BTreeSet<GroupName>,
    status: ExitStatus,
    /// Requests of the loop's own.
    own: VecDeque<Request>,
    /// The answer to what the next input carries out.
    owed: Option<Owed>,
    /// A stop was asked for: nothing new is begun.
    stopping: bool,
    /// Groups or engines that are in force no more may still be there.
    leaving: bool,
    /// The engines that were found changed: the next input.
    found: Option<Input>,
    /// When it was last looked for engines to be forgotten and gates to be opened.
    tidied: Moment,
}

impl CoreLoop {
    /// Turns until every group is stopped.
    pub(super) async fn run(mut self) -> ExitStatus {
        let mut progress = Progress::default();
        let mut input = Input::Woke;
        loop {
            let now = clock::now();
            self.heartbeat.beat(now);
            progress.stopping |= matches!(input, Input::Asked(Request::Stop | Request::StopNow));
            let decision = self.watchdog.handle(input, now);
            self.carry_out(decision, now, &mut progress);
            if let Some(owed) = progress.owed.take() {
                self.publish(&mut progress, now);
                self.pay(owed, &mut progress);
            }
            if self.watchdog.stopped() {
                self.publish(&mut progress, clock::now());
                return progress.status;
            }
            self.tidy(now, &mut progress);
            input = match (progress.found.take(), progress.own.pop_front()) {
                (Some(found), request) => {
                    request.into_iter().for_each(|request| progress.own.push_front(request));
                    found
                }
                (None, Some(request)) => Input::Asked(request),
                (None, None) => self.next(now, &mut progress).await,
            };
        }
    }

    /// Priorities: requests, an operator's questions (16 at once at most), the core's own deadline, news, outcomes
    /// and facts in the order they came.
    async fn next(&mut self, now: Moment, progress: &mut Progress) -> Input {
        let wait = self.watchdog.next_deadline().map_or(LONGEST_SLEEP, |at| at.since(now)).min(LONGEST_SLEEP);
        tokio::select! {
            biased;
            Some(request) = self.requests.recv() => Input::Asked(request),
            Some(asked) = self.questions.recv() => {
                take_up(asked, &self.watchdog, self.reloader.as_ref(), &mut progress.owed, clock::now())
            }
            () = sleep(wait) => Input::Woke,
            Some(news) = self.news.recv() => self.hear(news, progress),
            Some(report) = self.reports.recv() => {
                if self.discovery.saw(&report, now) {
                    self.take_up_found(progress);
                }
                report.into()
            }
        }
    }

    /// Each second: engines that have been gone for too long are forgotten, and gates that are gone are opened again.
    fn tidy(&mut self, now: Moment, progress: &mut Progress) {
        if now.since(progress.tidied) >= PUBLISH_EVERY {
            progress.tidied = now;
            self.gates.mend(now);
            if self.discovery.forget_old(now) {
                self.take_up_found(progress);
            }
        }
    }

    /// The engines that were found changed: the core hears of it next.
    fn take_up_found(&mut self, progress: &mut Progress) {
        if progress.stopping {
            return;
        }
        let (policy, launches) = self.discovery.merged();
        let change = PolicyChange { policy, rolls: BTreeSet::new() };
        match self.replace(&launches, &change) {
            Ok(()) => {
                (self.launches, progress.leaving) = (launches, true);
                progress.found = Some(Input::PolicyChanged(Box::new(change)));
            }
            Err(why) => tracing::warn!("engines that were found are not looked after: {why}"),
        }
    }

    /// Takes news; what the core need not know is emitted at once, and it is only woken.
    fn hear(&mut self, news: News, progress: &mut Progress) -> Input {
        match news {
            News::Event(what) => {
                self.announce(&news::event(what), progress);
                Input::Woke
            }
            News::TakeUp(take_up) => self.take_up(*take_up, progress),
        }
    }

    /// A changed configuration, wholly or not at all.
    fn take_up(&mut self, take_up: TakeUp, progress: &mut Progress) -> Input {
        let TakeUp { mut change, mut launches, hooks, found, event, answer } = take_up;
        if progress.stopping || answer.is_closed() {
            // Whoever gave up asking goes by what was in force.
            let _ = answer.send(Err("mpswarden is stopping".to_owned()));
            return Input::Woke;
        }
        self.discovery.take_up(&mut change.policy, &mut launches, found);
        if let Err(why) = self.replace(&launches, &change) {
            let _ = answer.send(Err(why));
            return Input::Woke;
        }
        self.hooks.take_up(hooks);
        self.gates.take_up(&launches, &change.policy);
        (self.launches, progress.leaving) = (launches, true);
        progress.owed = Some(Owed::Applied { answer, event });
        Input::PolicyChanged(Box::new(change))
    }

    /// Says that what was asked for is in force: who hears of it finds it in the status.
    fn pay(&mut self, owed: Owed, progress: &mut Progress) {
        // One that went away meanwhile sees it in the status.
        match owed {
            Owed::Order { answer, plan } => drop(answer.send(Ok(plan))),
            Owed::Applied { answer, event } => {
                if let Some(event) = event {
                    self.announce(&news::event(event), progress);
                }
                drop(answer.send(Ok(())));
            }
        }
    }

    /// What can fail comes first, and has no effect of its own.
    fn replace(&mut self, launches: &[GroupLaunch], change: &PolicyChange) -> Result<(), String> {
        let no_thread = |error| format!("no thread can be started: {error}; raise the limit of tasks");
        self.executor.prepare(launches).map_err(|error| error.to_string())?;
        self.followers.take_up(launches).map_err(no_thread)?;
        self.observers.take_up(launches, &change.rolls).map_err(no_thread)?;
        self.observers.sample(probes::timings(&change.policy)).map_err(no_thread)?;
        self.executor.take_up(launches);
        Ok(())
    }

    /// Lets go of what an earlier configuration had, once the core shows none of it any more.
    fn release(&mut self, status: &Status, progress: &mut Progress) {
        let in_force = |group: &GroupStatus| {
            let launch = self.launches.iter().find(|launch| launch.domain == DomainId::main(&group.name));
            let has =
                |name| launch.is_some_and(|launch| launch.engines.iter().any(|known| &known.member.engine == name));
            launch.is_some() && group.engines.iter().all(|engine| has(&engine.name))
        };
        if progress.leaving && status.groups.iter().all(in_force) {
            progress.leaving = false;
            self.executor.keep(&self.launches);
            self.observers.keep(&self.launches);
            self.followers.keep(&self.launches);
        }
    }

    /// An event that the core did not make.
    fn announce(&mut self, event: &Event, progress: &mut Progress) {
        self.exporter.record(event);
        self.tell(event, progress);
    }

    /// Actions first: what was decided happens before it is logged. The log comes last: a reader who learns there of a
    /// fault finds the readiness gone and the counters grown.
    fn carry_out(&mut self, decision: Decision, now: Moment, progress: &mut Progress) {
        for SentAction { id, deadline, action } in decision.actions {
            if let Action::Look(look) = action {
                self.observers.look(id, look, deadline);
                continue;
            }
            if let Action::Fence { engine, .. } = &action {
                self.observers.fence(id, engine, deadline);
                continue;
            }
            if matches!(action, Action::LetGoOfDriver) {
                self.observers.let_go_of_driver(id, deadline);
                continue;
            }
            if let Action::StartEngine { instance, .. } = &action {
                self.observers.engine_starts(&instance.member());
            }
            self.executor.carry_out(SentAction { id, deadline, action });
        }
        decision.events.iter().for_each(|event| self.exporter.record(event));
        if !decision.events.is_empty() || now.since(progress.published) >= PUBLISH_EVERY {
            self.publish(progress, now);
        }
        for event in &decision.events {
            self.tell(event, progress);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "no other event changes how the watchdog ends")]
    fn tell(&mut self, event: &Event, progress: &mut Progress) {
        match &self.audience {
            Some(audience) => audience.saw(event),
            None => log::log_event(event),
        }
        self.hooks.call(event);
        match &event.what {
            What::EngineStarted { .. } => progress.engine_started = true,
            What::ActionFailed { action: FailedAction::StartControl, .. } if !progress.engine_started => {
                progress.failed.extend(event.group.clone());
                // Before its first engine starts it may give up, where no group comes up: a supervisor above starts it
                // again.
                if self.launches.iter().all(|launch| progress.failed.contains(&launch.domain.group)) {
                    progress.status = ExitStatus::Unavailable;
                    progress.own.push_back(Request::Stop);
                }
            }
            _ => {}
        }
    }

    fn publish(&mut self, progress: &mut Progress, now: Moment) {
        progress.published = now;
        let status = Arc::new(self.watchdog.status(now));
        self.release(&status, progress);
        self.exporter.count(&status);
        if let Some(why) = self.others_turn.is_over(&status, now).filter(|_| !progress.stopping) {
            tracing::warn!("{why}: mpswarden ends, so that the rules of its pod restart all containers");
            (progress.status, progress.stopping) = (ExitStatus::OthersTurn, true);
            progress.own.push_back(Request::Stop);
        }
        self.status.send_replace(status);
        self.keeper.keep(self.exporter.incidents_to_write(now));
        notify::alive();
    }
}
