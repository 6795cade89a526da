//! One turn of a domain whose engines run: faults of the whole domain first, then each engine, then starts, then the
//! balance. Here it is decided that a whole domain is restarted.

use crate::decide::detect::Finding;
use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::reading::Reading;
use crate::decide::facts::stage::Stage;
use crate::decide::goal::Next;
use crate::decide::open_actions::Purpose;
use crate::decide::policy::MpsUse;
use crate::decide::turn::Turn;
use crate::model::{Action, Moment, RecoveryResult, RecoveryStep, ServerState};

/// Upper bound for starting an engine's process.
const LAUNCH_BOUND: std::time::Duration = std::time::Duration::from_secs(10);
/// The same, where those who run it are asked to: their commands have their own time.
const LAUNCH_BOUND_OF_OTHERS: std::time::Duration = std::time::Duration::from_secs(60);

impl Engine {
    /// It starts, and may still take more of the GPU's memory: its own word that it has all is believed once NVML shows what
    /// it holds.
    pub(crate) fn takes_memory(&self, turn: &Turn<'_>) -> bool {
        let shown = |reading: &&Reading| self.device_memory(Some(*reading)).is_some_and(|held| held > 0);
        let has_all =
            || self.instance.output.allocated.and_then(|said| turn.gpu.reading.since(said)).filter(shown).is_some();
        match self.stage {
            Stage::Launching(_) => true,
            Stage::Starting => !has_all(),
            Stage::Down { .. }
            | Stage::Serving
            | Stage::Failing
            | Stage::Ending(_)
            | Stage::Fallen
            | Stage::Quarantined
            | Stage::Stopped
            | Stage::Left => false,
        }
    }
}

impl Domain {
    /// Engines run: faults of the whole group first, then each engine, then starts, then the balance.
    pub(crate) fn run(&mut self, found: &[Finding], turn: &mut Turn<'_>) {
        if let Some((finding, tier)) = self.most_urgent(found, turn) {
            if self.may_end_before_the_evidence(finding.fault, turn.now).is_err() {
                return;
            }
            let (reason, evidence_at) = (finding.fault.into(), finding.evidence_at);
            self.begin_restart(tier, reason, evidence_at, turn);
            return;
        }
        if self.scene.awaits_names(turn.now) {
            return;
        }
        self.leave_to_their_owners(found, turn);
        self.forget_the_healed(turn.now);
        self.mend_the_hit(found, turn);
        self.mend_engines(found, turn);
        for index in 0..self.scene.engines.len() {
            self.advance_engine(index, turn);
        }
        self.look_for_the_control(turn);
        self.look_for_engines(turn);
        self.ask_for_a_server(turn);
        self.start_engines(turn);
        self.settle(turn);
        self.roll_on(turn);
        self.forget_the_removed(turn);
        self.note_serving(turn);
    }

    /// A fault that is only observed is over once the server is ACTIVE again and nothing lives that it hit.
    fn forget_the_healed(&mut self, now: Moment) {
        let server = &self.scene.server;
        let Some(hit) = server.fatal.map(|fatal| fatal.at).or(server.died) else { return };
        let active = server.state.at().filter(|at| *at > hit && server.state.last() == Some(&ServerState::Active));
        let others = self.scene.policy.custody.is_others();
        // Whoever runs the daemon and its clients has put new ones in their place, and none need come.
        let renewed = server.state.at().filter(|at| *at > hit && server.state.last() == Some(&ServerState::None));
        let healed = active.or(renewed.filter(|_| others && !self.scene.control.is_down()));
        let was_hit = |engine: &Engine| {
            let renewed = engine.policy.custody.is_others() && engine.instance.process.started > hit;
            !renewed && !self.scene.is_over_for(engine, hit, now)
        };
        if let (Some(at), false) = (healed, self.scene.engines.iter().any(was_hit)) {
            self.scene.server.new_generation(at);
            self.forget_the_part();
        }
    }

    fn start_engines(&mut self, turn: &mut Turn<'_>) {
        while self.may_start(turn.gpu, turn.now).is_ok() && self.may_start_another(turn).is_ok() {
            let Some(index) = self.next_to_start(turn.now) else { return };
            self.start_engine(index, turn);
        }
    }

    /// A daemon ends its server while that has no client and a client of another user waits: nothing died then, and no
    /// engine may start without a server. Nothing else would bring one.
    fn ask_for_a_server(&mut self, turn: &mut Turn<'_>) {
        let server = &self.scene.server;
        let none = server.pid.is_none() && server.state.last() == Some(&ServerState::None);
        if !none || self.may_ask_for_a_server(turn.gpu).is_err() || self.next_to_start(turn.now).is_none() {
            return;
        }
        let mut asked = self.asked.for_server;
        self.order_a_server(&mut asked, turn);
        self.asked.for_server = asked;
    }

