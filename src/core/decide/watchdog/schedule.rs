//! When each look was last given, how it went, and when it is due again. What is wanted stands in `looks`.
//!
//! An input costs what it changes: looks lie by their deadlines, and a domain that wants what it wanted changes none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::domain::looks::{Want, company};
use crate::model::{Blindness, DomainId, Known, Look, Moment, Source, SourceScope, SourceState, Subject};

/// Least time for which a reading is believed, or three of its intervals.
const OLDEST: Duration = Duration::from_secs(3);

/// A look without what changes from one to the next. Those of one source lie together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LookKey {
    pub source: Source,
    pub subject: Subject,
    pub kind: Kind,
}

impl LookKey {
    /// Its source as the outside knows it.
    pub(crate) fn scope(&self) -> SourceScope {
        SourceScope::of(self.source, &self.subject)
    }

    /// Whether it reads something of one engine.
    fn is_of_an_engine(&self) -> bool {
        matches!(self.subject, Subject::Member(_))
    }
}

/// Which of a source's looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The only one, or the first.
    Main,
    /// Look at the control daemon: its server's clients.
    Clients,
    /// Look at /proc: processes that no engine owns.
    CommandLines,
    /// Look at the kernel's list of those that have a connection to the daemon's pipe.
    Pipe,
    /// Look at an engine's own metrics.
    Load,
    /// Look at the environment of an engine's processes.
    Environment,
    /// Look at the connections to an engine's port.
    Traffic,
    /// Request to an engine for one token.
    Token,
    /// Window of the kernel probes.
    Overlap,
}

/// One look's history.
#[derive(Clone, Debug)]
pub(crate) struct LookState {
    look: Look,
    /// Who wants it, and how often.
    wanted: Vec<(DomainId, Duration)>,
    every: Duration,
    sent: Option<Moment>,
    in_flight: bool,
    /// Times between which the look is due: from when it goes along with company, and when it is due alone.
    lies: Option<(Moment, Moment)>,
    /// When it last worked.
    pub worked: Known<Duration>,
    /// Why its last outcome was no success.
    failed: Option<Blindness>,
}

/// What a look's end changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// When it had been sent.
    pub sent: Option<Moment>,
    /// How its source stood before, if it showed nothing.
    pub before: Option<SourceState>,
    /// How it stands now, if it shows nothing.
    pub after: Option<SourceState>,
}

/// All looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedule {
    states: BTreeMap<LookKey, LookState>,
    wants: BTreeMap<DomainId, Vec<Want>>,
    /// Those that wait, by the moment from which they go along, and by the one when they are due alone.
    early: BTreeSet<(Moment, LookKey)>,
    late: BTreeSet<(Moment, LookKey)>,
    /// Looks that may no longer be wanted.
    loose: Vec<LookKey>,
}

impl Schedule {
    /// All that a domain wants from now on.
    pub(crate) fn want(&mut self, domain: &DomainId, wanted: Vec<Want>) {
        let old = self.wants.insert(domain.clone(), Vec::new()).unwrap_or_default();
        let (old_change, new_change) = difference(&old, &wanted);
        for (look, _) in old_change {
            self.change(key(look), |state| state.wanted.retain(|(id, _)| id != domain));
        }
        for (look, every) in new_change {
            let key = key(look);
            self.states.entry(key.clone()).or_insert_with(|| LookState::new(look.clone()));
            self.change(key, |state| state.wanted_by(domain, look, *every));
        }
        self.wants.insert(domain.clone(), wanted);
    }

    /// Forgets the domains that are no more, with all their sources.
    pub(crate) fn keep(&mut self, domains: &BTreeSet<DomainId>) {
        let unused = |key: &LookKey, state: &LookState| key.source == Source::Nvml && state.wanted.is_empty();
        let gone: Vec<DomainId> = self.wants.keys().filter(|id| !domains.contains(*id)).cloned().collect();
        for id in gone {
            self.want(&id, Vec::new());
            self.wants.remove(&id);
            self.states.retain(|key, _| !key.subject.goes_with(&id));
        }
        self.states.retain(|key, state| !unused(key, state));
    }

