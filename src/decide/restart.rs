//! A restart of the whole group, step by step; the first start is one with nothing to end.
//!
//! ```text
//! Kill -> Gone -> (daemon tier: StopControl) -> Memory -> Backoff -> (StartControl) -> Active -> engines
//!   ^      |
//!   +-- Stuck (held until every process is gone)
//! ```
//! Each wait is bounded. What stays out longer holds the group, with the reason; the wait itself goes on,
//! more slowly, so that a new fact lets the group go on without a person.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{
    Action, ActionId, Fault, HeldReason, Mode, Moment, Outcome, RecoveryResult, RecoveryStep, Remaining, ServerState,
    Tier, What,
};

use super::detect::unknown_clients;
use super::engine::{READING_FRESH, Stage};
use super::group::{Group, Phase};
use super::guard;
use super::memory_gate::{Baseline, baseline};
use super::orders::Purpose;
use super::policy::{UnknownClients, WhenSpent};
use super::settling::Settling;
use super::suspects::suspect;
use super::turn::Turn;

/// For the signals to be sent.
const KILL_BOUND: Duration = Duration::from_secs(5);
/// For every process to be gone: one with 16 GiB resident takes a second.
const GONE_BOUND: Duration = Duration::from_secs(30);
/// Between attempts to end a process that does not die.
const STUCK_PAUSE: Duration = Duration::from_secs(1);
/// `quit -t` before KILL.
pub(super) const QUIT_GRACE: Duration = Duration::from_secs(2);
/// For the daemon to be gone.
pub(super) const STOP_CONTROL_BOUND: Duration = Duration::from_secs(15);
/// For a new daemon to answer.
const START_CONTROL_BOUND: Duration = Duration::from_secs(15);
/// For `start_server` to be answered, and between two of them.
const START_SERVER_BOUND: Duration = Duration::from_secs(4);
/// For a server that lives to be ACTIVE again: it needs 20 ms.
const ACTIVE_BOUND: Duration = Duration::from_secs(10);
/// For a server of a new daemon: it needs 300 ms, longer with many GPUs.
const NEW_ACTIVE_BOUND: Duration = Duration::from_secs(30);

/// An engine that died so shortly before its group's fault died of it.
const ONE_EVENT: Duration = Duration::from_secs(1);

/// A restart on its way.
#[derive(Debug)]
pub(super) struct Restart {
    pub tier: Tier,
    /// `None`: the first start.
    pub reason: Option<Fault>,
    /// When it was decided.
    pub since: Moment,
    pub step: Step,
    /// Since when it is in the step that the metrics know.
    pub step_since: Moment,
    pub held: Option<(HeldReason, String)>,
    gate: Gate,
    /// The GPU before the kill; `None`: nobody knows.
    baseline: Option<Baseline>,
    /// Pids of the old generation.
    old: BTreeSet<u32>,
    /// When `start_server` was last ordered in this step.
    asked_to_start: Option<Moment>,
    strays_killed: bool,
    /// The engine under suspicion, by its place.
    last: Option<usize>,
}

/// Whether the engines may be started again, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// After this wait.
    Wait(Duration),
    /// Not before somebody says so.
    Hold,
    /// It was passed.
    Open,
}

/// A step of a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Kill(ActionId),
    Gone(ActionId),
    Stuck { again: Moment },
    StopControl(ActionId),
    Memory,
    Backoff { until: Moment },
    StartControl(ActionId),
    Active { since: Moment },
}

impl Step {
    /// As the metrics know it.
    pub fn shown(&self) -> RecoveryStep {
        match self {
            Step::Kill(_) => RecoveryStep::Kill,
            Step::Gone(_) | Step::Stuck { .. } | Step::StopControl(_) => RecoveryStep::Gone,
            Step::Memory => RecoveryStep::Memory,
            Step::Backoff { .. } => RecoveryStep::Backoff,
            Step::StartControl(_) | Step::Active { .. } => RecoveryStep::Active,
        }
    }
}

impl Restart {
    /// Since when it waits for ACTIVE, if it does.
    pub fn waiting_for_active(&self) -> Option<Moment> {
        match self.step {
            Step::Active { since } => Some(since),
            _ => None,
        }
    }

