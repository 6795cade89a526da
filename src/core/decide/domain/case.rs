//! Opens, feeds and closes a domain's case: what is known when the fault comes, and who is named when.

use std::time::Duration;

use crate::decide::detect::{Finding, unknown_clients};
use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::evidence::suspects::case::{ALL_SAID, Case, Xid};
use crate::decide::evidence::suspects::evidence::{EngineEvidence, Evidence, FaultKind};
use crate::decide::evidence::suspects::lines;
use crate::decide::evidence::suspects::verdict::Verdict;
use crate::decide::evidence::suspects::weigh::weigh;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::reading::READING_FRESH;
use crate::decide::facts::said::Run;
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::facts::words::{NEAR, is_context_fatal};
use crate::decide::facts::{AFTERSHOCK, trusted};
use crate::decide::policy::MpsUse;
use crate::decide::turn::Turn;
use crate::model::{EngineName, Exit, Fault, Moment, ServerLine, What};

/// The first fatal error in an engine's output that may be of the fault: so long before it, at most.
fn own_error(engine: &Engine, fault_at: Moment, before: Duration) -> Option<(Moment, u32)> {
    let of_it = |run: &&Run| is_context_fatal(run.code) && run.first.after(before) >= fault_at;
    engine.instance.output.said.all().find(of_it).map(|run| (run.first, run.code))
}

/// The watchdog was taking it out, and not because it had ended by itself.
fn is_evicted(engine: &Engine) -> bool {
    let ended = engine.instance.process.ended.map(|(at, _)| at);
    let by_itself = ended.is_some() && ended == engine.died.as_ref().map(|died| died.at);
    let signalled =
        matches!(engine.stage, Stage::Ending(Ending::Stop(_) | Ending::Stuck { .. } | Ending::Aftershock { .. }));
    signalled && !by_itself
}

impl Domain {
    /// The fault hit the whole group: what is known now is kept, before anything of it is ended.
    pub(crate) fn open_case(&mut self, finding: &Finding, turn: &Turn<'_>) {
        let nobody = self.scene.engines.is_empty();
        if finding.fault != Fault::GpuFault || nobody || !matches!(self.phase, Phase::Running(_)) {
            return;
        }
        let fault_at = finding.evidence_at;
        let fresh = |(at, _, _): &&Xid| turn.now.since(*at) <= XID_FRESH;
        let xids: Vec<Xid> = self.suspects.xids.iter().filter(fresh).copied().collect();
        let engines = self.scene.engines.iter().map(|engine| self.known_of(engine, fault_at, &xids, turn)).collect();
        let kind = self.scene.server.fatal.map_or(FaultKind::Unknown, |fatal| {
            if fatal.blamed.is_some() { FaultKind::Memory } else { FaultKind::Trap }
        });
        let earlier = self.suspects.before(None, self.scene.policy.recovery.budget_window, turn.now);
        let strangers = unknown_clients(&self.scene).is_none_or(|unknown| !unknown.is_empty());
        let doubtful = self.scene.words_are_doubtful(fault_at.before(DOUBTFUL), fault_at.before(NEAR));
        let someone_left = self.scene.departed.nameless.departure();
        let evidence = Evidence { fault_at, kind, strangers, someone_left, earlier, doubtful, engines };
        let because = finding.because.clone();
        let (exits, opened) = (self.exits_before(fault_at), turn.now);
        self.suspects.case = Some(Case { evidence, because, xids, exits, opened, emitted: None, news: false });
    }