    /// Domains with looks that are due now. Loads and windows of the kernel probe are only observed.
    pub(crate) fn domains_due(&self, now: Moment) -> impl Iterator<Item = &DomainId> {
        let due = self.early.iter().take_while(move |(at, _)| *at <= now).map(|(_, key)| key);
        let states =
            due.filter(|key| !matches!(key.kind, Kind::Load | Kind::Overlap)).filter_map(|key| self.states.get(key));
        states.flat_map(|state| state.wanted.iter().map(|(domain, _)| domain))
    }

    /// Which looks are due now, in their order; they count as sent.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<Look> {
        self.drop_the_loose();
        let mut due = Vec::new();
        while let Some(key) = self.early.first().filter(|(at, _)| *at <= now).map(|(_, key)| key.clone()) {
            self.change(key, |state| {
                state.sent = Some(now);
                state.in_flight = true;
                due.push(state.look.clone());
            });
        }
        due.sort();
        due
    }

    /// When the look was last given.
    pub(crate) fn sent(&self, look: &Look) -> Option<Moment> {
        self.states.get(&key(look))?.sent
    }

    /// When the next look is due.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.late.first().map(|(at, _)| *at)
    }

    /// A look ended. `None`: it is not remembered, or it was of an engine that is no source any more.
    pub(crate) fn ended(&mut self, look: &Look, failed: Option<Blindness>, now: Moment) -> Option<Ended> {
        let key = key(look);
        let state = self.states.get(&key)?;
        let sent = state.sent;
        if key.is_of_an_engine() && state.wanted.is_empty() {
            self.change(key, |state| state.in_flight = false);
            return None;
        }
        let before = self.fails(&key);
        self.change(key.clone(), |state| {
            state.in_flight = false;
            if failed.is_none() {
                state.worked.saw(sent.map_or(Duration::ZERO, |sent| now.since(sent)), now);
            }
            state.failed = failed;
        });
        Some(Ended { sent, before, after: self.fails(&key) })
    }

    /// All looks and how they go; those of one source one after the other.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&LookKey, &LookState)> {
        self.states.iter()
    }

    /// How the look fails, if it does; of an engine, one of its two: they are one source.
    fn fails(&self, key: &LookKey) -> Option<SourceState> {
        let fails = |kind| {
            let key = LookKey { kind, ..key.clone() };
            self.states.get(&key)?.failed.as_ref().map(|blindness| blindness.state)
        };
        match key.source {
            Source::Engine => fails(Kind::Main).or_else(|| fails(Kind::Load)),
            Source::Nvml
            | Source::Mps
            | Source::Procfs
            | Source::Cgroup
            | Source::Kmsg
            | Source::Log
            | Source::Probe => fails(key.kind),
        }
    }

    /// Changes a look and lays it where it belongs then.
    fn change(&mut self, key: LookKey, change: impl FnOnce(&mut LookState)) {
        let Some(state) = self.states.get_mut(&key) else { return };
        change(state);
        let (was, lies) = (state.lies, state.waits());
        state.lies = lies;
        let idle = !state.in_flight && state.wanted.is_empty();
        if was != lies {
            if let Some((early, late)) = was {
                self.early.remove(&(early, key.clone()));
                self.late.remove(&(late, key.clone()));
            }
            if let Some((early, late)) = lies {
                self.early.insert((early, key.clone()));
                self.late.insert((late, key.clone()));
            }
        }
        if idle && key.is_of_an_engine() {
            self.loose.push(key);
        }
    }

    /// An engine without a process is no source.
    fn drop_the_loose(&mut self) {
        for key in std::mem::take(&mut self.loose) {
            if self.states.get(&key).is_some_and(|state| !state.in_flight && state.wanted.is_empty()) {
                self.states.remove(&key);
            }
        }
    }
}

impl LookState {
    fn new(look: Look) -> Self {
        LookState {
            look,
            wanted: Vec::new(),
            every: Duration::ZERO,
            sent: None,
            in_flight: false,
            lies: None,
            worked: Known::Unknown,
            failed: None,
        }
    }

    fn wanted_by(&mut self, domain: &DomainId, look: &Look, every: Duration) {
        self.look = look.clone();
        self.wanted.push((domain.clone(), every));
    }

