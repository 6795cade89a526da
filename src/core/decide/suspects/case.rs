//! A fault of the whole group as a case: opened with it, fed with what comes later, told when the group is ended
//! or all has been said, and closed with the generation that it hit.

use std::collections::VecDeque;
use std::time::Duration;

use crate::decide::detect::{Finding, unknown_clients};
use crate::decide::domain::Domain;
use crate::decide::evidence::said::Run;
use crate::decide::facts::engine::{Ending, Engine, Stage};
use crate::decide::facts::reading::READING_FRESH;
use crate::decide::facts::words::{NEAR, is_context_fatal};
use crate::decide::facts::{AFTERSHOCK, trusted};
use crate::decide::isolation::Hit;
use crate::decide::phase::Phase;
use crate::decide::turn::Turn;
use crate::model::{EngineName, Exit, Fault, Moment, ServerLine, Strength, What};

use super::evidence::{EngineEvidence, Evidence, FaultKind};
use super::lines;
use super::verdict::Verdict;
use super::weigh::weigh;

/// The group's end waits so long, from a trap's fatal line on, for the culprit's error: it comes within 10 ms of it,
/// and nobody is hurt, since every context is dead. It is a word and convicts nobody, but it says where to look first.
const FIRST_ERROR: Duration = Duration::from_millis(25);
/// Where nobody ends the group all errors are out by then: a trap's last one comes 440 ms after it.
const ALL_SAID: Duration = Duration::from_millis(600);
/// Without a line of the server an error so long before the fault may be of it.
const OWN_ERROR: Duration = Duration::from_secs(1);
/// Errors that no fact confirmed, so long before the fault, make every engine's words worthless: somebody quotes errors.
const DOUBTFUL: Duration = Duration::from_secs(10);
/// Faults that are remembered.
const REMEMBERED: usize = 8;
/// Xids that are remembered, and for how long.
const XIDS: usize = 16;
const XID_FRESH: Duration = Duration::from_secs(2);

/// An Xid, and the pid that its line names.
pub(super) type Xid = (Moment, u32, Option<u32>);

/// The open case of a group, and what is remembered of those before it.
#[derive(Clone, Debug, Default)]
pub(in crate::decide) struct Suspects {
    case: Option<Case>,
    /// Faults that nobody was convicted of: when, and who was not cleared.
    unclear: VecDeque<(Moment, Vec<EngineName>)>,
    xids: VecDeque<Xid>,
}

/// One fault.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub evidence: Evidence,
    /// The detector's words.
    pub because: String,
    /// Xids around it.
    pub xids: Vec<Xid>,
    /// Ends of main processes, in order.
    pub exits: Vec<(Moment, EngineName, Exit)>,
    opened: Moment,
    told: Option<Verdict>,
    /// There is evidence that the verdict told does not know of.
    news: bool,
}

impl Suspects {
    /// When time alone lets the verdict be told, or the group be ended.
    pub fn deadline(&self) -> Option<Moment> {
        let case = self.case.as_ref().filter(|case| case.told.is_none())?;
        let all_said = case.opened.after(ALL_SAID);
        Some(if case.awaits_an_error() { case.evidence.fault_at.after(FIRST_ERROR).min(all_said) } else { all_said })
    }

    /// Until when an error may come that would convict, for a group that is to be ended for `fault`; `None`: nothing is
    /// waited for. Never for long: see `FIRST_ERROR`.
    pub fn evidence_due(&self, fault: Fault) -> Option<Moment> {
        let case = self.case.as_ref().filter(|case| fault == Fault::GpuFault && case.told.is_none())?;
        case.awaits_an_error().then(|| case.evidence.fault_at.after(FIRST_ERROR))
    }

    /// An engine's output named an error that ends its context.
    pub fn error(&mut self, engine: &EngineName, code: u32, now: Moment) {
        if let Some(case) = &mut self.case
            && let Some(held) = case.evidence.engines.iter_mut().find(|held| held.engine == *engine)
            && held.error.is_none()
        {
            held.error = Some((now, code));
            case.news = true;
        }
    }

    /// An engine's main process ended.
    pub fn exit(&mut self, engine: &EngineName, exit: Exit, now: Moment) {
        let Some(case) = &mut self.case else { return };
        case.exits.push((now, engine.clone(), exit));
        if let Some(held) = case.evidence.engines.iter_mut().find(|held| held.engine == *engine) {
            held.exit = held.exit.or(Some((now, exit)));
            case.news = true;
        }
    }

    /// The driver reported an Xid on the group's GPU.
    pub fn xid(&mut self, xid: u32, pid: Option<u32>, now: Moment) {
        self.xids.push_back((now, xid, pid));
        if self.xids.len() > XIDS {
            self.xids.pop_front();
        }
        if let Some(case) = self.case.as_mut().filter(|case| case.xids.len() < XIDS) {
            case.xids.push((now, xid, pid));
        }
    }

    /// In how many of the remembered faults within `window` the engine was not cleared; `None`: of all of them.
    fn before(&self, engine: Option<&EngineName>, window: Duration, now: Moment) -> u32 {
        let counted = self.unclear.iter().filter(|(at, _)| now.since(*at) < window);
        let with = counted.filter(|(_, names)| engine.is_none_or(|engine| names.contains(engine)));
        u32::try_from(with.count()).unwrap_or(u32::MAX)
    }

    fn remember(&mut self, verdict: &Verdict, now: Moment) {
        if verdict.of(Strength::Convicted).next().is_some() {
            return;
        }
        let cleared = verdict.cleared();
        let open = verdict.ranked().into_iter().filter(|engine| !cleared.contains(engine)).cloned();
        self.unclear.push_back((now, open.collect()));
        if self.unclear.len() > REMEMBERED {
            self.unclear.pop_front();
        }
    }
}