    fn known_of(&self, engine: &Engine, fault_at: Moment, xids: &[Xid], turn: &Turn<'_>) -> EngineEvidence {
        let ended = engine.instance.process.ended.filter(|(at, _)| *at < fault_at);
        // Whose client the server itself took was not killed while busy.
        let left = engine.instance.gpu.left.filter(|_| engine.evicted().is_none());
        let left = [left, ended.map(|(at, _)| at)].into_iter().flatten().filter(|at| *at < fault_at).min();
        let recent = left.is_some_and(|left| fault_at.since(left) <= AFTERSHOCK);
        let pids: Vec<u32> = engine.instance.processes().iter().map(|process| process.pid).collect();
        let (figures, reading) = (&engine.instance.figures, &turn.gpu.reading);
        let memory = engine.device_memory(reading.fresh(READING_FRESH, turn.now));
        EngineEvidence {
            there: engine.instance.mps == MpsUse::Client && (engine.alive() || recent),
            idle: figures.idle.at(fault_at),
            requests: figures.requests(turn.now),
            error: own_error(engine, fault_at, if self.scene.server.fatal.is_some() { NEAR } else { OWN_ERROR }),
            left,
            exit: engine.instance.process.ended,
            evicted: is_evicted(engine),
            blamed: self.scene.server.fatal.and_then(|fatal| fatal.blamed).is_some_and(|pid| pids.contains(&pid)),
            in_xid: xids.iter().any(|(_, _, pid)| pid.is_some_and(|pid| pids.contains(&pid))),
            started: engine.instance.process.started,
            memory: memory.zip(reading.at()),
            before: self.suspects.before(Some(engine.name()), self.scene.policy.recovery.budget_window, turn.now),
            ..EngineEvidence::of(engine.name().clone())
        }
    }

    fn exits_before(&self, fault_at: Moment) -> Vec<(Moment, EngineName, Exit)> {
        let recent = |engine: &Engine| {
            let (at, exit) = engine.instance.process.ended?;
            (fault_at.since(at) <= AFTERSHOCK).then(|| (at, engine.name().clone(), exit))
        };
        self.scene.engines.iter().filter_map(recent).collect()
    }

    /// A client begins to leave the server: its engine is noted while it is known whose it is.
    pub(crate) fn client_leaves(&mut self, line: ServerLine, stamped: Moment, now: Moment) {
        let ServerLine::Exiting { client, .. } = line else { return };
        let owns = |engine: &&mut Engine| engine.instance.processes().iter().any(|process| process.pid == client);
        if let Some(engine) = self.scene.engines.iter_mut().find(owns) {
            engine.instance.gpu.left = Some(trusted(stamped, now));
        }
    }

    /// Emits who did it: where the group is not ended, once all has been said; again when that has changed.
    pub(crate) fn reconsider(&mut self, turn: &mut Turn<'_>) {
        let Some(case) = &self.suspects.case else { return };
        if case.emitted.is_some() && case.news || turn.now >= case.opened.after(ALL_SAID) {
            self.tell_verdict(turn);
        }
    }

    /// Emits who did it, unless that was emitted already.
    pub(crate) fn tell_verdict(&mut self, turn: &mut Turn<'_>) {
        let Some(case) = &mut self.suspects.case else { return };
        if case.emitted.is_some() && !std::mem::take(&mut case.news) {
            return;
        }
        let verdict = weigh(&case.evidence);
        if case.emitted.as_ref().is_some_and(|emitted| emitted.agrees_with(&verdict)) {
            return;
        }
        turn.emit(What::Suspected {
            suspicions: verdict.suspicions.clone(),
            explained: verdict.explained.clone(),
            verdict: verdict.sentence.clone(),
            evidence: lines::of(case),
        });
        if case.emitted.is_none() && verdict.explained.is_none() && !verdict.unnamed {
            self.hit = Some(case.hit(&verdict));
        }
        case.emitted = Some(verdict);
    }

    /// The generation that the fault hit is over; gives the last word on who did it.
    pub(crate) fn close_case(&mut self, turn: &mut Turn<'_>) -> Option<Verdict> {
        self.tell_verdict(turn);
        let verdict = self.suspects.case.take()?.emitted?;
        self.suspects.remember(&verdict, turn.now);
        Some(verdict)
    }
}

/// Time before a fault within which an error may be of it, where the server wrote no line.
const OWN_ERROR: Duration = Duration::from_secs(1);

/// Time before a fault within which errors that no fact confirmed make every engine's words worthless: errors are being
/// quoted.
const DOUBTFUL: Duration = Duration::from_secs(10);

const XID_FRESH: Duration = Duration::from_secs(2);