    /// Since when it waits for memory, if it does.
    pub fn waiting_for_memory(&self) -> bool {
        self.step == Step::Memory
    }

    fn enter(&mut self, step: Step, turn: &mut Turn<'_>) {
        let (old, new) = (self.step.shown(), step.shown());
        self.step = step;
        if old != new {
            turn.tell(What::StepEnded { step: old, took: turn.now.since(self.step_since) });
            self.step_since = turn.now;
        }
    }

    fn hold(&mut self, reason: HeldReason, detail: String, turn: &mut Turn<'_>) {
        let news = self.held.as_ref().is_none_or(|(held, _)| *held != reason);
        self.held = Some((reason, detail.clone()));
        if news {
            turn.tell(What::Held { reason, detail });
        }
    }

    fn release(&mut self, turn: &mut Turn<'_>) {
        if let Some((reason, _)) = self.held.take() {
            turn.tell(What::Released { reason });
        }
    }
}

impl Group {
    /// The first start: a daemon, a server, the engines. There is nothing to end.
    pub fn first_start(&mut self, turn: &mut Turn<'_>) {
        let step = Step::StartControl(self.order_start_control(turn));
        self.phase = Phase::Restart(Box::new(self.new_restart(Tier::Daemon, None, step, Gate::Open, turn.now)));
        *turn.save = true;
    }

    /// Ends all engines at once and starts them again, after `tier`'s work on server and daemon.
    pub fn begin_restart(&mut self, tier: Tier, reason: Fault, evidence_at: Moment, turn: &mut Turn<'_>) {
        self.supersede(turn);
        let gate = self.admit(tier, reason, turn);
        let old = self.old_pids(turn);
        let last = suspect(&self.engines);
        let kill = self.order_kill(Vec::new(), turn);
        turn.tell(What::StepEnded { step: RecoveryStep::Decide, took: turn.now.since(evidence_at) });
        let mut restart = self.new_restart(tier, Some(reason), Step::Kill(kill), gate, turn.now);
        restart.baseline = self.baseline(&old, turn);
        restart.old = old;
        restart.last = last;
        self.phase = Phase::Restart(Box::new(restart));
        for engine in self.engines.iter_mut().filter(|engine| engine.stage != Stage::Quarantined) {
            engine.stage = Stage::Fallen;
            engine.died = None;
        }
        self.serving_since = None;
        *turn.save = true;
    }

    /// A fault that needs a step further up the ladder shows while the restart is on its way.
    fn escalate(&mut self, restart: &mut Restart, reason: Fault, turn: &mut Turn<'_>) {
        let took = turn.now.since(restart.since);
        turn.tell(What::RestartEnded { tier: restart.tier, result: RecoveryResult::Superseded, took });
        restart.tier = Tier::Daemon;
        restart.reason = Some(reason);
        restart.since = turn.now;
        let (attempt, budget_left) = self.attempt_and_left(turn.now);
        turn.tell(What::RestartBegan { tier: Tier::Daemon, reason, attempt, budget_left });
    }

    /// Whatever was on its way makes room for a restart of the whole group.
    fn supersede(&mut self, turn: &mut Turn<'_>) {
        if let Phase::Running(Some(settling)) = &self.phase {
            let (tier, took) = (settling.tier, turn.now.since(settling.since));
            turn.tell(What::RestartEnded { tier, result: RecoveryResult::Superseded, took });
        }
        for engine in &mut self.engines {
            let at = engine.died.as_ref().map(|died| died.at);
            if matches!(engine.stage, Stage::Ending(_)) && at.is_some_and(|at| turn.now.since(at) <= ONE_EVENT) {
                // The group's fault took it: that is no failure of its own.
                engine.failures.forgive_last();
            }
            if let Some(died) = engine.died.take().filter(|died| died.restarting) {
                let took = turn.now.since(died.at);
                let what = What::RestartEnded { tier: Tier::Engine, result: RecoveryResult::Superseded, took };
                turn.tell_of(&engine.policy.name, what);
            }
        }
    }