    /// Whether the start of an engine is on its way.
    pub(crate) fn starts_an_engine(&self) -> bool {
        self.scene.engines.iter().any(|engine| matches!(engine.stage, Stage::Launching(_) | Stage::Starting))
    }

    fn next_to_start(&self, now: Moment) -> Option<usize> {
        let last = match &self.phase {
            Phase::Running(Some(settling)) => settling.last.as_ref(),
            Phase::Waiting
            | Phase::Restart(_)
            | Phase::InRestart
            | Phase::Running(_)
            | Phase::Stopping(_)
            | Phase::Stopped => None,
        };
        let due = |index: &usize| {
            let engine = &self.scene.engines[*index];
            self.next(engine) == Next::Start
                && matches!(engine.stage, Stage::Down { due } if due <= now)
                && engine.is_ours_to_start()
                && self.scene.may_start_processes(engine).is_ok()
        };
        let indexes = || (0..self.scene.engines.len()).filter(due);
        indexes().find(|index| Some(self.scene.engines[*index].name()) != last).or_else(|| indexes().next())
    }

    fn start_engine(&mut self, index: usize, turn: &mut Turn<'_>) {
        let name = self.scene.engines[index].name().clone();
        let incarnation = self.scene.engines[index].instance.incarnation + 1;
        let outside = self.scene.engines[index].wanted.seat.mps == MpsUse::Outside;
        let action = Action::StartEngine { instance: self.scene.member(&name).instance(incarnation), outside };
        let others = self.scene.engines[index].policy.custody.is_others();
        let id = turn.send(Purpose::Launch(name), action, if others { LAUNCH_BOUND_OF_OTHERS } else { LAUNCH_BOUND });
        self.scene.engines[index].launch(id, turn.now);
        turn.save();
        self.enter_settling_step(RecoveryStep::Ready, turn);
    }

    fn enter_settling_step(&mut self, step: RecoveryStep, turn: &mut Turn<'_>) {
        let Phase::Running(Some(settling)) = &mut self.phase else { return };
        if settling.step != step {
            settling.tell_step(turn);
            settling.step = step;
            settling.step_since = turn.now;
        }
    }

    fn settle(&mut self, turn: &mut Turn<'_>) {
        let settled = |engine: &Engine| match engine.stage {
            Stage::Serving | Stage::Quarantined | Stage::Stopped | Stage::Left | Stage::Failing => true,
            Stage::Down { .. } | Stage::Ending(_) if engine.died.is_some() || self.next(engine) == Next::Move => true,
            Stage::Down { .. } | Stage::Launching(_) => engine.is_away() || engine.is_missing(),
            Stage::Ending(_) | Stage::Starting | Stage::Fallen => false,
        };
        if !self.scene.engines.iter().all(settled) {
            return;
        }
        let Phase::Running(settling) = &mut self.phase else { return };
        let Some(done) = settling.take() else { return };
        done.tell_step(turn);
        if let Some(attempt) = done.attempt {
            attempt.end(if self.all_serve() { RecoveryResult::Serving } else { RecoveryResult::Partly }, turn);
        }
    }

    /// Every engine that is to run serves, and there is one: whom an operator stopped, or those who run it took away, is
    /// not missed.
    pub(crate) fn all_serve(&self) -> bool {
        let counts = |engine: &&Engine| !engine.is_to_rest() && !engine.is_away();
        let mut counted = self.scene.engines.iter().filter(counts).peekable();
        let some = counted.peek().is_some() || self.scene.policy.custody.is_others();
        some && counted.all(|engine| engine.stage == Stage::Serving)
    }

    fn note_serving(&mut self, turn: &mut Turn<'_>) {
        if !self.all_serve() {
            self.serving_since = None;
            return;
        }
        let since = *self.serving_since.get_or_insert(turn.now);
        if turn.now.since(since) >= self.scene.policy.recovery.stable_after {
            self.forgive(turn);
        }
    }

    /// A group that served for long enough gets its budgets back.
    fn forgive(&mut self, turn: &mut Turn<'_>) {
        let spent = !self.budget.attempts.is_empty();
        let failed =
            self.scene.engines.iter().any(|engine| engine.stage == Stage::Serving && !engine.failures.is_empty());
        if !spent && !failed {
            return;
        }
        self.budget.attempts.clear();
        for engine in self.scene.engines.iter_mut().filter(|engine| engine.stage == Stage::Serving) {
            engine.failures.clear();
        }
        turn.save();
    }

    /// When a running group changes by time alone.
    pub(crate) fn running_deadline(&self, now: Moment) -> Option<Moment> {
        let owed =
            !self.budget.attempts.is_empty() || self.scene.engines.iter().any(|engine| !engine.failures.is_empty());
        let stable =
            self.serving_since.filter(|_| owed).map(|since| since.after(self.scene.policy.recovery.stable_after));
        let wedge = self.wedge_due();
        [stable, wedge, self.asked.control.due()].into_iter().flatten().filter(|at| *at > now).min()
    }
}
