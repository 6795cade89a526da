//! A control daemon and engines that others run: they are found, and started through their owner alone, where the
//! watchdog had them ended. A daemon that ends while engines run is looked for again, and the domain is held until whoever
//! runs it has started it. An engine that ends is looked for again until it is forgotten. What nobody here may do is said,
//! with whose turn it is.

use std::time::Duration;

use crate::decide::detect::Finding;
use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::died::Died;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::engine::goal::Listed;
use crate::decide::facts::engine::theirs::Presence;
use crate::decide::facts::foreign::Foreign;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::stage::Stage;
use crate::decide::goal::Next;
use crate::decide::open_actions::Purpose;
use crate::decide::policy::Origin;
use crate::decide::turn::{Turn, failure};
use crate::model::{
    Action, ActionId, Exit, ExitCause, FailedAction, Fault, HeldReason, InstanceId, Moment, Outcome, ProcessId,
    RecoveryResult, Tier, What,
};

/// Pause between two looks for a control daemon that others run.
const LOOKED_FOR_AGAIN: Duration = Duration::from_secs(1);

/// Upper bound for finding an engine: its supervisor may be asked where it is.
const FIND_ENGINE_BOUND: Duration = Duration::from_secs(10);

/// Time for which an engine that its owner stops may still answer after its GPU process has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Time that a supervisor has to start an engine again before its absence is reported.
const STARTED_AGAIN_WITHIN: Duration = Duration::from_secs(5);

/// The search for a control daemon that others run, while engines run and it is not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    order: Option<ActionId>,
    again: Option<Moment>,
    absent: Option<(HeldReason, String)>,
}

impl Search {
    /// Why it was not found, and in words; `None`: it is there, or was not looked for yet.
    pub(crate) fn absent(&self) -> Option<&(HeldReason, String)> {
        self.absent.as_ref()
    }

    /// When it is looked for again by time alone.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.again.filter(|_| self.order.is_none())
    }
}

/// Why a control daemon was not found.
pub(crate) fn not_found(outcome: &Outcome) -> String {
    failure(outcome).unwrap_or_else(|| "it does not answer".to_owned())
}

impl Scene {
    /// What is asked of whoever runs a control daemon whose server does not become ACTIVE again.
    pub(crate) fn needs_its_owner(&self) -> String {
        let daemon = self
            .control
            .process
            .map_or_else(|| "the control daemon".to_owned(), |process| format!("the control daemon {process}"));
        let server = self.server.words();
        format!(
            "{server} is not ACTIVE, and a restart of {daemon} would mend that, which others run: whoever does is to restart \
             it, which ends all of its clients; the engines here start once a server is ACTIVE"
        )
    }
}

impl Domain {
    /// A control daemon is there and answers, and is another than the last one.
    pub(crate) fn has_a_control(&mut self, process: ProcessId, turn: &mut Turn<'_>) {
        self.scene.control.started(process, turn.now);
        self.scene.server.new_control();
        self.asked.control_owed = false;
        if self.scene.policy.custody.is_others() {
            // What it runs was there before it was found.
            self.scene.around.foreign = Foreign::default();
        }
        turn.emit(What::ControlStarted { process });
    }

    /// Looks for the control daemon that others run, where the last one ended.
    pub(crate) fn look_for_the_control(&mut self, turn: &mut Turn<'_>) {
        let search = &self.asked.control;
        let due = search.order.is_none() && search.again.is_none_or(|again| again <= turn.now);
        if due && self.scene.control.is_down() && self.scene.policy.custody.is_others() {
            self.asked.control.order = Some(self.order_start_control(turn));
        }
    }

    /// A search for the control daemon ended.
    pub(crate) fn control_search_ended(&mut self, id: ActionId, outcome: Outcome, turn: &mut Turn<'_>) {
        if self.asked.control.order != Some(id) {
            return;
        }
        self.asked.control.order = None;
        let absent = match outcome {
            Outcome::Started { process } => {
                self.give_up_the_search(turn);
                if let Some(server) = self.scene.server.pid {
                    self.scene.server.gone(server, turn.now, turn.now);
                }
                return self.has_a_control(process, turn);
            }
            Outcome::Waits { reason, why } => (reason, why),
            Outcome::NotAsked { why } => (HeldReason::OutOfResources, why),
            outcome @ (Outcome::Done
            | Outcome::Killed { .. }
            | Outcome::Gone { .. }
            | Outcome::Failed { .. }
            | Outcome::TimedOut
            | Outcome::NotUnderstood { .. }) => (HeldReason::ControlAbsent, not_found(&outcome)),
        };
        self.asked.control.again = Some(turn.now.after(LOOKED_FOR_AGAIN));
        let known = self.asked.control.absent.replace(absent.clone());
        if known.is_none_or(|(reason, _)| reason != absent.0) {
            turn.emit(What::Held { reason: absent.0, detail: absent.1 });
        }
    }