    /// Whether there may be another attempt, and after which wait. Counts it if there may.
    fn admit(&mut self, tier: Tier, reason: Fault, turn: &mut Turn<'_>) -> Gate {
        let recovery = &self.policy.recovery;
        let spent = self.attempts.within(recovery.budget_window, turn.now) >= recovery.budget;
        if spent && recovery.when_spent == WhenSpent::Hold {
            return Gate::Hold;
        }
        let random = self.jitter.next();
        self.attempts.count(recovery.budget_window, turn.now);
        let (attempt, budget_left) = self.attempt_and_left(turn.now);
        turn.tell(What::RestartBegan { tier, reason, attempt, budget_left });
        let backoff = &self.policy.recovery.backoff;
        Gate::Wait(if spent { guard::longest(backoff, random) } else { guard::wait(backoff, attempt, random) })
    }

    /// The number of the attempt on its way, and how many are left.
    fn attempt_and_left(&self, now: Moment) -> (u32, u32) {
        let attempt = self.attempts.within(self.policy.recovery.budget_window, now);
        (attempt, self.policy.recovery.budget.saturating_sub(attempt))
    }

    fn new_restart(&self, tier: Tier, reason: Option<Fault>, step: Step, gate: Gate, now: Moment) -> Restart {
        Restart {
            tier,
            reason,
            since: now,
            step,
            step_since: now,
            held: None,
            gate,
            baseline: None,
            old: BTreeSet::new(),
            asked_to_start: None,
            strays_killed: false,
            last: None,
        }
    }

    /// The pids under which NVML shows the old generation.
    fn old_pids(&self, turn: &Turn<'_>) -> BTreeSet<u32> {
        match turn.gpu.reading.last() {
            Some(reading) if !self.pids_match && turn.alone => reading.mps.iter().map(|process| process.pid).collect(),
            _ => self.pids(),
        }
    }

    fn baseline(&self, old: &BTreeSet<u32>, turn: &Turn<'_>) -> Option<Baseline> {
        let reading = turn.gpu.reading.last()?;
        (self.pids_match || turn.alone).then(|| baseline(reading, old))
    }

    fn order_kill(&mut self, strays: Vec<u32>, turn: &mut Turn<'_>) -> ActionId {
        let engines = if strays.is_empty() { self.names() } else { Vec::new() };
        let action = Action::KillEngines { group: self.policy.name.clone(), engines, strays };
        turn.order(Purpose::Group, action, KILL_BOUND)
    }

    fn order_stop_control(&self, turn: &mut Turn<'_>) -> ActionId {
        let wedged = self.control.wedged_at.is_some() || self.control.died.is_some();
        let grace = if wedged { Duration::ZERO } else { QUIT_GRACE };
        let action = Action::StopControl { group: self.policy.name.clone(), grace, server: self.server.process };
        turn.order(Purpose::Group, action, STOP_CONTROL_BOUND)
    }

    fn order_start_control(&self, turn: &mut Turn<'_>) -> ActionId {
        turn.order(Purpose::Group, Action::StartControl { group: self.policy.name.clone() }, START_CONTROL_BOUND)
    }

    /// An order of the restart ended.
    pub fn restart_finished(&mut self, id: ActionId, outcome: Outcome, turn: &mut Turn<'_>) {
        self.with_restart(turn, |group, restart, turn| {
            match (&restart.step, outcome) {
                (Step::Kill(order), Outcome::Killed { processes }) if *order == id => {
                    restart.old.extend(processes.iter().map(|process| process.pid));
                    let engines = group.names();
                    let action = Action::AwaitGone { group: group.policy.name.clone(), engines, processes };
                    let gone = turn.order(Purpose::Group, action, GONE_BOUND);
                    restart.enter(Step::Gone(gone), turn);
                }
                (Step::Gone(order), Outcome::Gone { remaining }) if *order == id => {
                    group.looked_for_the_old(restart, &remaining, turn);
                }
                (Step::StopControl(order), Outcome::Done) if *order == id => group.control_stopped(restart, turn),
                (Step::StartControl(order), Outcome::Started { process }) if *order == id => {
                    group.control.started(process, turn.now);
                    turn.tell(What::ControlStarted { process });
                    restart.enter(Step::Active { since: turn.now }, turn);
                }
                (Step::Kill(order) | Step::Gone(order) | Step::StopControl(order), outcome) if *order == id => {
                    let detail = tell_failure(restart.step.shown().as_str(), &outcome, turn);
                    restart.hold(HeldReason::ProcessStuck, detail, turn);
                    restart.enter(Step::Stuck { again: turn.now.after(STUCK_PAUSE) }, turn);
                }
                (Step::StartControl(order), outcome) if *order == id => {
                    tell_failure("start_control", &outcome, turn);
                    return group.attempt_failed(restart, Fault::ControlDied, turn);
                }
                (_, Outcome::Failed { .. } | Outcome::TimedOut) => {
                    // start_server, or the kill of a stray: the wait for ACTIVE goes on and has its own bound.
                }
                _ => {}
            }
            Next::Go
        });
    }

