//! The way from the server's start to the new generation: waits for ACTIVE, within a bound, and helps where it may.

use std::time::Duration;

use crate::decide::detect::holders;
use crate::decide::domain::phase::{Phase, Settling};
use crate::decide::domain::restart::{Next, Restart, Step};
use crate::decide::domain::state::Domain;
use crate::decide::domain::teardown::kill_strays;
use crate::decide::facts::server_start::{self, TRIES};
use crate::decide::facts::stage::Stage;
use crate::decide::open_actions::Purpose;
use crate::decide::turn::Turn;
use crate::model::{
    Action, FailedAction, Fault, HeldReason, Moment, Outcome, RecoveryStep, ServerState, SuppressedAction, Tier, What,
};

/// Upper bound for an answer to `start_server`, and pause between two of them.
const START_SERVER_BOUND: Duration = Duration::from_secs(4);
/// Upper bound for a server that lives to be ACTIVE again: it needs 20 ms.
pub(crate) const ACTIVE_BOUND: Duration = Duration::from_secs(10);
/// Upper bound for a command to be given again, before the group is held for it.
const ASKABLE_WITHIN: Duration = Duration::from_secs(2);
/// Upper bound for a server of a new daemon: it needs 300 ms, longer with many GPUs.
pub(crate) const NEW_ACTIVE_BOUND: Duration = Duration::from_secs(30);

impl Domain {
    pub(crate) fn check_active(&mut self, restart: &mut Restart, since: Moment, turn: &mut Turn<'_>) -> Next {
        let anothers = self.scene.server.is_anothers();
        if self.cannot_ask(restart, turn) {
            return Next::Go;
        }
        match self.scene.server.state.since(since) {
            // Nothing that is started here is to become its client: it is looked at as it is, and after a fault once it
            // is well again.
            Some(state)
                if self.scene.may_start_a_server().is_err()
                    && (restart.reason.is_none() || *state == ServerState::None) =>
            {
                restart.release(turn);
                return Next::Generation;
            }
            Some(ServerState::Active) if !anothers => {
                restart.release(turn);
                return Next::Generation;
            }
            Some(ServerState::None) => self.order_a_server(&mut restart.asked_to_start, turn),
            Some(ServerState::Fault) => self.check_strays(restart, turn),
            _ => {}
        }
        // A server that the daemon started for a client of another user: a new daemon has no such client.
        if self.start_fails(restart, turn) {
            return Next::Go;
        }
        let stuck = anothers || self.scene.faults.contains_key(&(None, Fault::ServerStuck));
        let bound = if restart.tier == Tier::Daemon { NEW_ACTIVE_BOUND } else { ACTIVE_BOUND };
        if self.scene.may_stop_control().is_err() {
            if stuck || turn.now.since(since) >= bound {
                restart.hold(HeldReason::ControlNotOurs, self.scene.needs_its_owner(), turn);
            }
            return Next::Go;
        }
        if restart.tier == Tier::Clients && (stuck || turn.now.since(since) >= bound) {
            let reason = restart.reason.filter(|_| !stuck).unwrap_or(Fault::ServerStuck.into());
            self.escalate(restart, reason, turn);
            self.after_gone(restart, turn);
        } else if turn.now.since(since) >= bound {
            turn.emit_failure(FailedAction::AwaitActive, &Outcome::TimedOut);
            return self.attempt_failed(restart, Fault::ServerStuck, turn);
        }
        Next::Go
    }

    /// The server ends before it is ready: another start is tried, ever more slowly. After a few the daemon is started anew,
    /// once; after a few more the group is held, and the tries go on, so that a fact that changes lets it go on.
    fn start_fails(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) -> bool {
        let Some(failed) = self.scene.server.starts.last_failed().cloned() else {
            restart.release_from(HeldReason::ServerCannotStart, turn);
            return false;
        };
        if failed.tries < TRIES {
            // The last try has its time; a server that neither gets ready nor ends after it is waited for as any is.
            let tried = |at: Moment| turn.now.since(at) < NEW_ACTIVE_BOUND;
            return failed.tries > 0 && restart.asked_to_start.is_none_or(tried);
        }
        if restart.tier == Tier::Clients {
            let reason = restart.reason.unwrap_or(Fault::ServerStuck.into());
            self.escalate(restart, reason, turn);
            self.after_gone(restart, turn);
        } else {
            let detail = format!(
                "{}; it is tried again every {} s at most, and at once by `mpswarden resume {}`",
                failed.words(),
                server_start::longest_wait(&self.scene.policy.recovery.backoff).as_secs(),
                self.scene.policy.name
            );
            restart.hold(HeldReason::ServerCannotStart, detail, turn);
        }
        true
    }