    /// Times from which it goes along, and at which it is due alone; `None`: it is on its way, or is not wanted.
    fn waits(&mut self) -> Option<(Moment, Moment)> {
        self.every = self.wanted.iter().map(|(_, every)| *every).min().unwrap_or(self.every);
        if self.in_flight || self.wanted.is_empty() {
            return None;
        }
        let Some(sent) = self.sent else { return Some((Moment::ZERO, Moment::ZERO)) };
        Some((sent.after(self.every - company(self.every)), sent.after(self.every)))
    }

    /// Why it shows nothing, if it should; `Ok(false)`: it is not wanted, or was not asked for yet.
    pub(crate) fn shows(&self, now: Moment) -> Result<bool, Blindness> {
        if self.is_new() || !self.is_wanted() && !self.in_flight {
            return Ok(false);
        }
        match &self.failed {
            Some(blindness) => Err(blindness.clone()),
            // Whoever answers late has answered: while it is on its way nothing newer can be known.
            None if self.in_flight || self.worked.fresh((self.every * 3).max(OLDEST), now).is_some() => Ok(true),
            None => Err(Blindness::silent("its last answer is too old")),
        }
    }

    /// Somebody wants it.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// It has not ended once.
    pub(crate) fn is_new(&self) -> bool {
        self.failed.is_none() && self.worked.at().is_none()
    }
}

/// Both lists without what they have in common at their ends: when one engine changes, that is all but its looks.
fn difference<'a>(old: &'a [Want], new: &'a [Want]) -> (&'a [Want], &'a [Want]) {
    let same = |(one, two): &(&Want, &Want)| one == two;
    let first = old.iter().zip(new).take_while(same).count();
    let (old, new) = (&old[first..], &new[first..]);
    let last = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
    (&old[..old.len() - last], &new[..new.len() - last])
}