    fn looked_for_the_old(&mut self, restart: &mut Restart, remaining: &[Remaining], turn: &mut Turn<'_>) {
        if !remaining.is_empty() {
            let list: Vec<String> =
                remaining.iter().map(|left| format!("{} (state {})", left.process, left.state)).collect();
            let detail = format!("process {} does not die; state D is a driver call that hangs", list.join(", "));
            restart.hold(HeldReason::ProcessStuck, detail, turn);
            return restart.enter(Step::Stuck { again: turn.now.after(STUCK_PAUSE) }, turn);
        }
        restart.release(turn);
        for engine in &mut self.engines {
            engine.main = None;
            engine.tree.saw(Vec::new(), turn.now);
        }
        self.after_gone(restart, turn);
    }

    fn after_gone(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        if restart.tier == Tier::Daemon {
            let stop = self.order_stop_control(turn);
            restart.enter(Step::StopControl(stop), turn);
        } else {
            restart.enter(Step::Memory, turn);
        }
    }

    fn control_stopped(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        restart.release(turn);
        if let Some(server) = self.server.pid {
            self.server.gone(server, turn.now, turn.now);
        }
        self.control = super::facts::ControlFacts::default();
        restart.enter(Step::Memory, turn);
    }

    /// Goes on with what is known; levels only, so a missed edge costs nothing.
    pub fn advance_restart(&mut self, turn: &mut Turn<'_>) {
        self.with_restart(turn, |group, restart, turn| {
            group.escalate_if_daemon_is_lost(restart, turn);
            match restart.step.clone() {
                Step::Stuck { again } if again <= turn.now => {
                    let kill = group.order_kill(Vec::new(), turn);
                    restart.enter(Step::Kill(kill), turn);
                }
                Step::Memory => group.check_memory(restart, turn),
                Step::Backoff { until } if until <= turn.now && restart.gate != Gate::Hold => {
                    restart.release(turn);
                    restart.gate = Gate::Open;
                    group.after_backoff(restart, turn);
                }
                Step::Active { since } => return group.check_active(restart, since, turn),
                _ => {}
            }
            Next::Go
        });
    }

    fn escalate_if_daemon_is_lost(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let reason = match &self.control {
            control if control.died.is_some() => Fault::ControlDied,
            control if control.wedged_at.is_some() => Fault::ControlWedged,
            _ => return,
        };
        let may = self.policy.mode_of(reason) == Mode::Enforce && restart.reason.is_some();
        if !may || restart.tier == Tier::Daemon && !matches!(restart.step, Step::Active { .. }) {
            return;
        }
        self.escalate(restart, reason, turn);
        if !matches!(restart.step, Step::Kill(_) | Step::Gone(_) | Step::Stuck { .. }) {
            self.after_gone(restart, turn);
        }
    }

    fn check_memory(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let reading = turn.gpu.reading.since(restart.step_since).filter(|_| restart.baseline.is_some());
        let verdict = match (reading, &restart.baseline) {
            (Some(reading), Some(baseline)) => {
                baseline.back(reading, &restart.old).map_err(|why| (HeldReason::MemoryNotBack, why))
            }
            _ => {
                Err((HeldReason::MemoryUnknown, "NVML can't say whether the old processes' memory is back".to_owned()))
            }
        };
        let stale = turn.gpu.reading.fresh(READING_FRESH, turn.now).is_none();
        match verdict {
            Ok(()) => {
                restart.release(turn);
                self.enter_backoff(restart, turn);
            }
            Err((reason, why)) if turn.now.since(restart.step_since) >= self.policy.recovery.memory_timeout => {
                restart.hold(if stale { HeldReason::MemoryUnknown } else { reason }, why, turn);
            }
            Err(_) => {}
        }
    }

