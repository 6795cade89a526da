//! From the server's start to the new generation: waits for ACTIVE, within a bound, and helps where it may.

use std::time::Duration;

use crate::decide::detect::unknown_clients;
use crate::decide::engine::Stage;
use crate::decide::group::{Group, Phase};
use crate::decide::orders::Purpose;
use crate::decide::policy::UnknownClients;
use crate::decide::settling::Settling;
use crate::decide::turn::Turn;
use crate::model::{Action, Fault, Mode, Moment, Outcome, RecoveryStep, ServerState, Tier, What};

use super::{Next, Restart, tell_failure};

/// For `start_server` to be answered, and between two of them.
const START_SERVER_BOUND: Duration = Duration::from_secs(4);
/// For a server that lives to be ACTIVE again: it needs 20 ms.
pub(super) const ACTIVE_BOUND: Duration = Duration::from_secs(10);
/// For a server of a new daemon: it needs 300 ms, longer with many GPUs.
pub(super) const NEW_ACTIVE_BOUND: Duration = Duration::from_secs(30);

impl Group {
    pub(super) fn check_active(&mut self, restart: &mut Restart, since: Moment, turn: &mut Turn<'_>) -> Next {
        let anothers = self.server.is_anothers();
        match self.server.state.since(since) {
            Some(ServerState::Active) if !anothers => return Next::Generation,
            Some(ServerState::None) => self.ask_to_start(restart, turn),
            Some(ServerState::Fault) => self.check_strays(restart, turn),
            _ => {}
        }
        // A server that the daemon started for a client of another user: a new daemon has no such client.
        let stuck = anothers || self.faults.contains_key(&(None, Fault::ServerStuck));
        let bound = if restart.tier == Tier::Daemon { NEW_ACTIVE_BOUND } else { ACTIVE_BOUND };
        if restart.tier == Tier::Clients && (stuck || turn.now.since(since) >= bound) {
            let reason = restart.reason.filter(|_| !stuck).unwrap_or(Fault::ServerStuck.into());
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
            let reason = if may { "policy" } else { "observe" };
            let detail =
                format!("clients {strays:?} belong to no engine; unknown_clients = \"kill_on_fault\" would end them");
            turn.tell(What::Suppressed { action: "kill_unknown_client", reason, detail });
        }
    }

    /// The server is ACTIVE and nothing of the old generation is left: the engines may come.
    pub(super) fn new_generation(&mut self, restart: &Restart, turn: &mut Turn<'_>) {
        restart.tell_step(restart.step.shown(), turn);
        self.generation += 1;
        self.server.new_generation(turn.now);
        for engine in &mut self.engines {
            engine.stage = engine.at_rest().unwrap_or(Stage::Down { due: turn.now });
            engine.rolls = false;
        }
        self.rolling = None;
        self.left_behind = false;
        let verdict = self.close_case(turn);
        self.phase = Phase::Running(Some(Settling {
            tier: restart.tier,
            reason: restart.reason,
            since: restart.since,
            open: restart.open,
            step: RecoveryStep::Start,
            step_since: turn.now,
            last: verdict.and_then(|verdict| verdict.stands_out().cloned()),
        }));
        *turn.save = true;
        let found = self.note_faults(turn);
        self.run(&found, turn);
    }
}