    /// It was found, or the whole domain is started or stopped, which looks for it by itself.
    pub(crate) fn give_up_the_search(&mut self, turn: &mut Turn<'_>) {
        if let Some((reason, _)) = std::mem::take(&mut self.asked.control).absent {
            turn.emit(What::Released { reason });
        }
    }

    /// Looks for engines that others run and that are not there, as far as is known.
    pub(crate) fn look_for_engines(&mut self, turn: &mut Turn<'_>) {
        for index in 0..self.scene.engines.len() {
            let engine = &self.scene.engines[index];
            let due = matches!(engine.stage, Stage::Down { due } if due <= turn.now);
            if !due || self.next(engine) != Next::Start || engine.is_ours_to_start() {
                continue;
            }
            let name = engine.name().clone();
            let instance = self.scene.member(&name).instance(engine.instance.incarnation + 1);
            let id = turn.send(Purpose::Launch(name), Action::FindEngine { instance }, FIND_ENGINE_BOUND);
            self.scene.engines[index].stage = Stage::Launching(id);
        }
    }

    /// The search for an engine that others run ended: it is there, or is looked for again.
    pub(crate) fn engine_search_ended(
        &mut self,
        index: usize,
        order: ActionId,
        outcome: &Outcome,
        turn: &mut Turn<'_>,
    ) {
        let engine = &mut self.scene.engines[index];
        let Outcome::Started { process } = *outcome else {
            engine.stage = Domain::looked_for_again(turn.now);
            return engine.was_not_found(outcome, turn);
        };
        engine.launch(order, turn.now);
        engine.begins(process, turn.now);
        if !engine.policy.is_asked() {
            // It is what its processes are: nothing else can be asked.
            engine.instance.probes.good_since = Some(turn.now);
        }
        let (name, incarnation) = (engine.name().clone(), engine.instance.incarnation);
        turn.save();
        turn.emit_of(&name, What::EngineFound { process, incarnation });
    }

    /// Those who run an engine took it away, or it left in order: that is no fault. One that nobody configured is
    /// forgotten, another is looked for again.
    pub(crate) fn engine_removed(&mut self, instance: &InstanceId, exit: Exit, turn: &mut Turn<'_>) {
        let hit = self.scene.server.fatal.is_some() || self.scene.server.died.is_some();
        let running = matches!(self.phase, Phase::Running(_));
        let Some(engine) = self.scene.engine_mut(&instance.engine.engine) else { return };
        if engine.instance.incarnation != instance.incarnation || engine.instance.process.ended.is_some() {
            return;
        }
        match engine.policy.origin {
            Origin::Found => engine.wanted.listed = Listed::Removed,
            // It was brought about here, or its fault did it: that it looks like an end in order says nothing.
            Origin::Configured
                if !running || !engine.stage.is_up() || hit || engine.outlived_its_gpu_process_by(LAST_WORDS) =>
            {
                return self.engine_ended(&instance.engine.engine, instance.incarnation, exit, turn);
            }
            Origin::Configured => {
                engine.theirs.presence = Presence::Left;
                engine.died = None;
                engine.stage = Domain::looked_for_again(turn.now);
                engine.end_attempt(RecoveryResult::Superseded, turn);
            }
        }
        engine.instance.process.ended = Some((turn.now, exit));
        turn.emit_of(&instance.engine.engine, What::EngineExited { exit, cause: ExitCause::Removed });
    }

    /// When an engine of others whose main process ended is looked for again.
    pub(crate) fn looked_for_again(now: Moment) -> Stage {
        Stage::Down { due: now.after(LOOKED_FOR_AGAIN) }
    }