impl Case {
    /// What the fault says to the search for an offender whose faults repeat.
    fn hit(&self, verdict: &Verdict) -> Hit {
        let there =
            |name: &&EngineName| self.evidence.engines.iter().any(|known| known.there && known.engine == **name);
        Hit {
            ran: verdict.ranked().into_iter().filter(there).cloned().collect(),
            cleared: verdict.cleared().into_iter().cloned().collect(),
            strangers: self.evidence.strangers,
        }
    }

    /// Whether the first error would say something of whom nothing convicts so far.
    fn awaits_an_error(&self) -> bool {
        let engines = &self.evidence.engines;
        self.evidence.kind == FaultKind::Trap
            && !self.evidence.doubtful
            && engines.iter().all(|engine| engine.error.is_none())
            && weigh(&self.evidence).of(Strength::Convicted).next().is_none()
    }
}

impl Domain {
    /// The fault hit the whole group: what is known now is kept, before anything of it is ended.
    pub fn open_case(&mut self, finding: &Finding, turn: &Turn<'_>) {
        if finding.fault != Fault::GpuFault || !matches!(self.phase, Phase::Running(_)) {
            return;
        }
        let fault_at = finding.evidence_at;
        let fresh = |(at, _, _): &&Xid| turn.now.since(*at) <= XID_FRESH;
        let xids: Vec<Xid> = self.suspects.xids.iter().filter(fresh).copied().collect();
        let engines = self.engines.iter().map(|engine| self.known_of(engine, fault_at, &xids, turn)).collect();
        let kind = self.server.fatal.map_or(FaultKind::Unknown, |fatal| {
            if fatal.blamed.is_some() { FaultKind::Memory } else { FaultKind::Trap }
        });
        let earlier = self.suspects.before(None, self.policy.recovery.budget_window, turn.now);
        let strangers = unknown_clients(self).is_none_or(|unknown| !unknown.is_empty());
        let doubtful = self.words_are_doubtful(fault_at.before(DOUBTFUL), fault_at.before(NEAR));
        let someone_left = self.departed.nameless.departure();
        let evidence = Evidence { fault_at, kind, strangers, someone_left, earlier, doubtful, engines };
        let because = finding.because.clone();
        let (exits, opened) = (self.exits_before(fault_at), turn.now);
        self.suspects.case = Some(Case { evidence, because, xids, exits, opened, told: None, news: false });
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
            there: !engine.instance.outside && (engine.alive() || recent),
            idle: figures.idle.at(fault_at),
            requests: figures.requests(turn.now),
            error: own_error(engine, fault_at, if self.server.fatal.is_some() { NEAR } else { OWN_ERROR }),
            left,
            exit: engine.instance.process.ended,
            evicted: is_evicted(engine),
            blamed: self.server.fatal.and_then(|fatal| fatal.blamed).is_some_and(|pid| pids.contains(&pid)),
            in_xid: xids.iter().any(|(_, _, pid)| pid.is_some_and(|pid| pids.contains(&pid))),
            started: engine.instance.process.started,
            memory: memory.zip(reading.at()),
            before: self.suspects.before(Some(engine.name()), self.policy.recovery.budget_window, turn.now),
            ..EngineEvidence::of(engine.name().clone())
        }
    }

    fn exits_before(&self, fault_at: Moment) -> Vec<(Moment, EngineName, Exit)> {
        let recent = |engine: &Engine| {
            let (at, exit) = engine.instance.process.ended?;
            (fault_at.since(at) <= AFTERSHOCK).then(|| (at, engine.name().clone(), exit))
        };
        self.engines.iter().filter_map(recent).collect()
    }

    /// A client begins to leave the server: its engine is noted while it is known whose it is.
    pub fn client_leaves(&mut self, line: ServerLine, stamped: Moment, now: Moment) {
        let ServerLine::Exiting { client, .. } = line else { return };
        let owns = |engine: &&mut Engine| engine.instance.processes().iter().any(|process| process.pid == client);
        if let Some(engine) = self.engines.iter_mut().find(owns) {
            engine.instance.gpu.left = Some(trusted(stamped, now));
        }
    }

    /// Tells who did it: where nobody ends the group, once all has been said; again when that has changed.
    pub fn reconsider(&mut self, turn: &mut Turn<'_>) {
        let Some(case) = &self.suspects.case else { return };
        if case.told.is_some() && case.news || turn.now >= case.opened.after(ALL_SAID) {
            self.tell_verdict(turn);
        }
    }

    /// Tells who did it, unless that was told already.
    pub fn tell_verdict(&mut self, turn: &mut Turn<'_>) {
        let Some(case) = &mut self.suspects.case else { return };
        if case.told.is_some() && !std::mem::take(&mut case.news) {
            return;
        }
        let verdict = weigh(&case.evidence);
        if case.told.as_ref().is_some_and(|told| told.agrees_with(&verdict)) {
            return;
        }
        turn.emit(What::Suspected {
            suspicions: verdict.suspicions.clone(),
            explained: verdict.explained.clone(),
            verdict: verdict.sentence.clone(),
            evidence: lines::of(case),
        });
        if case.told.is_none() && verdict.explained.is_none() && !verdict.unnamed {
            self.hit = Some(case.hit(&verdict));
        }
        case.told = Some(verdict);
    }

    /// The generation that the fault hit is over; gives the last word on who did it.
    pub fn close_case(&mut self, turn: &mut Turn<'_>) -> Option<Verdict> {
        self.tell_verdict(turn);
        let verdict = self.suspects.case.take()?.told?;
        self.suspects.remember(&verdict, turn.now);
        Some(verdict)
    }
}

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