    /// When the server is to be started again after a start that failed.
    pub(crate) fn start_due(&self, restart: &Restart) -> Option<Moment> {
        let tries = self.scene.server.starts.tries();
        let wait = self.scene.server.starts.wait(&self.scene.policy.recovery.backoff);
        restart.asked_to_start.filter(|_| tries > 0).map(|asked| asked.after(wait))
    }

    /// Commands can't be given, which says nothing of server or daemon: the wait begins anew once they can.
    fn cannot_ask(&self, restart: &mut Restart, turn: &mut Turn<'_>) -> bool {
        if self.scene.control.not_asked.is_none() {
            if restart.held.as_ref().is_some_and(|(reason, _)| *reason == HeldReason::OutOfResources) {
                restart.release(turn);
                restart.asked_to_start = None;
                restart.enter(Step::Active { since: turn.now }, turn);
            }
            return false;
        }
        let waited = self.scene.control.not_asked.is_some_and(|since| turn.now.since(since) >= ASKABLE_WITHIN);
        if waited && restart.held.is_none() {
            let why = "mpswarden can't run the commands by which it asks the control daemon (source_down says why)";
            restart.hold(HeldReason::OutOfResources, why.to_owned(), turn);
        }
        true
    }

    /// Orders a server, unless one was asked for too short a time ago.
    pub(crate) fn order_a_server(&self, asked: &mut Option<Moment>, turn: &mut Turn<'_>) {
        let wait = self.scene.server.starts.wait(&self.scene.policy.recovery.backoff).max(START_SERVER_BOUND);
        let too_soon = asked.is_some_and(|asked| turn.now.since(asked) < wait);
        if too_soon || self.scene.may_start_a_server().is_err() {
            return;
        }
        *asked = Some(turn.now);
        let action = Action::StartServer { domain: self.scene.id.clone() };
        turn.send(Purpose::Group, action, START_SERVER_BOUND);
    }

    /// A client that no engine owns holds the server in FAULT: it is reported, or it goes.
    fn check_strays(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let found = self.scene.faults.contains_key(&(None, Fault::UnknownClient));
        if !found || restart.strays_killed {
            return;
        }
        restart.strays_killed = true;
        let strays: Vec<u32> = holders(&self.scene).unwrap_or_default().into_iter().collect();
        if let Err(reason) = self.scene.may_kill_unknown_clients() {
            let detail =
                format!("clients {strays:?} belong to no engine; unknown_clients = \"kill_on_fault\" would end them");
            turn.emit(What::Suppressed { action: SuppressedAction::KillUnknownClient, reason, detail });
        } else {
            kill_strays(&self.scene.id, strays, turn);
        }
    }

    /// The server is ACTIVE and nothing of the old generation is left: the engines may come.
    pub(crate) fn new_generation(&mut self, restart: Restart, turn: &mut Turn<'_>) {
        restart.tell_step(restart.step.shown(), turn);
        self.budget.generation += 1;
        self.scene.server.new_generation(turn.now);
        self.forget_the_part();
        for engine in &mut self.scene.engines {
            engine.stage = engine.at_rest().unwrap_or(Stage::Down { due: turn.now });
            engine.instance.outdated = false;
        }
        self.rolling = None;
        self.down.left_behind = false;
        let verdict = self.close_case(turn);
        self.phase = Phase::Running(Some(Settling {
            tier: restart.tier,
            reason: restart.reason,
            since: restart.since,
            attempt: restart.attempt,
            step: RecoveryStep::Start,
            step_since: turn.now,
            last: verdict.and_then(|verdict| verdict.stands_out().cloned()),
        }));
        turn.save();
        let found = self.note_faults(turn);
        self.run(&found, turn);
    }
}