    fn enter_backoff(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let wait = match restart.gate {
            Gate::Wait(wait) => wait,
            Gate::Open => Duration::ZERO,
            Gate::Hold => {
                let recovery = &self.policy.recovery;
                let hours = recovery.budget_window.as_secs();
                let detail = format!("{} restarts within {hours} s are the budget, and it is spent", recovery.budget);
                restart.hold(HeldReason::BudgetSpent, detail, turn);
                Duration::ZERO
            }
        };
        restart.enter(Step::Backoff { until: turn.now.after(wait) }, turn);
        if wait.is_zero() && restart.gate != Gate::Hold {
            restart.gate = Gate::Open;
            self.after_backoff(restart, turn);
        }
    }

    fn after_backoff(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        restart.asked_to_start = None;
        let step = if self.control.process.is_none() || self.control.died.is_some() {
            Step::StartControl(self.order_start_control(turn))
        } else {
            Step::Active { since: turn.now }
        };
        restart.enter(step, turn);
    }

    fn check_active(&mut self, restart: &mut Restart, since: Moment, turn: &mut Turn<'_>) -> Next {
        match self.server.state.since(since) {
            Some(ServerState::Active) => return Next::Generation,
            Some(ServerState::None) => self.ask_to_start(restart, turn),
            Some(ServerState::Fault) => self.check_strays(restart, turn),
            _ => {}
        }
        let stuck = self.faults.contains_key(&(None, Fault::ServerStuck));
        let bound = if restart.tier == Tier::Daemon { NEW_ACTIVE_BOUND } else { ACTIVE_BOUND };
        if restart.tier == Tier::Clients && (stuck || turn.now.since(since) >= bound) {
            let reason = if stuck { Fault::ServerStuck } else { restart.reason.unwrap_or(Fault::ServerStuck) };
            self.escalate(restart, reason, turn);
            self.after_gone(restart, turn);
        } else if turn.now.since(since) >= bound {
            tell_failure("await_active", &Outcome::TimedOut, turn);
            return self.attempt_failed(restart, Fault::ServerStuck, turn);
        }
        Next::Go
    }

    fn ask_to_start(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        if restart.asked_to_start.is_some_and(|asked| turn.now.since(asked) < START_SERVER_BOUND) {
            return;
        }
        restart.asked_to_start = Some(turn.now);
        let action = Action::StartServer { group: self.policy.name.clone() };
        turn.order(Purpose::Group, action, START_SERVER_BOUND);
    }

    /// A client that no engine owns holds the server in FAULT: it is reported, or it goes.
    fn check_strays(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let found = self.faults.contains_key(&(None, Fault::UnknownClient));
        if !found || restart.strays_killed {
            return;
        }
        restart.strays_killed = true;
        let strays: Vec<u32> = unknown_clients(self).unwrap_or_default().into_iter().collect();
        let may = self.policy.mode_of(Fault::UnknownClient) == Mode::Enforce;
        if may && self.policy.unknown_clients == UnknownClients::KillOnFault {
            self.order_kill(strays, turn);
        } else {
            let detail =
                format!("clients {strays:?} belong to no engine; unknown_clients = \"kill_on_fault\" would end them");
            turn.tell(What::Suppressed { action: "kill_unknown_client", reason: "policy", detail });
        }
    }

    /// A new daemon or server did not come up: another attempt, from the start and within the budget.
    fn attempt_failed(&mut self, restart: &mut Restart, reason: Fault, turn: &mut Turn<'_>) -> Next {
        let first_in_observe = restart.reason.is_none() && self.policy.mode == Mode::Observe;
        if !first_in_observe {
            let took = turn.now.since(restart.since);
            turn.tell(What::RestartEnded { tier: restart.tier, result: RecoveryResult::Superseded, took });
            return Next::Again(reason);
        }
        self.attempts.count(self.policy.recovery.budget_window, turn.now);
        let (attempt, _) = self.attempt_and_left(turn.now);
        let wait = guard::wait(&self.policy.recovery.backoff, attempt + 1, self.jitter.next());
        restart.enter(Step::Backoff { until: turn.now.after(wait) }, turn);
        Next::Go
    }