/// The same look, whichever server it is about.
fn key(look: &Look) -> LookKey {
    let kind = match look {
        Look::Gpu(_) | Look::Server { .. } | Look::Trees(_) | Look::Health(_) => Kind::Main,
        Look::Clients { .. } => Kind::Clients,
        Look::CommandLines { .. } => Kind::CommandLines,
        Look::Pipe(_) => Kind::Pipe,
        Look::Load(_) => Kind::Load,
        Look::Environment(_) => Kind::Environment,
        Look::Traffic(_) => Kind::Traffic,
        Look::Token(_) => Kind::Token,
        Look::Overlap(_) => Kind::Overlap,
    };
    LookKey { source: look.source(), subject: look.subject(), kind }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::model::{GpuUuid, Member};

    fn at(millis: u64) -> Moment {
        Moment::ZERO.after(Duration::from_millis(millis))
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn domain(name: &str) -> DomainId {
        DomainId::main(&name.into())
    }

    fn engine() -> Member {
        domain("one").member(&"a".into())
    }

    fn gpu() -> Look {
        Look::Gpu(GpuUuid::from("GPU-0"))
    }

    fn trees() -> Look {
        Look::Trees(domain("one"))
    }

    /// A domain that wants these looks.
    fn wanting(wanted: &[(Look, u64)]) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.want(&domain("one"), wants(wanted));
        schedule
    }

    fn wants(wanted: &[(Look, u64)]) -> Vec<Want> {
        wanted.iter().map(|(look, every)| (look.clone(), ms(*every))).collect()
    }

    #[test]
    fn a_look_is_due_at_once_and_then_after_its_time_once_it_ended() {
        let mut schedule = wanting(&[(trees(), 10_000)]);
        assert_eq!(schedule.due(at(5)), [trees()]);
        assert_eq!((schedule.due(at(20_000)), schedule.next_deadline()), (vec![], None));
        schedule.ended(&trees(), None, at(6));
        assert_eq!(schedule.next_deadline(), Some(at(10_005)));
        assert_eq!(schedule.due(at(10_004)), []);
        assert_eq!(schedule.due(at(10_005)), [trees()]);
    }

    #[test]
    fn a_look_that_comes_each_second_goes_along_a_tenth_early() {
        let mut schedule = wanting(&[(gpu(), 1000)]);
        schedule.due(at(0));
        schedule.ended(&gpu(), None, at(1));
        assert_eq!(schedule.next_deadline(), Some(at(1000)));
        assert_eq!(schedule.due(at(899)), []);
        assert_eq!(schedule.due(at(900)), [gpu()]);
    }

    #[test]
    fn looks_that_are_due_together_keep_their_order() {
        let mut schedule = wanting(&[(Look::Load(engine()), 2000), (trees(), 10_000), (gpu(), 1000)]);
        assert_eq!(schedule.due(at(0)), [gpu(), trees(), Look::Load(engine())]);
    }

    #[test]
    fn a_look_that_two_domains_want_comes_as_often_as_the_more_curious_wants() {
        let mut schedule = wanting(&[(gpu(), 1000)]);
        schedule.want(&domain("two"), wants(&[(gpu(), 4)]));
        schedule.due(at(0));
        schedule.ended(&gpu(), None, at(1));
        assert_eq!(schedule.next_deadline(), Some(at(4)));
        schedule.want(&domain("two"), Vec::new());
        assert_eq!(schedule.next_deadline(), Some(at(1000)));
    }

    #[test]
    fn a_look_that_is_wanted_again_remembers_when_it_was_sent() {
        let mut schedule = wanting(&[(trees(), 10_000)]);
        schedule.due(at(0));
        schedule.ended(&trees(), None, at(1));
        schedule.want(&domain("one"), Vec::new());
        assert_eq!((schedule.due(at(9000)), schedule.next_deadline()), (vec![], None));
        schedule.want(&domain("one"), wants(&[(trees(), 10_000)]));
        assert_eq!(schedule.next_deadline(), Some(at(10_000)));
    }

    #[test]
    fn an_engine_without_a_process_is_no_source_and_a_reading_that_ends_then_says_nothing() {
        let load = Look::Load(engine());
        let mut schedule = wanting(&[(load.clone(), 2000)]);
        schedule.due(at(0));
        schedule.want(&domain("one"), Vec::new());
        schedule.due(at(1));
        assert_eq!(schedule.all().count(), 1);
        assert_eq!(schedule.ended(&load, Some(Blindness::silent("connection reset")), at(5)), None);
        schedule.due(at(6));
        assert_eq!(schedule.all().count(), 0);
    }

    #[test]
    fn an_engine_is_one_source_that_fails_while_one_of_its_two_looks_does() {
        let (health, load) = (Look::Health(engine()), Look::Load(engine()));
        let mut schedule = wanting(&[(health.clone(), 2000), (load.clone(), 2000)]);
        schedule.due(at(0));
        let mut end = |look: &Look, why: Option<&str>| {
            let ended = schedule.ended(look, why.map(Blindness::silent), at(1)).unwrap();
            (ended.before.is_some(), ended.after.is_some())
        };
        assert_eq!(end(&load, Some("garbage")), (false, true));
        assert_eq!(end(&health, Some("hangs")), (true, true));
        assert_eq!(end(&load, None), (true, true));
        assert_eq!(end(&health, None), (true, false));
    }

    #[test]
    fn a_domain_that_is_no_more_leaves_nothing_behind() {
        let mut schedule = wanting(&[(gpu(), 1000), (trees(), 10_000), (Look::Load(engine()), 2000)]);
        schedule.due(at(0));
        schedule.ended(&trees(), None, at(1));
        schedule.keep(&BTreeSet::new());
        assert_eq!((schedule.all().count(), schedule.next_deadline(), schedule.due(at(99_999))), (0, None, vec![]));
    }

    #[test]
    fn when_one_engine_changes_only_its_looks_do() {
        let want = |number: u64| (trees(), ms(number));
        let (old, new) = ([want(1), want(2), want(3), want(4)], [want(1), want(9), want(4)]);
        assert_eq!(difference(&old, &new), (&old[1..3], &new[1..2]));
        assert_eq!(difference(&old, &old), (&old[4..], &old[4..]));
        assert_eq!(difference(&old[..2], &old[..1]), (&old[1..2], &old[1..1]));
    }
}