    /// Holds the domain while a fault of all of it can't be mended because engines are their owners' to restart.
    pub(crate) fn leave_to_their_owners(&mut self, found: &[Finding], turn: &mut Turn<'_>) {
        let left = found.iter().find(|finding| {
            let whole =
                finding.engine.is_none() && self.tier_now(finding, turn).is_some_and(|tier| tier > Tier::Engine);
            whole && self.scene.may_act_on(finding.fault, turn.hold).is_ok()
        });
        // One that was started since the fault has contexts of its own.
        let was_hit = |engine: &Engine| {
            let before = left.is_some_and(|finding| engine.instance.process.started <= finding.evidence_at);
            before && engine.alive() && engine.instance.process.ended.is_none()
        };
        let owners = self.scene.engines.iter().filter(|engine| !engine.policy.custody.may_end() && was_hit(engine));
        let names: Vec<&str> = owners.map(|engine| engine.name().as_str()).collect();
        let detail = left.filter(|_| !names.is_empty()).map(|finding| {
            let (names, them) = (names.join(", "), if names.len() == 1 { "it" } else { "them" });
            format!(
                "{}: {names} must be ended and started again, and only those who run {them} may do that",
                finding.fault
            )
        });
        let reason = HeldReason::EnginesNotOurs;
        match (self.asked.owners.is_some(), &detail) {
            (false, Some(detail)) => turn.emit(What::Held { reason, detail: detail.clone() }),
            (true, None) => turn.emit(What::Released { reason }),
            _ => {}
        }
        self.asked.owners = detail;
    }
}

impl Engine {
    /// It was asked for, and its supervisor waits. Said once; nothing of it was started. Why it can't be waited for any
    /// longer, where that is so.
    pub(crate) fn waits_for_its_supervisor(&mut self, why: String, turn: &mut Turn<'_>) -> Option<String> {
        let since = *self.theirs.waits.get_or_insert(turn.now);
        let bound = self.policy.start_timeout;
        if turn.now.since(since) >= bound {
            self.theirs.waits = None;
            return Some(format!("its supervisor did not start it within {} s: {why}", bound.as_secs()));
        }
        self.instance.incarnation = self.instance.incarnation.saturating_sub(1);
        self.instance.note = Some(why.clone());
        self.stage = Domain::looked_for_again(turn.now);
        if self.theirs.emitted.as_ref() != Some(&why) {
            self.theirs.emitted = Some(why.clone());
            turn.emit_of(&self.policy.name, What::ActionFailed { action: FailedAction::StartEngine, why });
        }
        None
    }

    /// Its process is there: those who run it started it, or were asked to.
    pub(crate) fn begins(&mut self, process: ProcessId, now: Moment) {
        self.stage = Stage::Starting;
        self.is_there();
        self.instance.process.id = Some(process);
        self.instance.shortage.lives(std::iter::once(process.pid), now);
        self.instance.process.started = now;
    }

    /// It was looked for and is not there. Said once for each reason, unless it was stopped or its supervisor is about to
    /// start it. One that was ended here and that its supervisor does not start again in its time has died.
    fn was_not_found(&mut self, outcome: &Outcome, turn: &mut Turn<'_>) {
        let waits = matches!(outcome, Outcome::Waits { .. });
        let why = failure(outcome).unwrap_or_else(|| "it was not found in time".to_owned());
        if self.policy.origin == Origin::Found {
            return;
        }
        self.instance.note = Some(why.clone());
        let bound = self.policy.start_timeout;
        let ended = self.instance.process.ended.filter(|_| self.theirs.presence == Presence::Found);
        let absent_for = ended.map(|(at, _)| turn.now.since(at));
        if self.died.is_none() && absent_for >= Some(bound) {
            let because = format!("those who run it did not start it again within {} s: {why}", bound.as_secs());
            self.died = Some(Died { at: turn.now, fault: Fault::EngineDied, because });
        }
        let news = !waits && self.theirs.emitted.as_ref() != Some(&why);
        if news && (self.theirs.presence == Presence::NeverFound || absent_for >= Some(STARTED_AGAIN_WITHIN)) {
            self.theirs.emitted = Some(why.clone());
            turn.emit_of(&self.policy.name, What::ActionFailed { action: FailedAction::FindEngine, why });
        }
    }
}