    /// A process came up after the kill: the kill is repeated.
    pub fn kill_again(&mut self, turn: &mut Turn<'_>) {
        self.with_restart(turn, |group, restart, turn| {
            let kill = group.order_kill(Vec::new(), turn);
            restart.enter(Step::Kill(kill), turn);
            Next::Go
        });
    }

    /// An operator gives a held group its budget back.
    pub fn resume(&mut self, turn: &mut Turn<'_>) {
        self.attempts.clear();
        *turn.save = true;
        self.with_restart(turn, |group, restart, turn| {
            if restart.gate == Gate::Hold {
                let reason = restart.reason.unwrap_or(Fault::GpuFault);
                restart.gate = group.admit(restart.tier, reason, turn);
            }
            Next::Go
        });
    }

    /// Runs `work` on the restart, if there is one, and follows what it says comes next.
    fn with_restart(
        &mut self,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Group, &mut Restart, &mut Turn<'_>) -> Next,
    ) {
        if !matches!(self.phase, Phase::Restart(_)) {
            return;
        }
        let Phase::Restart(mut restart) = std::mem::replace(&mut self.phase, Phase::Waiting) else { return };
        let next = work(self, &mut restart, turn);
        match next {
            Next::Go => self.phase = Phase::Restart(restart),
            Next::Generation => self.new_generation(&restart, turn),
            Next::Again(reason) => {
                self.phase = Phase::Restart(restart);
                self.begin_restart(Tier::Daemon, reason, turn.now, turn);
            }
        }
    }

    /// The server is ACTIVE and nothing of the old generation is left: the engines may come.
    fn new_generation(&mut self, restart: &Restart, turn: &mut Turn<'_>) {
        turn.tell(What::StepEnded { step: restart.step.shown(), took: turn.now.since(restart.step_since) });
        self.generation += 1;
        self.server.new_generation(turn.now);
        for engine in self.engines.iter_mut().filter(|engine| engine.stage != Stage::Quarantined) {
            engine.stage = Stage::Down { due: turn.now };
        }
        self.phase = Phase::Running(Some(Settling {
            tier: restart.tier,
            reason: restart.reason,
            since: restart.since,
            step: RecoveryStep::Start,
            step_since: turn.now,
            last: restart.last,
        }));
        *turn.save = true;
        let found = self.note_faults(turn);
        self.run(&found, turn);
    }

    /// When a restart changes by time alone.
    pub fn restart_deadline(&self, restart: &Restart) -> Option<Moment> {
        match &restart.step {
            Step::Stuck { again } => Some(*again),
            Step::Memory => Some(restart.step_since.after(self.policy.recovery.memory_timeout)),
            Step::Backoff { until } => Some(*until),
            Step::Active { since } if restart.tier == Tier::Daemon => Some(since.after(NEW_ACTIVE_BOUND)),
            Step::Active { since } => Some(since.after(ACTIVE_BOUND)),
            Step::Kill(_) | Step::Gone(_) | Step::StopControl(_) | Step::StartControl(_) => None,
        }
    }

    /// Whether a fault may be acted on now. A daemon that does not answer gets its grace while all is fine.
    pub fn due(&self, fault: Fault, now: Moment) -> bool {
        fault != Fault::ControlWedged || self.wedge_due().is_none_or(|due| due <= now)
    }

    /// When a wedged daemon's grace ends: at once when an engine is failing.
    pub fn wedge_due(&self) -> Option<Moment> {
        let since = self.control.wedged_at?;
        let failing = self.engines.iter().any(|engine| !matches!(engine.stage, Stage::Serving | Stage::Quarantined));
        Some(if failing { since } else { since.after(self.policy.recovery.wedge_grace) })
    }
}

/// What comes after a piece of work on a restart.
enum Next {
    Go,
    /// The old is gone and the server is ACTIVE.
    Generation,
    /// The attempt failed: another one, for this reason.
    Again(Fault),
}

/// Tells that an order failed, and gives the reason.
fn tell_failure(action: &'static str, outcome: &Outcome, turn: &mut Turn<'_>) -> String {
    let why = match outcome {
        Outcome::Failed { why } => why.clone(),
        _ => "no outcome in its time".to_owned(),
    };
    turn.tell(What::ActionFailed { action, why: why.clone() });
    why
}
