//! The core loop: the one place where time, facts and requests meet the core, and its decisions the world.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::time::sleep;

use crate::act::Executor;
use crate::config::ExitStatus;
use crate::decide::{Decision, Input, Watchdog};
use crate::export::{Exporter, log};
use crate::host::{clock, notify};
use crate::model::Request;
use crate::model::{Action, Event, Moment, Ordered, Report, What};
use crate::observe::Observers;
use crate::operator::Asked;

use super::control::{Owed, take_up};

/// The status is published at least so often: it is never older than that while the loop turns.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// The loop turns at least so often, whatever the core waits for.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// When the loop last turned, for liveness; nanoseconds of CLOCK_BOOTTIME.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(AtomicU64);

impl Heartbeat {
    /// How long ago the loop turned.
    pub fn age(&self) -> Duration {
        clock::now().since(Moment::from_nanos(self.0.load(Ordering::Relaxed)))
    }

    /// The loop turned.
    pub fn beat(&self, now: Moment) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }
}

/// Is told of every event: how `demo` tells its story.
pub(super) type Story = Box<dyn FnMut(&Event)>;

/// Everything that the loop moves.
pub(super) struct CoreLoop {
    pub watchdog: Watchdog,
    pub executor: Executor,
    pub observers: Observers,
    pub exporter: Arc<Exporter>,
    pub heartbeat: Arc<Heartbeat>,
    pub reports: UnboundedReceiver<Report>,
    pub requests: UnboundedReceiver<Request>,
    pub questions: Receiver<Asked>,
    pub story: Option<Story>,
}

/// What the loop remembers between two turns.
#[derive(Default)]
struct Progress {
    published: Moment,
    engine_started: bool,
    status: ExitStatus,
    /// Requests of the loop's own.
    own: VecDeque<Request>,
    /// The answer to the order that is the next input.
    owed: Option<Owed>,
}

impl CoreLoop {
    /// Turns until every group is stopped.
    pub async fn run(mut self) -> ExitStatus {
        let mut progress = Progress::default();
        let mut input = Input::Woke;
        loop {
            let now = clock::now();
            self.heartbeat.beat(now);
            let decision = self.watchdog.handle(input, now);
            self.carry_out(decision, now, &mut progress);
            if let Some(owed) = progress.owed.take() {
                self.publish(&mut progress, now);
                owed.pay();
            }
            if self.watchdog.stopped() {
                self.publish(&mut progress, clock::now());
                return progress.status;
            }
            input = match progress.own.pop_front() {
                Some(request) => Input::Asked(request),
                None => self.next(now, &mut progress.owed).await,
            };
        }
    }

    /// Priorities: requests, an operator's questions (16 at once at most), the core's own deadline, outcomes
    /// and facts in the order they came.
    async fn next(&mut self, now: Moment, owed: &mut Option<Owed>) -> Input {
        let wait = self.watchdog.next_deadline().map_or(LONGEST_SLEEP, |at| at.since(now)).min(LONGEST_SLEEP);
        tokio::select! {
            biased;
            Some(request) = self.requests.recv() => Input::Asked(request),
            Some(asked) = self.questions.recv() => take_up(asked, &self.watchdog, owed, clock::now()),
            () = sleep(wait) => Input::Woke,
            Some(report) = self.reports.recv() => report.into(),
        }
    }

    /// Actions first: what was decided happens before it is told. The log comes last: whoever reads there of a
    /// fault finds the readiness gone and the counters grown.
    fn carry_out(&mut self, decision: Decision, now: Moment, progress: &mut Progress) {
        for Ordered { id, deadline, action } in decision.actions {
            match action {
                Action::Look(look) => self.observers.look(id, look, deadline),
                action => self.executor.carry_out(Ordered { id, deadline, action }),
            }
        }
        decision.events.iter().for_each(|event| self.exporter.record(event));
        if !decision.events.is_empty() || now.since(progress.published) >= PUBLISH_EVERY {
            self.publish(progress, now);
        }
        for event in &decision.events {
            self.tell(event, progress);
        }
    }

    fn tell(&mut self, event: &Event, progress: &mut Progress) {
        log::log_event(event);
        if let Some(story) = &mut self.story {
            story(event);
        }
        match &event.what {
            What::EngineStarted { .. } => progress.engine_started = true,
            What::ActionFailed { action: "start_control", .. } if !progress.engine_started => {
                // Before its first engine starts it may give up: a supervisor above starts it again.
                progress.status = ExitStatus::Unavailable;
                progress.own.push_back(Request::Stop);
            }
            _ => {}
        }
    }

    fn publish(&mut self, progress: &mut Progress, now: Moment) {
        progress.published = now;
        self.exporter.publish(Arc::new(self.watchdog.status(now)));
        notify::alive();
    }
}
