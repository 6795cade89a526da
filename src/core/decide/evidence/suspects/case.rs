//! A fault of the whole group as a case: opened with it, fed with what comes later, reported when the group is ended or
//! all has been said, and closed with the generation that it hit.

use std::collections::VecDeque;
use std::time::Duration;

use crate::decide::evidence::search::Hit;
use crate::decide::evidence::suspects::evidence::{Evidence, FaultKind};
use crate::decide::evidence::suspects::verdict::Verdict;
use crate::decide::evidence::suspects::weigh::weigh;
use crate::model::{EngineName, Exit, Fault, Moment, Strength};

/// Time for which the group's end waits, from a trap's fatal line on, for the culprit's error: it comes within 10 ms of
/// it, and no engine is hurt, since every context is dead. It is a word and convicts none, but it says where to look
/// first.
const FIRST_ERROR: Duration = Duration::from_millis(25);

/// Time by which all errors are out where the group is not ended: a trap's last one comes 440 ms after it.
pub(crate) const ALL_SAID: Duration = Duration::from_millis(600);

/// Faults that are remembered.
const REMEMBERED: usize = 8;

/// Xids that are remembered, and for how long.
const XIDS: usize = 16;

/// An Xid, and the pid that its line names.
pub(crate) type Xid = (Moment, u32, Option<u32>);

/// The open case of a group, and what is remembered of those before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suspects {
    pub case: Option<Case>,
    /// Faults without a conviction: when, and which engines were not cleared.
    unclear: VecDeque<(Moment, Vec<EngineName>)>,
    pub xids: VecDeque<Xid>,
}

/// One fault.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub evidence: Evidence,
    /// The detector's words.
    pub because: String,
    /// Xids around it.
    pub xids: Vec<Xid>,
    /// Ends of main processes, in order.
    pub exits: Vec<(Moment, EngineName, Exit)>,
    pub opened: Moment,
    pub emitted: Option<Verdict>,
    /// There is evidence that the reported verdict does not know.
    pub news: bool,
}

impl Suspects {
    /// When time alone lets the verdict be reported, or the group be ended.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let case = self.case.as_ref().filter(|case| case.emitted.is_none())?;
        let all_said = case.opened.after(ALL_SAID);
        Some(if case.awaits_an_error() { case.evidence.fault_at.after(FIRST_ERROR).min(all_said) } else { all_said })
    }

    /// Time until which an error may come that would convict, for a group that is to be ended for `fault`; `None`:
    /// nothing is waited for. Never for long: see `FIRST_ERROR`.
    pub(crate) fn evidence_due(&self, fault: Fault) -> Option<Moment> {
        let case = self.case.as_ref().filter(|case| fault == Fault::GpuFault && case.emitted.is_none())?;
        case.awaits_an_error().then(|| case.evidence.fault_at.after(FIRST_ERROR))
    }

    /// An engine's output named an error that ends its context.
    pub(crate) fn error(&mut self, engine: &EngineName, code: u32, now: Moment) {
        if let Some(case) = &mut self.case
            && let Some(held) = case.evidence.engines.iter_mut().find(|held| held.engine == *engine)
            && held.error.is_none()
        {
            held.error = Some((now, code));
            case.news = true;
        }
    }

    /// An engine's main process ended.
    pub(crate) fn exit(&mut self, engine: &EngineName, exit: Exit, now: Moment) {
        let Some(case) = &mut self.case else { return };
        case.exits.push((now, engine.clone(), exit));
        if let Some(held) = case.evidence.engines.iter_mut().find(|held| held.engine == *engine) {
            held.exit = held.exit.or(Some((now, exit)));
            case.news = true;
        }
    }

    /// The driver reported an Xid on the group's GPU.
    pub(crate) fn xid(&mut self, xid: u32, pid: Option<u32>, now: Moment) {
        self.xids.push_back((now, xid, pid));
        if self.xids.len() > XIDS {
            self.xids.pop_front();
        }
        if let Some(case) = self.case.as_mut().filter(|case| case.xids.len() < XIDS) {
            case.xids.push((now, xid, pid));
        }
    }

    /// Number of the remembered faults within `window` in which the engine was not cleared; `None`: of all of them.
    pub(crate) fn before(&self, engine: Option<&EngineName>, window: Duration, now: Moment) -> u32 {
        let counted = self.unclear.iter().filter(|(at, _)| now.since(*at) < window);
        let with = counted.filter(|(_, names)| engine.is_none_or(|engine| names.contains(engine)));
        u32::try_from(with.count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn remember(&mut self, verdict: &Verdict, now: Moment) {
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
    pub(crate) fn hit(&self, verdict: &Verdict) -> Hit {
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
